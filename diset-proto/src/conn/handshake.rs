//! How the two sides come to terms: proposal, admission, definitions, acceptance
//! (PROTOCOL, part H).

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use super::Role;
use super::core::Core;
use super::event::Event;
use super::fault::{Fault, bad_packet};
use super::incoming::untaken;
use super::liveness::Liveness;
use super::slot::SessionSlot;
use super::state::{Input, Phase, Step, step};
use crate::definition::{Digest, MessageSet};
use crate::error::{Cause, Misuse};
use crate::fmt::debug;
use crate::id::{Identity, ServiceName, Trid};
use crate::limits::{Limits, MAX_HANDSHAKE_FRAME};
use crate::schema::Catalog;
use crate::schema::agree::Agreement;
use crate::session::Objection;
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::args::{self, Arg};
use crate::wire::frame::Kind;
use crate::wire::outbox::Outbox;
use crate::wire::packet::{Acceptance, Definitions, Proposal};
use crate::wire::preamble::PREAMBLE;
use crate::wire::session::Resume;
use crate::wire::storage::Storage;
use crate::wire::tlv::{Cursor, Writer};
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

/// What a service gives a client that it admits.
#[derive(Debug, Clone)]
pub struct Admission {
    trid: Trid,
    known: Option<Agreement>,
    forbidden: MessageSet,
}

impl Admission {
    /// A transport id that was never used before, and all messages.
    pub const fn new(trid: Trid) -> Self {
        Self {
            trid,
            known: None,
            forbidden: MessageSet::EMPTY,
        }
    }

    /// The table for a client with an older catalog, made by [`Agreement::between`] for the
    /// catalog whose digest the proposal names. Without it such a client is asked for its
    /// definitions, which takes one round trip more.
    #[must_use]
    pub fn with_table(mut self, known: Agreement) -> Self {
        self.known = Some(known);
        self
    }

    /// Messages, by their number in the service's catalog, that are not for this client:
    /// neither to be sent by it nor to it. It learns so when it connects (PROTOCOL S-5).
    #[must_use]
    pub const fn with_forbidden(mut self, messages: MessageSet) -> Self {
        self.forbidden = messages;
        self
    }
}

#[cfg(feature = "record")]
impl Admission {
    /// What it looks like in a log.
    pub(super) fn entry(&self) -> crate::recording::Entry<'_> {
        crate::recording::Entry::Accept {
            trid: self.trid.number(),
            table: super::recording::table(self.known.as_ref()),
            forbidden: *self.forbidden.as_bytes(),
        }
    }
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
    /// Service: a proposal came (PROTOCOL H-3 to H-6).
    pub(super) fn proposed<'f>(&mut self, now: Instant, body: &'f [u8]) -> Result<Option<Event<'f>>, Fault<'static>> {
        let proposal = Proposal::read(body).map_err(|bad| bad_packet(Kind::Proposal, bad))?;
        self.theirs = proposal.limits;
        self.pending.remember_digest(proposal.digest);
        #[cfg(feature = "alloc")]
        {
            self.request = proposal.resume().map(Box::new);
        }
        self.deadline = Some(now.plus(self.limits.handshake));
        self.enter(Phase::Admitting);
        if proposal.service.as_str() != self.catalog.service().as_str() {
            let notice = Notice::new(Code::UnknownService).with_text(proposal.service.as_str());
            self.end(Cause::WeRefused(notice));
            return Ok(None);
        }
        if proposal.digest.is_none() && !self.tells() {
            // PROTOCOL H-10
            let notice = Notice::new(Code::UnknownField).with_text("the service does not tell its messages");
            self.end(Cause::WeRefused(notice));
            return Ok(None);
        }
        Ok(Some(Event::Proposed(proposal)))
    }

    /// Service: the application admits the client.
    pub(super) fn accept(&mut self, now: Instant, admission: Admission) -> Result<Option<Event<'static>>, Misuse> {
        let Step::To(_) = step(self.phase, Input::Accept) else {
            return Err(Misuse::WrongPhase);
        };
        self.trid = admission.trid;
        // PROTOCOL H-10: who has no catalog has that of the service.
        let same = self.pending.adopts() || self.pending.digest() == Some(self.catalog.digest());
        let table = if same {
            Some(Agreement::identical(self.catalog))
        } else {
            admission.known
        };
        let asks = table.is_none();
        self.agreement = table.unwrap_or(Agreement::empty(0));
        self.agreement.forbid(admission.forbidden);
        if asks {
            self.pending.ask();
            self.deadline = Some(now.plus(self.limits.handshake));
            self.enter(Phase::Asking);
            return Ok(None);
        }
        Ok(Some(self.open(now)))
    }

    /// Service: a part of the definitions came (PROTOCOL H-8).
    pub(super) fn defined(&mut self, now: Instant, body: &[u8]) -> Result<Option<Event<'static>>, Fault<'static>> {
        let malformed = |bad| bad_packet(Kind::Definitions, bad);
        let mut part = Definitions::read(body).map_err(malformed)?;
        if part.first == 0 && self.agreement.filled() == 0 {
            self.agreement = self.agreement.emptied(part.total);
        }
        let expected = self.agreement.filled();
        let total = expected + self.agreement.missing();
        if part.first != expected || part.total != total {
            return Err(malformed(Cursor::new(&[], 1).bad()));
        }
        while let Some(definition) = part.next().map_err(malformed)? {
            if self.agreement.missing() == 0 {
                return Err(malformed(Cursor::new(&[], 1).bad()));
            }
            self.agreement
                .add(self.catalog, definition.name, definition.key, definition.direction);
        }
        if self.agreement.missing() > 0 {
            return Ok(None);
        }
        Ok(Some(self.open(now)))
    }

    /// Client: the service asks what the messages are.
    pub(super) fn describe(&mut self) {
        self.enter(Phase::Describing);
        self.pending.describe();
    }

    /// Client: the connection is open (PROTOCOL H-7).
    pub(super) fn accepted<S: SessionSlot>(
        &mut self,
        now: Instant,
        body: &[u8],
        slot: &mut S,
    ) -> Result<Option<Event<'static>>, Fault<'static>> {
        let malformed = |bad| bad_packet(Kind::Acceptance, bad);
        let acceptance = Acceptance::read(body).map_err(malformed)?;
        self.adopt(acceptance.digest)?;
        if let Some(session) = slot.session_mut() {
            session
                .answered(acceptance.session.as_ref(), acceptance.token, acceptance.trid)
                .map_err(|objection| match objection {
                    Objection::Contradiction => {
                        Fault::text(Code::StateConflict, "the claim of the service does not fit")
                    }
                    Objection::Untaken => untaken(),
                })?;
        }
        for (number, verdict) in acceptance.verdicts() {
            if !self.agreement.set(number, verdict) {
                return Err(malformed(Cursor::new(&[], 3).bad()));
            }
        }
        self.theirs = acceptance.limits;
        self.trid = acceptance.trid;
        Ok(Some(self.open(now)))
    }

    fn open(&mut self, now: Instant) -> Event<'static> {
        let client = self.role == Role::Client;
        self.flow.start(&self.theirs);
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
