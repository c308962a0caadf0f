//! One connection: one transport, one trid, either role.
//!
//! [`Connection`] is the shell with the output buffer. What it knows is in [`Core`],
//! which has no buffer: control frames are remembered there as *pending* and written when
//! bytes are wanted, so they never fail for want of room. `state` decides what may
//! happen, `handshake` how the two sides come to terms, `incoming` and `outgoing` what becomes of
//! messages, `flow` who may send how much, `liveness` whether the peer still lives, `sessions` what
//! outlives the connection.

mod adopt;
#[cfg(feature = "snapshot")]
mod copy;
mod core;
#[cfg(feature = "alloc")]
mod definitions;
pub(crate) mod event;
mod fault;
mod flow;
mod halves;
mod handshake;
mod incoming;
#[cfg(feature = "alloc")]
mod keys;
#[cfg(feature = "alloc")]
mod learner;
mod liveness;
mod outgoing;
mod pending;
mod recording;
#[cfg(feature = "record")]
pub(crate) mod replay;
pub(crate) mod role;
mod service;
mod sessions;
pub(crate) mod state;
#[cfg(feature = "alloc")]
mod waiting;

use ::core::time::Duration;
#[cfg(feature = "record")]
use alloc::boxed::Box;
#[cfg(feature = "alloc")]
use alloc::sync::Arc;

use postcard_schema::Schema;
use postcard_schema::schema::NamedType;
use serde::Deserialize;

use self::core::Core;
use self::event::{Event, Progress};
use self::fault::Fault;
use self::recording::{note, when_recorded};
use self::service::SERVICE;
use self::slot::{NoSession, SessionSlot};
use self::state::{Input, Phase, Step, step};
use crate::definition::Verdict;
use crate::error::{Cause, Misuse};
use crate::id::Trid;
use crate::limits::{BadLimits, Limits, MAX_HANDSHAKE_FRAME};
#[cfg(feature = "alloc")]
use crate::message::Kept;
use crate::message::{DecodeError, Held, MessageRef, Tag};
#[cfg(feature = "record")]
use crate::recording::Recorder;
use crate::schema::decode::decode;
use crate::schema::invalid::Invalid;
#[cfg(feature = "alloc")]
use crate::schema::learned::LearnedCatalog;
use crate::schema::walk::check_structure;
use crate::schema::{Catalog, digest};
use crate::session::Session;
pub(crate) use crate::session::slot;
use crate::status::{Code, Notice};
use crate::time::{Instant, Millis};
use crate::wire::frame::Frame;
use crate::wire::outbox::Outbox;
use crate::wire::storage::Storage;

#[cfg(feature = "alloc")]
pub use self::handshake::AdoptConfig;
pub use self::handshake::ClientConfig;
pub use self::service::Admission;

/// The state machine of one connection. It does no IO and reads no clock.
///
/// Four kinds of method: getters; `handle_*` for what the world did; verbs (`send`,
/// `accept`, `go_away` …) for what the user wants; `transmit`, `progress` and `wake` for
/// what must happen next. `B` is the output buffer ([`Storage`]). See the
/// [crate documentation](crate) for the loop.
///
/// `S` is where it has its session: nowhere, unless it was made by
/// [`with_sessions`](Self::with_sessions) or [`client_in_session`](Self::client_in_session).
#[derive(Debug)]
pub struct Connection<B, S = NoSession> {
    core: Core,
    out: Outbox<B>,
    slot: S,
    /// Boxed, for all the connections of which no log is kept.
    #[cfg(feature = "record")]
    log: Option<Box<Recorder>>,
}

impl<B: Storage> Connection<B> {
    /// A service's end of a new connection. Without the feature `alloc` it refuses clients whose catalog is another than
    /// its own (PROTOCOL H-8): there is no memory for the table of their numbers.
    ///
    /// # Errors
    /// [`Misuse::Limits`] for limits that cannot be, or a frame limit below
    /// [`MAX_HANDSHAKE_FRAME`]; [`Misuse::OutputTooSmall`] for a buffer under
    /// [`MIN_OUTPUT`](crate::limits::MIN_OUTPUT) bytes.
    pub fn service(now: Instant, catalog: &'static Catalog, limits: Limits, output: B) -> Result<Self, Misuse> {
        if limits.max_frame() < MAX_HANDSHAKE_FRAME {
            return Err(Misuse::Limits(BadLimits::Frame));
        }
        let core = Core::new(now, SERVICE, catalog, limits)?;
        Ok(Self::of(core, Outbox::checked(output)?, NoSession))
    }

