//! The client: what it does without its transport, the same for both ways to drive it.

use core::fmt;
use core::time::Duration;

use diset_proto::store::{Inbox, Unsure};
use diset_proto::{
    Code, Delivered, FromClient, Identity, Instant, MessageOf, Notice, Resumption, Retry, SendError, ServiceDef, Trid,
    Verdict,
};

use crate::config::SetupError;
use crate::machine::Machine;
use crate::outbox::{self, Keep, NoOutbox, Outbox};

/// A client of the service `S`: one identity, one connection at a time.
///
/// `C` is its channel. With a [`Clock`](crate::Clock) `T` it is async, made by [`Client::new`]; without one it is
/// polled, made by [`Client::blocking`]. With an [`Outbox`] `K`, given by [`with_outbox`](Self::with_outbox), it sends
/// acked messages, and keeps its session from one connection to the next.
pub struct Client<'b, S: ServiceDef, C, T = NoClock, K: Keep = NoOutbox> {
    pub(crate) machine: Machine<'b, S, K>,
    pub(crate) channel: Option<C>,
    pub(crate) clock: T,
}

/// In place of a clock: the time comes with each call.
#[derive(Debug)]
pub struct NoClock(pub(crate) ());

impl<'b, S: ServiceDef, C, T, K: Keep> Client<'b, S, C, T, K> {
    pub(crate) const fn with(machine: Machine<'b, S, K>, clock: T) -> Self {
        Self {
            machine,
            channel: None,
            clock,
        }
    }

    /// Queues a message: at most once, in order. It leaves with the next `next`, `poll` or `flush`.
    ///
    /// It never waits, so there is nothing to cancel: a message was queued when this returns `Ok`, and not otherwise.
    ///
    /// # Errors
    /// [`SendError`]: the message was not taken. [`SendError::Full`] of [`Bound::Output`](diset_proto::Bound::Output):
    /// flush and try again; of any other bound, as [`Bound::Credit`](diset_proto::Bound::Credit): try again after the next
    /// event, [`Event::Room`](crate::Event::Room) or what else there is.
    pub fn send<M: FromClient<S>>(&mut self, message: &M) -> Result<(), SendError> {
        self.machine.tx.send(M::NUMBER, message)
    }

    /// Ends the connection. What was sent before still leaves, the service is told [`Code::Disconnected`] and the
    /// reason (its first 64 bytes); then comes [`Event::Dropped`](crate::Event::Dropped).
    pub fn disconnect(&mut self, reason: &str) {
        let notice = Notice::new(Code::Disconnected);
        self.machine.tx.disconnect(notice.with_text(reason));
    }

    /// The client has done its work.
    pub(crate) fn go_away(&mut self, now: Instant, within: Duration) {
        let tx = &mut self.machine.tx;
        let notice = Notice::new(Code::Done);
        if tx.connection().phase().is_handshake() {
            tx.disconnect(notice);
        } else {
            // In another phase it is ending already, or there is none.
            let _ = tx.go_away(now, notice, within);
        }
    }

    /// Whether there is a connection that has not given its [`Event::Dropped`](crate::Event::Dropped).
    pub const fn is_busy(&self) -> bool {
        self.machine.is_busy()
    }

    /// The channel of the connection that is over, for a transport that is used again. Ask when
    /// [`Event::Dropped`](crate::Event::Dropped) has come; the next `next` or `poll` drops it.
    pub fn take_channel(&mut self) -> Option<C> {
        if self.is_busy() { None } else { self.channel.take() }
    }

    /// The identity of this client, the same on every connection.
    pub const fn identity(&self) -> Identity {
        self.machine.base.identity
    }

    /// The transport id of the connection, while it is open.
    pub fn trid(&self) -> Option<Trid> {
        let conn = self.machine.tx.connection();
        conn.trid().filter(|_| !conn.phase().is_over())
    }

    /// What the service said of a message when this connection was made; `None` while there is none.
    pub fn verdict<M: MessageOf<S>>(&self) -> Option<Verdict> {
        let conn = self.machine.tx.connection();
        conn.trid().filter(|_| self.is_busy()).map(|_| conn.verdict(M::NUMBER))
    }

    /// How many of the messages sent on this connection the service is not known to have dealt with.
    pub fn unconfirmed(&self) -> u32 {
        if self.is_busy() {
            self.machine.tx.connection().unconfirmed()
        } else {
            0
        }
    }

