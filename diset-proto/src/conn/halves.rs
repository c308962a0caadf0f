//! What the halves ([`crate::drive`]) need of a connection: that it stays where it is and goes from one transport to the
//! next, and what a message that begins, or has its outcome, means to it.

use super::Connection;
use super::core::Core;
use super::fault::Fault;
use super::handshake::{self, ClientConfig};
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
use crate::session::queue::Meta;
use crate::session::work::{Completed, End};
use crate::session::{Outcome, Session};
use crate::status::Code;
use crate::store::Inbox as _;
use crate::time::Instant;
use crate::wire::outbox::Outbox;
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
        let proposed = handshake::propose(&config.into(), request.as_ref(), &mut self.out);
        proposed.inspect_err(|_| self.abandon())
    }

    /// Service: waits for a proposal on a new transport.
    pub(crate) fn listen(&mut self, now: Instant, catalog: &'static Catalog, limits: Limits) -> Result<(), Misuse> {
        if limits.max_frame() < MAX_HANDSHAKE_FRAME {
            return Err(Misuse::Limits(BadLimits::Frame));
        }
        self.begin_with(Core::new(now, SERVICE, catalog, limits)?)
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

    /// The connection with which the session began that is here.
    pub(crate) fn session_began(&self) -> Trid {
        self.slot.session().map_or(Trid::new(0), Session::began)
    }

    /// When the connection is over, all that was received above this number comes again; `None` when it is kept.
    pub(crate) fn comes_again_above(&self) -> Option<u64> {
        match self.slot.session() {
            Some(session) if session.inbox().is_durable() => None,
            session => Some(session.map_or(0, Session::processed)),
        }
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

    /// A message that was credited can neither be handled now nor wait.
    pub(crate) fn lacks_room(&mut self) {
        self.core.fault(Fault::text(
            Code::Internal,
            "the queue has no room for what was credited",
        ));
    }

    /// Service: what reads a proposal.
    pub(crate) const fn proposal_reader(&self) -> Option<ReadProposal> {
        match self.core.role {
            Role::Client => None,
            Role::Service(duties) => Some(duties.read),
        }
    }

    /// Whether the handler of a message may begin now. `None`: it is not to at all, as it has its outcome, comes again, or
    /// is of a session that has begun anew since.
    pub(crate) fn may_begin(&self, meta: &Meta) -> Option<bool> {
        match (meta.acked, self.slot.session()) {
            (None, _) => Some(true),
            (Some(acked), Some(session)) if acked.began == session.began() => session.may_begin(acked.number),
            (Some(_), _) => None,
        }
    }

    /// The handler of a message, which [may](Self::may_begin), begins; its definition.
    pub(crate) fn begin_handler(&mut self, meta: &Meta) -> Option<&'static MessageDef> {
        if let Some(acked) = meta.acked {
            self.begin(acked.number);
        }
        self.core.def(meta.number).map(|(def, _)| def)
    }

    /// A message is not handled: tells the peer why, and ends the connection. Its outcome is still to come.
    pub(crate) fn reject_by_meta(&mut self, meta: &Meta, code: Code, text: &str) {
        let fault = Fault::text(code, text).about(self.wire_of_meta(meta));
        self.core.fault(fault);
    }

    fn wire_of_meta(&self, meta: &Meta) -> u8 {
        self.core.agreement.wire(meta.number).unwrap_or(0)
    }

    /// A message that began has come to this end.
    pub(crate) fn complete(&mut self, completed: &Completed) {
        let Completed { meta, old, end } = completed;
        let began = self.session_began();
        // One of a session that has begun anew since has no outcome.
        let acked = meta.acked.filter(|acked| acked.began == began);
        let acked = acked.map_or(0, |acked| acked.number);
        let tag = Tag {
            wire: self.wire_of_meta(meta),
            acked,
        };
        match *end {
            End::Retry(_) => {
                if let Some(session) = self.slot.session_mut() {
                    session.not_begun(acked);
                }
            }
            End::Ok if *old => {
                // It has cost this link nothing.
                let session = self.slot.session_mut();
                if session.is_some_and(|session| !session.settle(acked, Outcome::Ok)) {
                    self.core
                        .fault(Fault::text(Code::Internal, "an acked message was passed over"));
                }
            }
            End::Ok => self.release(Held {
                bytes: meta.cost,
                messages: 1,
                acked,
            }),
            End::Failed(code) => self.fail(tag, code, ""),
            // PROTOCOL M-4
            End::Abandoned => self.fail(tag, Code::NoHandler, ""),
            End::Invalid(invalid) => self.fail_decode(tag, DecodeError::Invalid(invalid)),
        }
    }
}
