//! The client: what it does without its transport, the same for both ways to drive it.

use core::fmt;
use core::time::Duration;

use diset_proto::{
    Code, FromClient, Identity, Instant, MessageOf, Notice, Retry, SendError, ServiceDef, Trid, Verdict,
};

use crate::machine::Machine;

/// A client of the service `S`: one identity, one connection at a time.
///
/// `C` is its channel. With a [`Clock`](crate::Clock) `T` it is async, made by [`Client::new`]; without one it is
/// polled, made by [`Client::blocking`].
pub struct Client<'b, S: ServiceDef, C, T = NoClock> {
    pub(crate) machine: Machine<'b, S>,
    pub(crate) channel: Option<C>,
    pub(crate) clock: T,
}

/// In place of a clock: the time comes with each call.
#[derive(Debug)]
pub struct NoClock(pub(crate) ());

impl<'b, S: ServiceDef, C, T> Client<'b, S, C, T> {
    pub(crate) const fn with(machine: Machine<'b, S>, clock: T) -> Self {
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
    /// flush and try again; of [`Bound::Credit`](diset_proto::Bound::Credit): try again after
    /// [`Event::Room`](crate::Event::Room).
    pub fn send<M: FromClient<S>>(&mut self, message: &M) -> Result<(), SendError> {
        match &mut self.machine.link {
            Some(link) => link.conn.send(M::NUMBER, message),
            None => Err(SendError::NotOpen),
        }
    }

    /// Ends the connection. What was sent before still leaves, the service is told [`Code::Disconnected`] and the
    /// reason (its first 64 bytes); then comes [`Event::Dropped`](crate::Event::Dropped).
    pub fn disconnect(&mut self, reason: &str) {
        self.end(Notice::new(Code::Disconnected).with_text(reason));
    }

    fn end(&mut self, notice: Notice) {
        if let Some(link) = &mut self.machine.link {
            link.conn.disconnect(notice);
        }
    }

    /// The client has done its work.
    pub(crate) fn go_away(&mut self, now: Instant, within: Duration) {
        let Some(link) = &mut self.machine.link else { return };
        let notice = Notice::new(Code::Done);
        if link.conn.phase().is_handshake() {
            link.conn.disconnect(notice);
        } else {
            // In another phase it is ending already.
            let _ = link.conn.go_away(now, notice, within);
        }
    }

    /// Whether there is a connection that has not given its [`Event::Dropped`](crate::Event::Dropped).
    pub const fn is_busy(&self) -> bool {
        self.machine.link.is_some()
    }

    /// The channel of the connection that is over, for a transport that is used again. Ask when
    /// [`Event::Dropped`](crate::Event::Dropped) has come; the next `next` or `poll` drops it.
    pub fn take_channel(&mut self) -> Option<C> {
        if self.is_busy() { None } else { self.channel.take() }
    }

    /// The identity of this client, the same on every connection.
    pub const fn identity(&self) -> Identity {
        self.machine.identity
    }

    /// The transport id of the connection, while it is open.
    pub fn trid(&self) -> Option<Trid> {
        let conn = &self.machine.link.as_ref()?.conn;
        conn.trid().filter(|_| !conn.phase().is_over())
    }

    /// What the service said of a message when this connection was made; `None` while there is none.
    pub fn verdict<M: MessageOf<S>>(&self) -> Option<Verdict> {
        let conn = &self.machine.link.as_ref()?.conn;
        conn.trid().map(|_| conn.verdict(M::NUMBER))
    }

    /// How many of the messages sent on this connection the service is not known to have dealt with.
    pub fn unconfirmed(&self) -> u32 {
        self.machine.link.as_ref().map_or(0, |link| link.conn.unconfirmed())
    }

    /// When to connect: at once in the beginning, later as the policy and the service say.
    pub const fn retry(&self) -> Retry {
        self.machine.retry()
    }

    /// When something is due though nothing comes, such as a keep-alive; [`Instant::ZERO`] for at once, `None`
    /// without a connection. Ask when `poll` has given all events: what waits to be written does not count.
    pub fn wake(&self) -> Option<Instant> {
        self.machine.wake()
    }
}

impl<S: ServiceDef, C, T> fmt::Debug for Client<'_, S, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("service", &S::CATALOG.service())
            .field("identity", &self.identity())
            .field("trid", &self.trid())
            .finish_non_exhaustive()
    }
}
