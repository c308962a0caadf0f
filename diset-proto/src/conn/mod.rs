//! One connection: one transport, one trid, either role.
//!
//! [`Connection`] is the shell with the output buffer. What it knows is in [`Core`],
//! which has no buffer: control frames are remembered there as *pending* and written when
//! bytes are wanted, so they never fail for want of room. `state` decides what may
//! happen, `handshake` how the two sides come to terms, `flow` who may send how much,
//! `liveness` whether the peer still lives.

mod adopt;
mod core;
pub(crate) mod event;
mod flow;
mod handshake;
#[cfg(feature = "alloc")]
mod learner;
mod liveness;
mod pending;
pub(crate) mod state;

use ::core::time::Duration;
#[cfg(feature = "alloc")]
use alloc::sync::Arc;

use postcard_schema::Schema;
use postcard_schema::schema::NamedType;
use serde::{Deserialize, Serialize};

use self::core::Core;
use self::event::{Event, Progress};
use self::state::{Input, Phase, Step, step};
use crate::definition::Verdict;
use crate::error::{Bound, Cause, Misuse, SendError};
use crate::id::Trid;
use crate::limits::{BadLimits, CONTROL_RESERVE, Limits, MAX_HANDSHAKE_FRAME, MIN_OUTPUT};
use crate::message::{self, DecodeError, Held, MessageRef};
#[cfg(feature = "alloc")]
use crate::schema::learned::{LearnedCatalog, LearnedMessage};
#[cfg(feature = "alloc")]
use crate::schema::told::Descriptions;
use crate::schema::walk::check_structure;
use crate::schema::{Catalog, digest};
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::frame::{Frame, Kind};
use crate::wire::outbox::{Outbox, PutError};
use crate::wire::storage::Storage;

#[cfg(feature = "alloc")]
pub use self::handshake::AdoptConfig;
pub use self::handshake::{Admission, ClientConfig};

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Service,
}

/// The state machine of one connection. It does no IO and reads no clock.
///
/// Four kinds of method: getters; `handle_*` for what the world did; verbs (`send`,
/// `accept`, `go_away` …) for what the user wants; `transmit`, `progress` and `wake` for
/// what must happen next. `B` is the output buffer ([`Storage`]). See the
/// [crate documentation](crate) for the loop.
#[derive(Debug)]
pub struct Connection<B> {
    core: Core,
    out: Outbox<B>,
}

impl<B: Storage> Connection<B> {
    /// A service's end of a new connection.
    ///
    /// # Errors
    /// [`Misuse::Limits`] for limits that cannot be, or a frame limit below
    /// [`MAX_HANDSHAKE_FRAME`]; [`Misuse::OutputTooSmall`] for a buffer under
    /// [`MIN_OUTPUT`] bytes.
    pub fn service(now: Instant, catalog: &'static Catalog, limits: Limits, output: B) -> Result<Self, Misuse> {
        if limits.max_frame() < MAX_HANDSHAKE_FRAME {
            return Err(Misuse::Limits(BadLimits::Frame));
        }
        let core = Core::new(now, Role::Service, catalog, limits)?;
        Ok(Self {
            core,
            out: checked_output(output)?,
        })
    }

    /// A client's end of a new connection; its proposal is ready to be transmitted.
    ///
    /// # Errors
    /// [`Misuse::Limits`], [`Misuse::OutputTooSmall`] as for a service;
    /// [`Misuse::ProposalTooLong`] when the connect arguments are too many or too long.
    pub fn client(now: Instant, config: &ClientConfig<'_>, output: B) -> Result<Self, Misuse> {
        let core = Core::new(now, Role::Client, config.catalog, config.limits)?;
        let mut out = checked_output(output)?;
        handshake::propose(&config.into(), &mut out)?;
        Ok(Self { core, out })
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
        let mut out = checked_output(output)?;
        handshake::propose(&config.into(), &mut out)?;
        Ok(Self { core, out })
    }

