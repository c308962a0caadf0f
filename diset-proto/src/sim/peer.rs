//! One side of a simulated connection and the log of what it saw.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use postcard_schema::schema::NamedType;

use super::halves::{Halves, Later, Simulated};
use super::pipe::Pipe;
use crate::conn::Admission;
use crate::conn::slot::NoSession;
use crate::definition::{Digest, MessageSet};
use crate::drive::{Event, HandlerResult, Io, Lent, Tx};
use crate::error::Cause;
use crate::id::{Identity, Trid};
use crate::schema::Catalog;
use crate::schema::agree::Agreement;
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::packet::Proposal;

/// What a simulated service answers to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Come in.
    Admit,
    /// Come in, but these messages of the service are not for you.
    AdmitWithout(MessageSet),
    /// No, and why.
    Refuse(Notice),
    /// No answer yet; call `conn.accept` or `conn.refuse` later.
    Wait,
}

/// One entry of a peer's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// A client proposed, with the names and values of its arguments in `Debug` form.
    Proposed(Identity, Vec<(String, String)>),
    /// The connection opened.
    Connected(Trid),
    /// A valid message came.
    Message {
        /// Its name.
        name: &'static str,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// The peer said go-away.
    GoingAway(Code),
    /// The connection ended.
    Dropped(Cause),
}

