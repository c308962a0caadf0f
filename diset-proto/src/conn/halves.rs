//! What the halves ([`crate::drive`]) need of a connection: that it stays where it is and goes from one transport to the
//! next, and what a message that begins, or has its outcome, means to it.

use super::Connection;
use super::core::Core;
use super::fault::Fault;
#[cfg(feature = "alloc")]
use super::handshake::AdoptConfig;
use super::handshake::{self, ClientConfig, Wish};
use super::recording::note;
use super::role::{ReadProposal, Role};
use super::service::SERVICE;
use super::slot::SessionSlot;
use super::state::Phase;
use crate::error::{Cause, Misuse};
use crate::id::Trid;
use crate::limits::{BadLimits, Limits, MAX_HANDSHAKE_FRAME, MIN_OUTPUT};
use crate::message::{DecodeError, Held, Tag};
use crate::schema::{Catalog, MessageDef};
use crate::session::queue::{Acked, Meta};
use crate::session::work::{Completed, End, Of};
use crate::session::{Outcome, Session};
use crate::status::{Code, Notice};
use crate::store::Inbox as _;
use crate::time::Instant;
use crate::wire::outbox::Outbox;
use crate::wire::session::Resume;
use crate::wire::storage::Storage;

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// One without a transport.
    pub(crate) fn idle(output: B, slot: S) -> Self {
        Self::of(Core::idle(), Outbox::new(output), slot)
    }

    /// Client: proposes on a new transport.
    #[inline(never)]
    pub(crate) fn connect(&mut self, now: Instant, config: &ClientConfig<'_>) -> Result<(), Misuse> {
        self.begin_with(Core::new(now, Role::Client, config.catalog, config.limits)?)?;
        let request = self.slot.session_mut().and_then(Session::request);
        self.propose(&config.into(), request.as_ref())
    }

    /// Client: proposes on a new transport, and takes the catalog of the service.
    #[cfg(feature = "alloc")]
    pub(crate) fn adopt(&mut self, now: Instant, config: &AdoptConfig<'_>) -> Result<(), Misuse> {
        self.begin_with(Core::adopting(now, config)?)?;
        self.propose(&config.into(), None)
    }

    fn propose(&mut self, wish: &Wish<'_>, request: Option<&Resume>) -> Result<(), Misuse> {
        handshake::propose(wish, request, &mut self.out).inspect_err(|_| self.abandon())
    }

    /// Service: waits for a proposal on a new transport.
    pub(crate) fn listen(&mut self, now: Instant, catalog: &'static Catalog, limits: Limits) -> Result<(), Misuse> {
        if limits.max_frame() < MAX_HANDSHAKE_FRAME {
            return Err(Misuse::Limits(BadLimits::Frame));
        }
        self.begin_with(Core::new(now, SERVICE, catalog, limits)?)
    }

    /// The messages of this side.
    pub(crate) const fn catalog(&self) -> &'static Catalog {
        self.core.catalog
    }

    /// Before there is a transport: those whose turn comes all the same are of this catalog.
    pub(crate) fn knows(&mut self, catalog: &'static Catalog) {
        if self.core.catalog.count() == 0 {
            self.core.catalog = catalog;
        }
    }

    fn begin_with(&mut self, core: Core) -> Result<(), Misuse> {
        if self.core.phase != Phase::Closed {
            return Err(Misuse::WrongPhase);
        }
        if self.out.bound() < MIN_OUTPUT {
            return Err(Misuse::OutputTooSmall);
        }
        self.out.clear();
        self.core = core;
        if let Some(session) = self.slot.session_mut() {
            session.detach();
        }
        #[cfg(feature = "record")]
        {
            self.log = None;
        }
        Ok(())
    }

    /// The output buffer and the session.
    pub(crate) fn into_parts(mut self) -> (B, S) {
        if let Some(session) = self.slot.session_mut() {
            session.detach();
        }
        (self.out.into_storage(), self.slot)
    }

    /// Whether this side has ended the connection by itself: then no handler begins.
    pub(crate) const fn is_stopped(&self) -> bool {
        matches!(self.cause(), Some(Cause::OurError(_) | Cause::WeRefused(_)))
    }

    /// What the peer may send without a grant: bytes, and messages.
    #[cfg(feature = "alloc")]
    pub(crate) const fn credit(&self) -> (u32, u32) {
        self.core.limits.credit()
    }

    /// Whether something is to leave for which the output does not grow now.
    pub(crate) fn waits_for_memory(&self) -> bool {
        self.out.is_empty() && !self.is_output_empty()
    }

    /// The connection with which the session began that is here.
    pub(crate) fn session_began(&self) -> Trid {
        self.slot.session().map_or(Trid::new(0), Session::began)
    }

    /// The connection is over, and what waits has its turn up to this acked message. All behind it comes again, above the
    /// number that is given; `None` when it is kept.
    pub(crate) fn waits_through(&mut self, last: Option<Acked>) -> Option<Acked> {
        let session = self.slot.session_mut()?;
        let began = session.began();
        let last = last.filter(|last| last.began == began).map_or(0, |last| last.number);
        let number = session.waits_through(last)?;
        Some(Acked { began, number })
    }

    /// What waits of earlier connections does not have its turn any more, as [`waits_through`](Self::waits_through).
    pub(crate) fn stop_waiting(&mut self) -> Option<Acked> {
        let session = self.slot.session_mut()?;
        let (began, number) = (session.began(), session.stop_waiting()?);
        Some(Acked { began, number })
    }

    /// Whether this acked message has no outcome, and does not come again.
    pub(crate) fn is_unhandled(&self, acked: Acked) -> bool {
        self.slot
            .session()
            .is_some_and(|session| session.is_unhandled(acked.began, acked.number))
    }

    /// What the inbox has that is not handled, until `each` says false. One that is defined no more has a number that no
    /// message has.
    pub(crate) fn unhandled(&self, mut each: impl FnMut(&Meta, &[u8]) -> bool) {
        let Some(session) = self.slot.session() else { return };
        let messages = self.core.catalog.messages();
        session.inbox().unhandled(&mut |began, stored| {
            let number = (0..).zip(messages).find(|(_, def)| def.key() == stored.key);
            let meta = Meta {
                number: number.map_or(u8::MAX, |(number, _)| number),
                cost: 0,
                acked: Some(Acked {
                    began,
                    number: stored.number,
                }),
                repeated: stored.repeated || session.may_have_begun(began, stored.number),
            };
            each(&meta, stored.payload)
        });
    }

    /// The message that has come is not for the connection to decode: what becomes of it is told by
    /// [`complete`](Self::complete).
    pub(crate) fn leave_to_work(&mut self) {
        note!(self, Keep);
        self.core.unsettled = None;
    }

    /// A link that was only tried ends without a word, and nothing is told of it.
    pub(crate) fn abandon(&mut self) {
        self.core.enter(Phase::Closed);
        self.out.clear();
    }

    /// A message that was credited can neither be handled now nor wait; `crowded`: what waits of earlier links takes its
    /// room, which is no fault of ours, and there will be room.
    pub(crate) fn lacks_room(&mut self, crowded: bool) {
        let code = if crowded { Code::Busy } else { Code::Internal };
        let text = "the queue has no room for what was credited";
        self.disconnect(Notice::new(code).with_text(text));
    }

    /// Service: what reads a proposal.
    pub(crate) const fn proposal_reader(&self) -> Option<ReadProposal> {
        match self.core.role {
            Role::Client => None,
            Role::Service(duties) => Some(duties.read),
        }
    }

    /// Whether the handler of a message may begin now. `None`: it is not to at all, as it has its outcome, or comes again.
    pub(crate) fn may_begin(&self, meta: &Meta) -> Option<bool> {
        let Some(acked) = meta.acked else { return Some(true) };
        let session = self.slot.session()?;
        if acked.began == session.began() {
            session.may_begin(acked.number)
        } else {
            // Of a session that has begun anew since (PROTOCOL Q-8).
            session.is_unhandled(acked.began, acked.number).then_some(true)
        }
    }

    /// A message waits that may not begin now: ends the connection when that would be so for ever.
    pub(crate) fn cannot_begin(&mut self) {
        if self.phase() == Phase::Open && self.slot.session().is_some_and(Session::is_stuck) {
            let text = "too many messages have failed: they go on when you know";
            self.disconnect(Notice::new(Code::Busy).with_text(text));
        }
    }

    /// The handler of a message, which [may](Self::may_begin), begins; its definition.
    pub(crate) fn begin_handler(&mut self, meta: &Meta) -> Option<&'static MessageDef> {
        if let Some(acked) = meta.acked
            && acked.began == self.session_began()
        {
            self.begin(acked.number);
        }
        self.core.def(meta.number).map(|(def, _)| def)
    }

    /// A message is not handled: tells the peer why, and ends the connection. Its outcome is still to come.
    pub(crate) fn reject_by_meta(&mut self, meta: &Meta, code: Code, text: &str) {
        let fault = Fault::text(code, text).about(self.wire_of_meta(meta));
        self.disconnect(fault.notice());
    }

    fn wire_of_meta(&self, meta: &Meta) -> u8 {
        self.core.agreement.wire(meta.number).unwrap_or(0)
    }

    /// A message that began, or a callback, has come to this end; `told` is what the peer is told of a failure besides its
    /// code. Gives the outcome of a message whose session is not here any more.
    pub(crate) fn complete(&mut self, completed: &Completed, told: &str) -> Option<(Acked, Outcome)> {
        let stray = completed.meta.and_then(|meta| meta.acked);
        let stray = stray.filter(|_| self.slot.session().is_none());
        self.count(completed, told);
        let outcome = match completed.end {
            End::Retry(_) => return None,
            End::Ok => Outcome::Ok,
            End::Failed(code) => Outcome::Failed(code),
            End::Unsent => Outcome::Failed(Code::HandlerFailed),
            End::Abandoned => Outcome::Failed(Code::NoHandler),
            End::Invalid(invalid) => Outcome::Failed(invalid.code()),
        };
        stray.map(|acked| (acked, outcome))
    }

    fn count(&mut self, completed: &Completed, told: &str) {
        let Completed { meta, of, end } = completed;
        let Some(meta) = meta else {
            return self.called_back(*of, *end, told);
        };
        let began = self.session_began();
        if let Some(acked) = meta.acked
            && acked.began != began
            && let Some(session) = self.session_mut()
        {
            // Whatever its outcome is: nobody waits for it.
            if !matches!(end, End::Retry(_)) {
                session.inbox_mut().handled_before(acked.began, acked.number);
            }
        }
        let acked = meta.acked.filter(|acked| acked.began == began);
        let acked = acked.map_or(0, |acked| acked.number);
        let code = match *end {
            End::Retry(_) => {
                if let Some(session) = self.session_mut() {
                    session.not_begun(acked);
                }
                return;
            }
            End::Ok if *of == Of::Link => {
                return self.release(Held {
                    bytes: meta.cost,
                    messages: 1,
                    acked,
                });
            }
            // It is not answered any more, and that is no reason for another end than the one that was said (PROTOCOL G-2).
            End::Unsent
                if *of == Of::Link
                    && meta.acked.is_none()
                    && matches!(self.phase(), Phase::Leaving | Phase::Draining)
                    && !self.may_send() =>
            {
                return self.release(Held {
                    bytes: meta.cost,
                    messages: 1,
                    acked,
                });
            }
            // It has cost this link nothing.
            End::Ok => return self.settle_former(acked, Outcome::Ok),
            End::Failed(code) => code,
            End::Unsent => Code::HandlerFailed,
            // PROTOCOL M-4
            End::Abandoned => Code::NoHandler,
            End::Invalid(invalid) => invalid.code(),
        };
        let tag = Tag {
            wire: self.wire_of_meta(meta),
            acked,
        };
        match *end {
            // Its link is over, and the next one none the worse for it.
            _ if *of == Of::Over => self.settle_former(acked, Outcome::Failed(code)),
            End::Invalid(invalid) => self.fail_decode(tag, DecodeError::Invalid(invalid)),
            End::Abandoned => self.fail(tag, code, ""),
            _ => self.fail(tag, code, told),
        }
    }

    /// An acked message of an earlier link has this outcome.
    fn settle_former(&mut self, acked: u64, outcome: Outcome) {
        let session = self.session_mut();
        if session.is_some_and(|session| !session.settle(acked, outcome)) {
            self.disconnect(Notice::new(Code::Internal).with_text("an acked message was passed over"));
        }
    }

    /// A callback has come to this end.
    fn called_back(&mut self, of: Of, end: End, told: &str) {
        let code = match end {
            End::Failed(code) if of == Of::Link => code,
            // PROTOCOL G-1, G-2
            End::Unsent if matches!(self.phase(), Phase::Leaving | Phase::Draining) => return,
            End::Abandoned | End::Unsent if of == Of::Link => Code::HandlerFailed,
            _ => return,
        };
        self.disconnect(Notice::new(code).with_text(told));
    }
}
