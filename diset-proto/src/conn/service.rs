//! What only a service does in the handshake: it looks at a proposal, admits the client or not, and compares definitions
//! (PROTOCOL, part H).
//!
//! The core gets here through [`SERVICE`], which is named by what makes a service and by nothing else: so a chip with a
//! client carries none of it.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use super::Connection;
use super::core::Core;
use super::event::Event;
use super::fault::Taken;
use super::recording::note;
#[cfg(feature = "record")]
use super::recording::{self, GivenTable};
use super::role::{Duties, Role};
use super::slot::SessionSlot;
use super::state::{Input, Phase, Step, step};
use crate::definition::MessageSet;
use crate::error::{Cause, Misuse};
use crate::id::Trid;
#[cfg(feature = "alloc")]
use crate::schema::agree::Agreement;
#[cfg(feature = "alloc")]
use crate::schema::told::Descriptions;
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::frame::Kind;
use crate::wire::packet::{Acceptance, Proposal};
use crate::wire::session::AnswerAndToken;
use crate::wire::storage::Storage;
use crate::wire::tlv::Writer;

/// The role of a service.
pub(super) const SERVICE: Role = Role::Service(&Duties {
    take: |core, now, kind, body| match kind {
        Kind::Proposal => core.proposed(now, body),
        #[cfg(feature = "alloc")]
        Kind::Definitions => core.defined(now, body),
        // The table of phases lets nothing else through.
        _ => Ok(None),
    },
    read: |body| Proposal::read(body).ok(),
    accept: Core::say_accepted,
});

/// What a service gives a client that it admits.
#[derive(Debug, Clone)]
pub struct Admission {
    trid: Trid,
    #[cfg(feature = "alloc")]
    pub(super) known: Option<Agreement>,
    pub(super) forbidden: MessageSet,
}

impl Admission {
    /// A transport id that was never used before, and all messages.
    pub const fn new(trid: Trid) -> Self {
        Self {
            trid,
            #[cfg(feature = "alloc")]
            known: None,
            forbidden: MessageSet::EMPTY,
        }
    }

    /// The table for a client with an older catalog, made by [`Agreement::between`] for the
    /// catalog whose digest the proposal names. Without it such a client is asked for its
    /// definitions, which takes one round trip more.
    #[cfg(feature = "alloc")]
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
    /// The table that goes with it, for a log.
    pub(super) fn table(&self) -> Option<GivenTable> {
        self.known.as_ref().map(GivenTable::of)
    }

    /// What it looks like in a log, with its table.
    pub(super) fn entry<'t>(&self, table: Option<&'t GivenTable>) -> crate::recording::Entry<'t> {
        crate::recording::Entry::Accept {
            trid: self.trid.number(),
            table: table.map(GivenTable::entry),
            forbidden: *self.forbidden.as_bytes(),
        }
    }
}

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// Service: can tell the whole catalog to clients that were built without one.
    /// Without this such clients are refused.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn telling(mut self, descriptions: Descriptions) -> Self {
        self.tell(descriptions);
        self
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn tell(&mut self, descriptions: Descriptions) {
        note!(self, Telling);
        self.core.told = Some(descriptions);
    }

    /// Service: admits the client. Gives [`Event::Connected`] unless its definitions must be
    /// asked for first.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when no proposal waits for an answer.
    pub fn accept(&mut self, now: Instant, admission: Admission) -> Result<Option<Event<'static>>, Misuse> {
        note!(self, at now, = admission.entry(admission.table().as_ref()));
        self.core.accept(now, admission)
    }

    /// Service: refuses the client. Without a time to come back in `notice` that is
    /// permanent.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when no proposal waits for an answer.
    pub fn refuse(&mut self, notice: Notice) -> Result<(), Misuse> {
        note!(self, Refuse(recording::said(&notice)));
        match step(self.core.phase, Input::Refuse) {
            Step::To(_) => {
                self.core.end(Cause::WeRefused(notice));
                Ok(())
            }
            _ => Err(Misuse::WrongPhase),
        }
    }
}

impl Core {
    /// Service: a proposal came (PROTOCOL H-3 to H-6).
    fn proposed<'f>(&mut self, now: Instant, body: &'f [u8]) -> Taken<'f> {
        let proposal = Proposal::read(body)?;
        self.theirs = proposal.limits;
        self.flow.start(&self.theirs, proposal.first);
        // PROTOCOL H-10: who has no catalog has that of the service.
        if proposal.digest.is_none() {
            self.pending.adopted();
        }
        self.is_same = proposal.digest.is_none_or(|digest| digest == self.catalog.digest());
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
        if !self.is_same && !self.knows(now, &admission) {
            return Ok(None);
        }
        self.agreement.forbid(admission.forbidden);
        Ok(Some(self.open(now)))
    }

    /// Whether the definitions of the client are known. If not it is refused: there is no memory for a table of numbers.
    #[cfg(not(feature = "alloc"))]
    fn knows(&mut self, _now: Instant, _admission: &Admission) -> bool {
        let notice = Notice::new(Code::UnknownField).with_text("the service knows no definitions but its own");
        self.end(Cause::WeRefused(notice));
        false
    }

    fn say_accepted(&self, session: Option<&AnswerAndToken>, out: &mut Writer<'_>) {
        let digest = self.pending.adopts().then(|| self.catalog.digest());
        let verdicts = self.agreement.exceptions();
        Acceptance::write(out, self.trid, &self.limits, verdicts, session, digest);
    }
}