type Handler = Box<dyn FnMut(&mut Tx<Simulated<NoSession>>, Lent<'_, Simulated<NoSession>>)>;
type Admit = Box<dyn FnMut(&Proposal<'_>) -> Decision>;

/// One side: the halves of its link, and what happened to it.
pub struct Peer {
    /// Both halves; call their verbs as an application would.
    pub conn: Halves,
    /// What happened, in order.
    pub log: Vec<Happened>,
    catalog: &'static Catalog,
    structures: &'static [&'static NamedType],
    handler: Option<Handler>,
    admit: Option<Admit>,
    known: Vec<(Digest, Agreement)>,
    trid: Trid,
    later: Later,
    /// Whether it has ended its writing direction.
    ended: bool,
}

impl Peer {
    pub(super) fn new(conn: Halves, catalog: &'static Catalog, structures: &'static [&'static NamedType]) -> Self {
        Self {
            conn,
            log: Vec::new(),
            catalog,
            structures,
            handler: None,
            admit: None,
            known: Vec::new(),
            trid: Trid::new(0),
            later: Later::default(),
            ended: false,
        }
    }

    pub(super) fn admitting(mut self, admit: Admit, known: Vec<(Digest, Agreement)>, trid: Trid) -> Self {
        self.admit = Some(admit);
        self.known = known;
        self.trid = trid;
        self
    }

    /// Handles messages in place of the log.
    pub fn on_message(
        &mut self,
        handler: impl FnMut(&mut Tx<Simulated<NoSession>>, Lent<'_, Simulated<NoSession>>) + 'static,
    ) {
        self.handler = Some(Box::new(handler));
    }

    /// Where a handler of this peer waits until it [finishes](Self::finish).
    pub fn later(&self) -> Later {
        self.later.clone()
    }

    /// The handler that waits comes to this result, and the next message has its turn.
    pub fn finish(&mut self, result: HandlerResult) {
        self.conn.finish(&self.later, result);
        self.hear(&[]);
    }

    /// The time of the handler that waits is over: see [`Rx::expire`](crate::drive::Rx::expire).
    pub fn expire(&mut self) {
        let _ = self.conn.rx.expire();
        self.hear(&[]);
    }

    /// Why its connection ended, if it did, and no handler of it is left.
    pub fn dropped(&self) -> Option<&Cause> {
        self.log.iter().find_map(|entry| match entry {
            Happened::Dropped(cause) => Some(cause),
            _ => None,
        })
    }

    /// The messages it got: names and payloads.
    pub fn messages(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.log.iter().filter_map(|entry| match entry {
            Happened::Message { name, bytes } => Some((*name, bytes.as_slice())),
            _ => None,
        })
    }

    /// Writes what waits and what is due, then ends the direction when it is to be ended: whether it wrote, and whether
    /// anything happened.
    pub(super) fn write(&mut self, now: Instant, pipe: &mut Pipe) -> (bool, bool) {
        self.conn.now = now;
        let (mut wrote, mut heard) = (false, false);
        loop {
            let turn = self.conn.turn();
            if turn.wake.is_some_and(|wake| wake <= now) {
                heard |= self.hear(&[]);
            }
            let bytes = self.conn.tx.output();
            let count = bytes.len();
            if count > 0 {
                // A transport that is gone takes bytes and loses them.
                let _ = pipe.write(now, bytes);
                self.conn.transmitted(count);
                wrote = true;
                continue;
            }
            if turn.io != Io::Run && !self.ended {
                self.ended = true;
                pipe.end(now);
                wrote = true;
            }
            return (wrote, wrote | heard);
        }
    }

    pub(super) fn read(&mut self, now: Instant, pipe: &mut Pipe) -> bool {
        self.conn.now = now;
        match pipe.read(now) {
            None => return false,
            Some(None) => {
                self.conn.lose();
                self.hear(&[]);
            }
            Some(Some(piece)) => {
                self.hear(&piece);
            }
        }
        true
    }

    /// Deals with these bytes, and with what waits; whether anything was told.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        let Halves { rx, tx, now } = &mut self.conn;
        let (mut input, mut told) = (bytes, false);
        while let Some(event) = rx.next(*now, tx, &mut input) {
            told = true;
            let entry = match event {
                Event::Message(lent) => match &mut self.handler {
                    Some(handler) => {
                        handler(tx, lent);
                        None
                    }
                    None => taken(lent, self.catalog, self.structures),
                },
                Event::Proposed(proposal) => {
                    let args = proposal.args();
                    let args = args
                        .iter()
                        .map(|(name, value)| (name.to_string(), alloc::format!("{value:?}")));
                    self.log.push(Happened::Proposed(proposal.identity(), args.collect()));
                    // Nobody else has answered it.
                    let _ = match decide(&proposal, &mut self.admit, &self.known, self.trid) {
                        Some(Ok(admission)) => rx.admit(*now, tx, admission),
                        Some(Err(notice)) => rx.refuse(tx, notice),
                        None => Ok(()),
                    };
                    None
                }
                Event::Connected(opened) => Some(Happened::Connected(opened.trid())),
                Event::GoingAway(notice) => Some(Happened::GoingAway(notice.code())),
                Event::Ended(ended) => Some(Happened::Dropped(ended.cause().clone())),
                // Of sessions, which these peers do not keep.
                Event::Acknowledged | Event::NextKey(..) => None,
            };
            self.log.extend(entry);
        }
        told
    }
}

fn taken(
    lent: Lent<'_, Simulated<NoSession>>,
    catalog: &'static Catalog,
    structures: &[&'static NamedType],
) -> Option<Happened> {
    let number = usize::from(lent.number());
    let (name, structure) = (catalog.messages().get(number)?.name(), structures.get(number)?);
    let (bytes, handling) = lent.decode_raw(structure)?;
    let bytes = bytes.to_vec();
    handling.done(Ok(()));
    Some(Happened::Message { name, bytes })
}

/// What is answered to a proposal, if anything is.
fn decide(
    proposal: &Proposal<'_>,
    admit: &mut Option<Admit>,
    known: &[(Digest, Agreement)],
    trid: Trid,
) -> Option<Result<Admission, Notice>> {
    let decision = admit.as_mut().map_or(Decision::Admit, |admit| admit(proposal));
    let forbidden = match decision {
        Decision::Wait => return None,
        Decision::Refuse(notice) => return Some(Err(notice)),
        Decision::Admit => MessageSet::EMPTY,
        Decision::AdmitWithout(messages) => messages,
    };
    let mut admission = Admission::new(trid).with_forbidden(forbidden);
    if let Some((_, table)) = known.iter().find(|(digest, _)| Some(*digest) == proposal.digest()) {
        admission = admission.with_table(table.clone());
    }
    Some(Ok(admission))
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("phase", &self.conn.phase())
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