    /// When to connect: at once in the beginning, later as the policy and the service say; [`Retry::Never`] only when
    /// the service has said that this client is not to come back. After that a restart of the chip would only ask again.
    pub const fn retry(&self) -> Retry {
        self.machine.retry()
    }

    /// When something is due though nothing comes, such as a keep-alive; [`Instant::ZERO`] for at once, `None`
    /// without a connection. Ask when `poll` has given all events: what waits to be written does not count.
    pub fn wake(&self) -> Option<Instant> {
        self.machine.wake()
    }
}

impl<'b, S: ServiceDef, C, T> Client<'b, S, C, T> {
    /// The same client with a session, which keeps acked messages in `outbox`: before the first connection. What is
    /// in there from an earlier client of the same identity goes on.
    ///
    /// # Errors
    /// [`SetupError::Misuse`]: with a session the arguments do not fit the proposal or the output buffer any more, and
    /// by how many bytes; or the client is connected.
    pub fn with_outbox<const N: usize, I: Inbox + 'static>(
        self,
        outbox: &'b mut Outbox<N, I>,
    ) -> Result<Client<'b, S, C, T, Outbox<N, I>>, SetupError> {
        let Self { machine, clock, .. } = self;
        Ok(Client::with(machine.with_outbox(outbox)?, clock))
    }
}

impl<S: ServiceDef, C, T, const N: usize, I: Inbox + 'static> Client<'_, S, C, T, Outbox<N, I>> {
    /// Stores a message, and sends it as soon as it can be; its number in the session. It stays stored until the
    /// service has dealt with it, also across connections, and without one: it leaves with the next. It gets exactly
    /// one outcome: one that is not Ok by [`Event::Outcome`](crate::Event::Outcome), Ok when
    /// [`delivered`](Self::delivered) has got past its number.
    ///
    /// When nobody knows whether the service has dealt with it, as the service has lost the session, that is its
    /// outcome: [`Outcome::Unknown`](crate::Outcome::Unknown).
    ///
    /// It never waits, so there is nothing to cancel: a message was stored when this returns `Ok`, and not otherwise.
    ///
    /// # Errors
    /// [`SendError`]: the message was not taken, nothing has changed. [`SendError::Full`] of
    /// [`Bound::Session`](diset_proto::Bound::Session): try again after [`Event::Delivered`](crate::Event::Delivered),
    /// or make room by [`skip_oldest`](Self::skip_oldest). [`SendError::TooLong`]: the outbox, the output buffer or the
    /// service never takes it. [`SendError::NoSession`]: this service keeps none. [`SendError::NotTaken`]: it takes none.
    pub fn send_acked<M: FromClient<S>>(&mut self, message: &M) -> Result<u64, SendError> {
        outbox::store::<S, _, N, I>(&mut self.machine.tx, message, Unsure::Report)
    }

    /// As [`send_acked`](Self::send_acked), but when nobody knows whether the service has dealt with the message it is
    /// sent again, and its handler is told that it may be a repetition.
    ///
    /// # Errors
    /// As [`send_acked`](Self::send_acked).
    pub fn send_acked_or_resend<M: FromClient<S>>(&mut self, message: &M) -> Result<u64, SendError> {
        outbox::store::<S, _, N, I>(&mut self.machine.tx, message, Unsure::Resend)
    }

    /// Drops the oldest stored message that was never transmitted, to make room for newer ones; its number. Its
    /// outcome is [`Outcome::Skipped`](crate::Outcome::Skipped), told by nothing else. `None` when there is none.
    pub fn skip_oldest(&mut self) -> Option<u64> {
        self.machine.tx.skip_oldest()
    }

    /// How far the acked messages have got. Those up to `processed` have an outcome: Ok, unless
    /// [`Event::Outcome`](crate::Event::Outcome) has told another one.
    pub fn delivered(&self) -> Delivered {
        self.machine.tx.connection().delivered()
    }

    /// How many acked messages are stored: those without an outcome, but for what a service with a durable store has
    /// received.
    pub fn stored(&self) -> usize {
        outbox::stored(&self.machine.tx)
    }

    /// How the session stood when this connection opened; known at [`Event::Connected`](crate::Event::Connected), and
    /// `None` without a connection, and when the service keeps no sessions.
    pub fn resumption(&self) -> Option<Resumption> {
        self.machine.tx.connection().resumption().filter(|_| self.is_busy())
    }
}

impl<S: ServiceDef, C, T, K: Keep> fmt::Debug for Client<'_, S, C, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("service", &S::CATALOG.service())
            .field("identity", &self.identity())
            .field("trid", &self.trid())
            .finish_non_exhaustive()
    }
}