    /// Service: can tell the whole catalog to clients that were built without one.
    /// Without this such clients are refused.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn telling(mut self, descriptions: Descriptions) -> Self {
        self.core.told = Some(descriptions);
        self
    }

    // ── what the world did ──────────────────────────────────────────────────────────

    /// Takes one frame from the [`Deframer`](crate::Deframer).
    ///
    /// What it returns borrows the frame, not the connection.
    pub fn handle_frame<'f>(&mut self, now: Instant, frame: Frame<'f>) -> Option<Event<'f>> {
        self.core.handle_frame(now, frame)
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
        self.core.take_message(frame)
    }

    /// Bytes have arrived, whether they make a frame or not: the peer lives
    /// (PROTOCOL K-4).
    pub fn handle_received(&mut self, now: Instant) {
        if let Some(liveness) = &mut self.core.liveness {
            liveness.received(now);
        }
    }

    /// Time has passed; call it when [`wake`](Self::wake) has come. Earlier does no harm.
    pub fn handle_time(&mut self, now: Instant) -> Option<Event<'static>> {
        let event = self.core.handle_time(now);
        if self.core.phase == Phase::Closed {
            self.out.clear();
        }
        event
    }

    /// The transport has ended or failed. What was received before has been handled.
    pub fn handle_eof(&mut self) -> Option<Event<'static>> {
        self.out.clear();
        self.core.handle_eof()
    }

    // ── what the user wants ─────────────────────────────────────────────────────────

    /// Service: admits the client. Gives [`Event::Connected`] unless its definitions must be
    /// asked for first.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when no proposal waits for an answer.
    pub fn accept(&mut self, now: Instant, admission: Admission) -> Result<Option<Event<'static>>, Misuse> {
        self.core.accept(now, admission)
    }

    /// Service: refuses the client. Without a time to come back in `notice` that is
    /// permanent.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when no proposal waits for an answer.
    pub fn refuse(&mut self, notice: Notice) -> Result<(), Misuse> {
        match step(self.core.phase, Input::Refuse) {
            Step::To(_) => {
                self.core.end(Cause::WeRefused(notice));
                Ok(())
            }
            _ => Err(Misuse::WrongPhase),
        }
    }

    /// Queues a message by its number in this side's catalog. Typed users take it from
    /// [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    ///
    /// At most once: when the connection ends before the message has reached the peer it
    /// is lost. Messages arrive in the order they were sent.
    ///
    /// # Errors
    /// The message was not taken, nothing changed: see [`SendError`].
    pub fn send<T: Serialize + ?Sized>(&mut self, number: u8, message: &T) -> Result<(), SendError> {
        let wire = self.core.may_send(number)?;
        if self.core.pending.is_due() {
            // An acceptance must leave before the first message.
            self.write_pending();
            if self.core.pending.is_opening() {
                return Err(SendError::Full(Bound::Output));
            }
        }
        let put = self.out.frame(
            Kind::Message.head(),
            CONTROL_RESERVE,
            self.core.theirs.max_frame,
            |place| message::encode(wire, message, place),
        );
        match put {
            Ok(cost) if self.core.flow.sent(cost) => Ok(()),
            Ok(cost) => {
                self.out.undo(cost);
                Err(SendError::Full(Bound::Credit))
            }
            Err(PutError::Full) if self.could_send(message) => Err(SendError::Full(Bound::Output)),
            Err(PutError::Full) => Err(SendError::TooLong),
            Err(PutError::TooLong) => Err(SendError::TooLong),
            Err(PutError::Body(())) => Err(SendError::Encode),
        }
    }

    /// Queues a message of the catalog that was [`learned`](Self::learned), by its definition
    /// and the payload that [`LearnedMessage::encode`] made. As [`send`](Self::send) otherwise.
    ///
    /// # Errors
    /// As for [`send`](Self::send). [`SendError::NotAgreed`] also when the service defines the
    /// message otherwise than `message`, which may stem from an earlier connection;
    /// [`SendError::Encode`] when the payload is not one of `message`.
    #[cfg(feature = "alloc")]
    pub fn send_learned(&mut self, message: &LearnedMessage, payload: &[u8]) -> Result<(), SendError> {
        let number = self.core.number_of(message).map_err(SendError::NotAgreed)?;
        message.structure().check(payload).map_err(|_| SendError::Encode)?;
        self.send(number, &message::Encoded(payload))
    }

    /// Decodes a message and gives its credit back at once.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`]: the message does not fit its definition; the peer is
    /// told so and the connection is closing. [`DecodeError::OtherType`]: `T` has another
    /// structure than the message, nothing was looked at; mend the calling code.
    pub fn decode<'f, T>(&mut self, message: MessageRef<'f>) -> Result<T, DecodeError>
    where
        T: Schema + Serialize + Deserialize<'f>,
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
        T: Schema + Serialize + Deserialize<'f>,
    {
        if message.def.structure() != const { digest::structure(T::SCHEMA) } {
            return Err(DecodeError::OtherType);
        }
        let checked = message::decode(message.payload.0);
        self.core.settle(message, checked)
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
        self.core
            .settle(message, check_structure(structure, bytes).map(|()| bytes))
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
            Err(DecodeError::Invalid(invalid)) => self.core.settle(message, Err(invalid)),
            Ok(bytes) => self.core.settle(message, Ok(bytes)),
        }
    }

    /// Takes a message out of the input to wait for its turn. Its credit stays taken; decode
    /// or reject [`Kept::message`](crate::Kept::message) later, in order.
    #[cfg(feature = "alloc")]
    pub fn keep(&mut self, message: MessageRef<'_>) -> message::Kept {
        self.core.unsettled = None;
        message.into()
    }

    /// A message that was held has been dealt with.
    pub fn release(&mut self, held: Held) {
        self.core.release(held);
    }

    /// Refuses a message: the peer gets the error, the connection closes.
    pub fn reject(&mut self, message: MessageRef<'_>, code: Code, text: &str) {
        self.fail(message.wire, code, text);
    }

    /// As [`reject`](Self::reject), for a message that was decoded before: its handler
    /// failed. `wire` is [`MessageRef::wire`].
    pub fn fail(&mut self, wire: u8, code: Code, text: &str) {
        self.core.unsettled = None;
        self.core
            .end(Cause::OurError(Notice::new(code).with_text(text).about(wire)));
    }

    /// A message from [`take_message`](Self::take_message) was not decoded: the peer gets the
    /// error, the connection closes. `wire` is [`MessageRef::wire`].
    pub fn fail_decode(&mut self, wire: u8, error: DecodeError) {
        match error {
            DecodeError::Invalid(invalid) => self.core.invalid(wire, invalid),
            DecodeError::OtherType => self.fail(wire, Code::NoHandler, ""),
        }
    }

    /// Says go-away: no new messages from here; what is under way still comes, then the
    /// peer closes, within `deadline`. When either side has said it before, only the
    /// deadline counts, if it is the earlier one.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] unless the connection is open.
    pub fn go_away(&mut self, now: Instant, notice: Notice, deadline: Duration) -> Result<(), Misuse> {
        match step(self.core.phase, Input::GoAway) {
            Step::To(next) => {
                self.core.enter(next);
                self.core.end_by(now.after(deadline));
                self.core.pending.say_go_away(notice, deadline);
                self.core.confirm();
                Ok(())
            }
            Step::Take => {
                self.core.end_by(now.after(deadline));
                Ok(())
            }
            _ => Err(Misuse::WrongPhase),
        }
    }

    /// Ends the connection now: what was sent still leaves, then the notice. One with
    /// [`Code::NotDiset`] or [`Code::Version`] does not, as its peer could not read it (PROTOCOL P-2).
    pub fn disconnect(&mut self, notice: Notice) {
        self.core.end(Cause::OurError(notice));
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// The bytes to be written to the transport. Report those that were with
    /// [`transmitted`](Self::transmitted).
    pub fn transmit(&mut self) -> &[u8] {
        self.core.check_settled();
        if self.core.pending.is_due() {
            self.write_pending();
        }
        self.core.flushed = self.is_output_empty() && self.core.is_drained();
        self.out.bytes()
    }

    /// The first `count` bytes of [`transmit`](Self::transmit) have been written.
    pub fn transmitted(&mut self, count: usize) {
        if count > 0
            && let Some(liveness) = &mut self.core.liveness
        {
            liveness.sent();
        }
        self.out.transmitted(count);
        self.core.pending.left(count);
    }

    /// What is to be done with the transport.
    pub fn progress(&self) -> Progress {
        match self.core.phase {
            Phase::Closed => Progress::Over,
            Phase::Closing if self.out.is_empty() && !self.core.pending.is_due() => Progress::Finish,
            _ => Progress::Running,
        }
    }

    /// When [`handle_time`](Self::handle_time) must be called next: [`Instant::ZERO`] for at
    /// once, as after a call that ended the connection. Ask after [`transmit`](Self::transmit).
    pub fn wake(&self) -> Option<Instant> {
        self.core.wake()
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

    /// Where the connection stands.
    pub const fn phase(&self) -> Phase {
        self.core.phase
    }

    /// Why it is over, once it is.
    pub const fn cause(&self) -> Option<&Cause> {
        self.core.cause.as_ref()
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

    /// The output buffer has nothing to transmit.
    pub const fn is_output_empty(&self) -> bool {
        self.out.is_empty() && !self.core.pending.is_due()
    }

    /// Whether a message that does not fit now would fit an empty outbox, and the peer.
    fn could_send<T: Serialize + ?Sized>(&self, message: &T) -> bool {
        // Head and number stand before the payload. What cannot be measured cannot be sent.
        let length = message::size(message).map_or(usize::MAX, |size| size.saturating_add(2));
        let taken = u32::try_from(length).is_ok_and(|length| length <= self.core.theirs.max_frame);
        taken && self.out.could_take(length, CONTROL_RESERVE)
    }

    fn write_pending(&mut self) {
        self.core.write_pending(&mut self.out);
    }
}

fn checked_output<B: Storage>(mut output: B) -> Result<Outbox<B>, Misuse> {
    if !output.grow(MIN_OUTPUT) {
        return Err(Misuse::OutputTooSmall);
    }
    output.release();
    Ok(Outbox::new(output))
}