    /// A client's end of a new connection; its proposal is ready to be transmitted.
    ///
    /// # Errors
    /// [`Misuse::Limits`], [`Misuse::OutputTooSmall`] as for a service;
    /// [`Misuse::ProposalTooLong`] or [`Misuse::BadArguments`] when the connect arguments cannot be sent.
    pub fn client(now: Instant, config: &ClientConfig<'_>, output: B) -> Result<Self, Misuse> {
        Self::client_in_session(now, config, output, NoSession).map_err(|(misuse, _)| misuse)
    }

    /// A client's end of a new connection that takes the service's catalog, which is
    /// [`learned`](Self::learned) when the connection has opened (PROTOCOL H-10). For tools
    /// that were not built with the definitions of the service.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    #[cfg(feature = "alloc")]
    pub fn adopting(now: Instant, config: &AdoptConfig<'_>, output: B) -> Result<Self, Misuse> {
        let core = Core::adopting(now, config)?;
        let mut out = Outbox::checked(output)?;
        handshake::propose(&config.into(), None, &mut out)?;
        Ok(Self::of(core, out, NoSession))
    }
}

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    // ── what the world did ──────────────────────────────────────────────────────────

    /// Takes one frame from the [`Deframer`](crate::Deframer).
    ///
    /// What it returns borrows the frame, not the connection.
    pub fn handle_frame<'f>(&mut self, now: Instant, frame: Frame<'f>) -> Option<Event<'f>> {
        #[cfg(feature = "record")]
        let before = self.before_frame(now, &frame);
        let event = self.core.handle_frame(now, frame, &mut self.slot);
        #[cfg(feature = "record")]
        self.after_frame(before);
        event
    }

    /// Takes a message, as [`handle_frame`](Self::handle_frame) does, but to be decoded
    /// apart from the connection ([`MessageRef::decode`]): for callers that share the
    /// connection under a lock and deal with many messages at a time.
    ///
    /// Tell [`handle_received`](Self::handle_received) of the input. A message that does not
    /// decode must be reported by [`fail_decode`](Self::fail_decode).
    ///
    /// # Errors
    /// Anything but a message against which nothing is to be said is given back for
    /// `handle_frame`, and has changed nothing.
    pub fn take_message<'f>(&mut self, frame: Frame<'f>) -> Result<MessageRef<'f>, Frame<'f>> {
        #[cfg(feature = "record")]
        let before = self.before_offer(&frame);
        let taken = self.core.take_message(frame, &mut self.slot);
        #[cfg(feature = "record")]
        self.after_frame(before);
        taken
    }

    /// Bytes have arrived, whether they make a frame or not: the peer lives
    /// (PROTOCOL K-4).
    pub fn handle_received(&mut self, now: Instant) {
        note!(self, at now, Received);
        if let Some(liveness) = &mut self.core.liveness {
            liveness.received(now);
        }
    }

    /// Time has passed; call it when [`wake`](Self::wake) has come. Earlier does no harm.
    pub fn handle_time(&mut self, now: Instant) -> Option<Event<'static>> {
        note!(self, at now, Time);
        let event = self.core.handle_time(now, &mut self.slot);
        if self.core.phase == Phase::Closed {
            self.out.clear();
        }
        event
    }

    /// The transport has ended or failed. What was received before has been handled.
    pub fn handle_eof(&mut self) -> Option<Event<'static>> {
        note!(self, Eof);
        self.out.clear();
        self.core.handle_eof()
    }

    // ── what the user wants ─────────────────────────────────────────────────────────

    /// Decodes a message and gives its credit back at once. An acked one counts as dealt with; when
    /// its handler may fail use [`decode_held`](Self::decode_held).
    ///
    /// # Errors
    /// [`DecodeError::Invalid`]: the message does not fit its definition, or `T` does not take it; the peer is
    /// told so and the connection is closing. [`DecodeError::OtherType`]: `T` has another
    /// structure than the message, nothing was looked at; mend the calling code.
    pub fn decode<'f, T>(&mut self, message: MessageRef<'f>) -> Result<T, DecodeError>
    where
        T: Schema + Deserialize<'f>,
    {
        let (value, held) = self.decode_held(message)?;
        self.release(held);
        Ok(value)
    }

    /// As [`decode`](Self::decode), but the credit stays taken until
    /// [`release`](Self::release): for messages that wait for their handler.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn decode_held<'f, T>(&mut self, message: MessageRef<'f>) -> Result<(T, Held), DecodeError>
    where
        T: Schema + Deserialize<'f>,
    {
        if message.def.structure() != const { digest::structure(T::SCHEMA) } {
            return Err(DecodeError::OtherType);
        }
        let checked = decode(message.payload.0);
        self.settle(message, checked)
    }

    /// Checks a message against `structure`, from
    /// [`ServiceDef::STRUCTURES`](crate::ServiceDef::STRUCTURES) at its number, and lends
    /// its bytes; the credit stays taken until [`release`](Self::release).
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn decode_raw<'f>(
        &mut self,
        message: MessageRef<'f>,
        structure: &NamedType,
    ) -> Result<(&'f [u8], Held), DecodeError> {
        let bytes = message.payload.0;
        let checked = check_structure(structure, bytes).map(|()| bytes);
        self.settle(message, checked)
    }

    /// Checks a message against the catalog that was [`learned`](Self::learned), and lends its
    /// bytes; the credit stays taken until [`release`](Self::release).
    ///
    /// # Errors
    /// As for [`decode`](Self::decode); [`DecodeError::OtherType`] when no catalog was learned.
    #[cfg(feature = "alloc")]
    pub fn decode_learned<'f>(&mut self, message: MessageRef<'f>) -> Result<(&'f [u8], Held), DecodeError> {
        let catalog = self.core.learned().ok_or(DecodeError::OtherType)?;
        match message.decode_learned(catalog) {
            Err(DecodeError::OtherType) => Err(DecodeError::OtherType),
            Err(DecodeError::Invalid(invalid)) => self.settle(message, Err(invalid)),
            Ok(bytes) => self.settle(message, Ok(bytes)),
        }
    }

    /// A message was looked into.
    fn settle<T>(&mut self, message: MessageRef<'_>, checked: Result<T, Invalid>) -> Result<(T, Held), DecodeError> {
        note!(self, = recording::decoded(&message, &checked));
        let held = self
            .core
            .settle(message, checked.as_ref().err().copied(), &mut self.slot);
        checked.map(|value| (value, held)).map_err(DecodeError::Invalid)
    }

    /// Takes a message out of the input to wait for its turn. Its credit stays taken; decode
    /// or reject [`Kept::message`] later, in order.
    #[cfg(feature = "alloc")]
    pub fn keep(&mut self, message: MessageRef<'_>) -> Kept {
        note!(self, Keep);
        self.core.unsettled = None;
        message.into()
    }

    /// A message that was held has been dealt with; if it is an acked one its outcome is
    /// [`Outcome::Ok`](crate::Outcome::Ok). Release acked ones in the order in which they came, each of them: one
    /// that passes over another has no outcome, and the connection ends with [`Code::Internal`].
    #[expect(clippy::needless_pass_by_value, reason = "it is used up")]
    pub fn release(&mut self, held: Held) {
        note!(self, = recording::released(&held));
        self.core.release(&held, &mut self.slot);
    }

    /// Refuses a message: the peer gets the error, the connection closes.
    pub fn reject(&mut self, message: MessageRef<'_>, code: Code, text: &str) {
        self.fail(message.tag(), code, text);
    }

    /// As [`reject`](Self::reject), for a message that was decoded before: its handler
    /// failed. Release what it holds afterwards, if at all. Acked messages that were taken before
    /// must have been released; those behind it come again, and are not to be handled now.
    pub fn fail(&mut self, tag: Tag, code: Code, text: &str) {
        note!(self, = recording::failed(tag, &Notice::new(code).with_text(text)));
        self.core.unsettled = None;
        self.core.fail(tag, Fault::text(code, text), &mut self.slot);
    }

    /// A message from [`take_message`](Self::take_message) was not decoded: the peer gets the
    /// error, the connection closes.
    pub fn fail_decode(&mut self, tag: Tag, error: DecodeError) {
        match error {
            DecodeError::Invalid(invalid) => {
                note!(self, = recording::invalid(tag, invalid));
                self.core.invalid(tag, invalid, &mut self.slot);
            }
            DecodeError::OtherType => self.fail(tag, Code::NoHandler, ""),
        }
    }

    /// Says go-away: nothing new from here; what is under way still comes and may be answered, as long as not all of
    /// it was released and that transmitted; then the peer closes, within `deadline`. When either side has said it
    /// before, only the deadline counts, if it is the earlier one.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] unless the connection is open.
    pub fn go_away(&mut self, now: Instant, notice: Notice, deadline: Duration) -> Result<(), Misuse> {
        note!(self, at now, = recording::going(&notice, deadline));
        let deadline = Millis::of(deadline);
        match step(self.core.phase, Input::GoAway) {
            Step::To(next) => {
                self.core.enter(next);
                self.core.end_by(now.plus(deadline));
                self.core.pending.say_go_away(deadline);
                self.core.cause = Some(Cause::WentAway(notice));
                self.core.confirm();
                Ok(())
            }
            Step::Take => {
                self.core.end_by(now.plus(deadline));
                Ok(())
            }
            _ => Err(Misuse::WrongPhase),
        }
    }

    /// Ends the connection now: what was sent still leaves, then the notice. One with
    /// [`Code::NotDiset`] or [`Code::Version`] does not, as its peer could not read it (PROTOCOL P-2).
    pub fn disconnect(&mut self, notice: Notice) {
        note!(self, Disconnect(recording::said(&notice)));
        self.core.end(Cause::OurError(notice));
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// The bytes to be written to the transport. Report those that were with
    /// [`transmitted`](Self::transmitted).
    pub fn transmit(&mut self) -> &[u8] {
        when_recorded!(self.look());
        self.core.check_settled(&mut self.slot);
        let parting = matches!(self.core.phase, Phase::Leaving | Phase::Draining);
        if parting {
            // Answers go before the grant that says that there are none (PROTOCOL G-1).
            self.fill();
        }
        if self.is_due() {
            self.write_pending();
        }
        self.fill();
        if (parting || !self.out.is_empty())
            && self.core.owes_ack(&self.slot)
            && let Some(session) = self.slot.session_mut()
        {
            // It rides on what leaves anyway (PROTOCOL Q-2).
            session.link.ack = true;
            self.write_pending();
        }
        let quiet = self.slot.session().is_none_or(Session::is_quiet);
        self.core.flushed = quiet && self.is_output_empty() && self.core.is_drained();
        note!(self, Transmit(self.summary()));
        self.out.bytes()
    }

    /// The first `count` bytes of [`transmit`](Self::transmit) have been written.
    pub fn transmitted(&mut self, count: usize) {
        note!(self, Transmitted { count: count as u64 });
        if count > 0
            && let Some(liveness) = &mut self.core.liveness
        {
            liveness.sent();
        }
        self.out.transmitted(count);
        self.core.pending.left(count);
        if let Some(session) = self.slot.session_mut() {
            session.link.left(count);
        }
    }

    /// What is to be done with the transport.
    pub fn progress(&self) -> Progress {
        match self.core.phase {
            Phase::Closed => Progress::Over,
            // The last word may wait behind an acceptance that is not kept yet (PROTOCOL E-3).
            Phase::Closing if self.is_output_empty() && !self.is_opening_held() => Progress::Finish,
            _ => Progress::Running,
        }
    }

    /// When [`handle_time`](Self::handle_time) must be called next: [`Instant::ZERO`] for at
    /// once, as after a call that ended the connection. Ask after [`transmit`](Self::transmit).
    pub fn wake(&self) -> Option<Instant> {
        self.core.wake(&self.slot)
    }

    // ── getters ─────────────────────────────────────────────────────────────────────

    /// The longest frame that may come now; for [`Deframer::next`](crate::Deframer::next).
    pub fn max_frame(&self) -> u32 {
        let limit = self.core.limits.max_frame();
        // Only what is, or was, open knows another limit.
        if self.core.liveness.is_some() {
            limit
        } else {
            limit.min(MAX_HANDSHAKE_FRAME)
        }
    }

    /// What this side states that it can take; that of the connection before while there is none.
    pub const fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// Where the connection stands.
    pub const fn phase(&self) -> Phase {
        self.core.phase
    }

    /// Whether messages may be sent now, as far as the phase goes: it is open, or a go-away was said and something that
    /// came is still to be answered (PROTOCOL G-1, G-2).
    pub const fn may_send(&self) -> bool {
        self.core.may_speak()
    }

    /// Why it is over, once it is.
    pub const fn cause(&self) -> Option<&Cause> {
        if self.core.phase.is_over() {
            self.core.cause.as_ref()
        } else {
            None
        }
    }

    /// The transport id, once the connection is open.
    pub fn trid(&self) -> Option<Trid> {
        (!self.core.phase.is_handshake() && self.core.liveness.is_some()).then_some(self.core.trid)
    }

    /// The catalog that a client [adopted](Self::adopting), once the connection is open.
    #[cfg(feature = "alloc")]
    pub const fn learned(&self) -> Option<&Arc<LearnedCatalog>> {
        self.core.learned()
    }

    /// What the peer makes of the message with this number in this side's catalog;
    /// meaningful once the connection is open.
    pub fn verdict(&self, number: u8) -> Verdict {
        self.core.agreement.verdict(number)
    }

    /// How many of the messages sent are not known to have been dealt with: at most so
    /// many are lost when the connection ends now (PROTOCOL L-6).
    pub fn unconfirmed(&self) -> u32 {
        self.core.unconfirmed()
    }

    /// There is nothing to transmit now.
    pub fn is_output_empty(&self) -> bool {
        self.out.is_empty() && !self.is_due() && !self.can_fill()
    }

    /// Whether control frames are to be written.
    fn is_due(&self) -> bool {
        !self.is_opening_held() && (self.core.pending.is_due() || self.core.is_session_due(&self.slot))
    }

    /// Whether an acceptance waits until its session is kept, and all else behind it.
    fn is_opening_held(&self) -> bool {
        self.core.pending.is_opening() && pending::is_held(&self.slot)
    }

    fn write_pending(&mut self) {
        self.core.write_pending(&mut self.out, &mut self.slot);
    }
}
