//! How the two sides come to terms: proposal, admission, definitions, acceptance
//! (PROTOCOL, part H).

use super::core::Core;
use super::event::Event;
use super::fault::{Fault, Taken};
use super::incoming::untaken;
use super::liveness::Liveness;
use super::slot::SessionSlot;
use super::state::Phase;
use crate::definition::Digest;
use crate::error::Misuse;
use crate::fmt::debug;
use crate::id::{Identity, ServiceName};
use crate::limits::{Limits, MAX_HANDSHAKE_FRAME};
use crate::schema::Catalog;
use crate::session::Objection;
use crate::status::Code;
use crate::time::Instant;
use crate::wire::args::{self, Arg};
use crate::wire::frame::Kind;
use crate::wire::outbox::Outbox;
use crate::wire::packet::{Acceptance, Proposal};
use crate::wire::preamble::PREAMBLE;
use crate::wire::session::Resume;
use crate::wire::storage::Storage;
use crate::wire::tlv::{BadPacket, Writer};
use crate::wire::varint;

/// What a client connects with.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that its user fills in")]
pub struct ClientConfig<'a> {
    /// The service and its messages.
    pub catalog: &'static Catalog,
    /// The name the client keeps across reconnects (PROTOCOL R-6).
    pub identity: Identity,
    /// What the client can take.
    pub limits: Limits,
    /// Connect arguments: names, each once, with values; at most 16, and at most about
    /// 850 bytes in all, 740 with a session.
    pub args: &'a [(&'a str, Arg<'a>)],
}

/// As [`ClientConfig`], for a client that has no catalog and takes that of the service.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that its user fills in")]
pub struct AdoptConfig<'a> {
    /// The service to be talked to.
    pub service: ServiceName<'a>,
    /// The name the client keeps across reconnects (PROTOCOL R-6).
    pub identity: Identity,
    /// What the client can take.
    pub limits: Limits,
    /// Connect arguments: names, each once, with values; at most 16, and at most about
    /// 850 bytes in all.
    pub args: &'a [(&'a str, Arg<'a>)],
}

/// What goes into a proposal.
pub(super) struct Wish<'a> {
    pub(super) service: ServiceName<'a>,
    /// `None`: the catalog of the service is adopted.
    pub(super) digest: Option<Digest>,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) args: &'a [(&'a str, Arg<'a>)],
}

impl<'a> From<&ClientConfig<'a>> for Wish<'a> {
    fn from(config: &ClientConfig<'a>) -> Self {
        Self {
            service: config.catalog.service(),
            digest: Some(config.catalog.digest()),
            identity: config.identity,
            limits: config.limits,
            args: config.args,
        }
    }
}

#[cfg(feature = "alloc")]
impl<'a> From<&AdoptConfig<'a>> for Wish<'a> {
    fn from(config: &AdoptConfig<'a>) -> Self {
        Self {
            service: config.service,
            digest: None,
            identity: config.identity,
            limits: config.limits,
            args: config.args,
        }
    }
}

impl Wish<'_> {
    fn write(&self, session: Option<&Resume>, out: &mut Writer<'_>) {
        Proposal::write(
            out,
            self.service,
            &self.identity,
            self.digest.as_ref(),
            &self.limits,
            session,
            self.args,
        );
    }

    /// By how many bytes the proposal is longer than a frame or the output takes. What the client says of its
    /// session grows with time: one that gets in now must be able to come back.
    fn excess<B: Storage>(&self, session: Option<&Resume>, out: &Outbox<B>) -> usize {
        let mut counting = Writer::counting();
        self.write(None, &mut counting);
        let length = 1 + counting.len() + session.map_or(0, |_| Resume::MAX_FIELD);
        let too_long = length.saturating_sub(MAX_HANDSHAKE_FRAME as usize);
        let no_room = (PREAMBLE.len() + varint::len(length as u64) + length).saturating_sub(out.bound());
        too_long.max(no_room)
    }
}

/// Puts preamble and proposal into the outbox of a new client.
pub(super) fn propose<B: Storage>(
    wish: &Wish<'_>,
    session: Option<&Resume>,
    out: &mut Outbox<B>,
) -> Result<(), Misuse> {
    let excess = wish.excess(session, out);
    if excess > 0 {
        return Err(Misuse::ProposalTooLong(excess));
    }
    if !args::may_be_sent(wish.args) {
        return Err(Misuse::BadArguments);
    }
    if !out.raw(&PREAMBLE) {
        return Err(Misuse::OutputTooSmall);
    }
    out.control(Kind::Proposal, MAX_HANDSHAKE_FRAME, &mut |out| wish.write(session, out))
        .map_err(|_| Misuse::OutputTooSmall)
}

impl Core {
    /// Client: the service asks what the messages are.
    pub(super) fn describe(&mut self) {
        self.enter(Phase::Describing);
        self.pending.describe();
    }

    /// Client: the connection is open (PROTOCOL H-7).
    pub(super) fn accepted<S: SessionSlot>(&mut self, now: Instant, body: &[u8], slot: &mut S) -> Taken<'static> {
        let acceptance = Acceptance::read(body)?;
        self.adopt(acceptance.digest)?;
        if let Some(session) = slot.session_mut() {
            session
                .answered(acceptance.answer().as_ref(), acceptance.token, acceptance.trid)
                .map_err(|objection| match objection {
                    Objection::Contradiction => {
                        Fault::text(Code::StateConflict, "the claim of the service does not fit")
                    }
                    Objection::Untaken => untaken(),
                })?;
        }
        for (number, verdict) in acceptance.verdicts() {
            if !self.agreement.set(number, verdict) {
                return Err(BadPacket::Field(3).into());
            }
        }
        self.theirs = acceptance.limits;
        self.flow.start(&self.theirs, acceptance.first);
        self.trid = acceptance.trid;
        Ok(Some(self.open(now)))
    }

    /// The two sides have come to terms.
    pub(super) fn open(&mut self, now: Instant) -> Event<'static> {
        let client = self.role.is_client();
        self.liveness = Some(Liveness::start(
            now,
            self.limits.max_silence,
            self.theirs.max_silence,
            client,
        ));
        self.deadline = None;
        if !client {
            self.pending.accept();
        }
        self.enter(Phase::Open);
        debug!("open, {}", self.trid.number());
        Event::Connected(self.trid)
    }
}
