//! One side of a simulated connection and the log of what it saw.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use postcard_schema::schema::NamedType;

use super::pipe::Pipe;
use crate::conn::event::{Event, Progress};
use crate::conn::{Admission, Connection};
use crate::definition::{Digest, MessageSet};
use crate::error::Cause;
use crate::id::{Identity, Trid};
use crate::message::MessageRef;
use crate::schema::Catalog;
use crate::schema::agree::Agreement;
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::deframer::Deframer;
use crate::wire::packet::Proposal;
use crate::wire::storage::GrowBuf;

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

type Handler = Box<dyn FnMut(&mut Connection<GrowBuf>, MessageRef<'_>)>;
type Admit = Box<dyn FnMut(&Proposal<'_>) -> Decision>;

/// One side: deframer, connection, and what happened to it.
pub struct Peer {
    /// The connection; call its verbs as an application would.
    pub conn: Connection<GrowBuf>,
    /// What happened, in order.
    pub log: Vec<Happened>,
    rx: Deframer<GrowBuf>,
    catalog: &'static Catalog,
    structures: &'static [&'static NamedType],
    handler: Option<Handler>,
    admit: Option<Admit>,
    known: Vec<(Digest, Agreement)>,
    trid: Trid,
    ended: bool,
}

impl Peer {
    pub(super) fn new(
        conn: Connection<GrowBuf>,
        input: GrowBuf,
        catalog: &'static Catalog,
        structures: &'static [&'static NamedType],
    ) -> Self {
        Self {
            conn,
            log: Vec::new(),
            rx: Deframer::new(input),
            catalog,
            structures,
            handler: None,
            admit: None,
            known: Vec::new(),
            trid: Trid::new(0),
            ended: false,
        }
    }

    pub(super) fn admitting(mut self, admit: Admit, known: Vec<(Digest, Agreement)>, trid: Trid) -> Self {
        self.admit = Some(admit);
        self.known = known;
        self.trid = trid;
        self
    }

    /// Handles messages in place of the log; the handler must decode or reject.
    pub fn on_message(&mut self, handler: impl FnMut(&mut Connection<GrowBuf>, MessageRef<'_>) + 'static) {
        self.handler = Some(Box::new(handler));
    }

    /// Why its connection ended, if it did.
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

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.conn.wake().is_some_and(|wake| wake <= now)
    }

    pub(super) fn time(&mut self, now: Instant) -> bool {
        if !self.is_due(now) {
            return false;
        }
        if let Some(Event::Dropped(cause)) = self.conn.handle_time(now) {
            self.log.push(Happened::Dropped(cause));
        }
        true
    }

    /// Writes what waits, then ends the direction when it is to be ended.
    pub(super) fn write(&mut self, now: Instant, pipe: &mut Pipe) -> bool {
        let bytes = self.conn.transmit();
        let count = bytes.len();
        if count > 0 {
            // A transport that is gone takes bytes and loses them.
            let _ = pipe.write(now, bytes);
            self.conn.transmitted(count);
        }
        let finish = self.conn.progress() != Progress::Running && !self.ended;
        if finish {
            self.ended = true;
            pipe.end(now);
        }
        count > 0 || finish
    }

    pub(super) fn read(&mut self, now: Instant, pipe: &mut Pipe) -> bool {
        match pipe.read(now) {
            None => false,
            Some(None) => {
                if let Some(Event::Dropped(cause)) = self.conn.handle_eof() {
                    self.log.push(Happened::Dropped(cause));
                }
                true
            }
            Some(Some(piece)) => {
                self.conn.handle_received(now);
                let mut input = piece.as_slice();
                while let Some(frame) = self.rx.next(&mut input, self.conn.max_frame()) {
                    if let Some(event) = self.conn.handle_frame(now, frame) {
                        let conn = &mut self.conn;
                        let entry = match event {
                            Event::Message(message) => match &mut self.handler {
                                Some(handler) => {
                                    handler(conn, message);
                                    None
                                }
                                None => taken(conn, message, self.catalog, self.structures),
                            },
                            Event::Proposed(proposal) => {
                                let args = proposal.args();
                                let args = args
                                    .iter()
                                    .map(|(name, value)| (name.to_string(), alloc::format!("{value:?}")));
                                self.log.push(Happened::Proposed(proposal.identity(), args.collect()));
                                decide(conn, now, &proposal, &mut self.admit, &self.known, self.trid)
                            }
                            Event::Connected(trid) => Some(Happened::Connected(trid)),
                            Event::GoingAway(notice) => Some(Happened::GoingAway(notice.code())),
                            Event::Dropped(cause) => Some(Happened::Dropped(cause)),
                            // Of sessions, which these peers do not keep.
                            Event::Acknowledged | Event::NextKey(..) | Event::NextKeyRemembered(..) => None,
                        };
                        self.log.extend(entry);
                    }
                }
                true
            }
        }
    }
}

fn taken(
    conn: &mut Connection<GrowBuf>,
    message: MessageRef<'_>,
    catalog: &'static Catalog,
    structures: &[&'static NamedType],
) -> Option<Happened> {
    let number = usize::from(message.number());
    let (name, structure) = (catalog.messages().get(number)?.name(), structures.get(number)?);
    let (bytes, held) = conn.decode_raw(message, structure).ok()?;
    conn.release(held);
    Some(Happened::Message {
        name,
        bytes: bytes.to_vec(),
    })
}

fn decide(
    conn: &mut Connection<GrowBuf>,
    now: Instant,
    proposal: &Proposal<'_>,
    admit: &mut Option<Admit>,
    known: &[(Digest, Agreement)],
    trid: Trid,
) -> Option<Happened> {
    let decision = admit.as_mut().map_or(Decision::Admit, |admit| admit(proposal));
    let forbidden = match decision {
        Decision::Wait => return None,
        Decision::Refuse(notice) => {
            conn.refuse(notice).ok()?;
            return None;
        }
        Decision::Admit => MessageSet::EMPTY,
        Decision::AdmitWithout(messages) => messages,
    };
    let mut admission = Admission::new(trid).with_forbidden(forbidden);
    if let Some((_, table)) = known.iter().find(|(digest, _)| Some(*digest) == proposal.digest()) {
        admission = admission.with_table(table.clone());
    }
    match conn.accept(now, admission) {
        Ok(Some(Event::Connected(trid))) => Some(Happened::Connected(trid)),
        _ => None,
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("phase", &self.conn.phase())
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
