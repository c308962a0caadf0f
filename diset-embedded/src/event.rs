//! What a client tells its user.

use core::fmt;
use core::marker::PhantomData;

use diset_proto::store::{Inbox, Unsure};
use diset_proto::{
    Cause, Code, Connection, DecodeError, Delivered, FromClient, FromService, Held, MessageRef, Misuse, Notice,
    Outcome, Retry, SendError, ServiceDef, Tag, Trid,
};
use embedded_io::ErrorKind;

use crate::buffers::Lent;
use crate::outbox::{self, Keep, NoOutbox, Outbox, Received};

/// Something the user should know. A [`Message`] lies in the client's buffers, so the client can go on when it has
/// been dealt with.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'c, 'b, S: ServiceDef, K: Keep = NoOutbox> {
    /// The connection is open; messages may be sent.
    Connected(Trid),
    /// A message has come: decode or reject it. One that is just dropped has no handler: the service is told so and
    /// the connection ends (PROTOCOL M-4).
    Message(Message<'c, 'b, S, K>),
    /// What became of an acked message, when that is not Ok. Each number gets at most one of these.
    Outcome {
        /// Its number, that [`Client::send_acked`](crate::Client::send_acked) has given.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// Acked messages have got further. All up to `processed` have an outcome: Ok, unless another one was told by
    /// [`Event::Outcome`], which comes first. Their room in the outbox is free again.
    Delivered(Delivered),
    /// Something else came, perhaps credit: a message for which there was no room may be tried again.
    Room,
    /// The service is about to end the connection in order: nothing more can be sent but the reply to a message that came
    /// before and is still held; what was sent still leaves.
    /// [`Event::Dropped`] follows.
    GoingAway(Notice),
    /// The connection is over and the transport may be closed. The last event of each connection.
    Dropped(Dropped),
}

/// A message that has come and has not been looked into yet.
#[must_use = "decode or reject it; an unhandled message ends the connection"]
pub struct Message<'c, 'b, S: ServiceDef, K: Keep = NoOutbox> {
    pub(crate) conn: &'c mut Connection<Lent<'b>, K::Slot<'b>>,
    pub(crate) message: MessageRef<'c>,
    pub(crate) service: PhantomData<fn(S)>,
}

impl<'c, 'b, S: ServiceDef, K: Keep> Message<'c, 'b, S, K> {
    /// Its number, to be compared with [`MessageOf::NUMBER`](diset_proto::MessageOf::NUMBER).
    pub const fn number(&self) -> u8 {
        self.message.number()
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.message.name()
    }

    /// Which acked message of the session it is; `None` for a plain one. A client takes acked ones when its outbox was
    /// made [`with_inbox`](crate::Outbox::with_inbox).
    pub fn received(&self) -> Option<Received> {
        let maybe_repeated = self.message.maybe_repeated();
        self.message
            .number_in_session()
            .map(|number| Received { number, maybe_repeated })
    }

    /// Checks and decodes it. An acked one counts as dealt with; when its handler may fail use
    /// [`decode_with_reply`](Self::decode_with_reply). What it borrows lies in the client's buffers.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`]: it does not fit its definition; the service is told and the connection is closing.
    /// [`DecodeError::OtherType`]: it is no `M`, look at [`number`](Self::number) first; it now counts as a message
    /// without a handler.
    pub fn decode<M: FromService<S>>(self) -> Result<M::View<'c>, DecodeError> {
        if self.message.number() != M::NUMBER {
            return Err(DecodeError::OtherType);
        }
        self.conn.decode(self.message)
    }

    /// As [`decode`](Self::decode), with the means to send while the message is held, and to say that its handler has
    /// failed. It counts as dealt with when the [`Reply`] is dropped.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with_reply<M: FromService<S>>(self) -> Result<(M::View<'c>, Reply<'c, 'b, S, K>), DecodeError> {
        if self.message.number() != M::NUMBER {
            return Err(DecodeError::OtherType);
        }
        let tag = self.message.tag();
        let (view, held) = self.conn.decode_held(self.message)?;
        let reply = Reply {
            conn: self.conn,
            held: Some(held),
            tag,
            service: PhantomData,
        };
        Ok((view, reply))
    }

    /// Refuses it: the service is told the text (its first 64 bytes) and the connection ends.
    pub fn reject(self, text: &str) {
        self.conn.reject(self.message, Code::HandlerFailed, text);
    }
}

/// Name and length, never the content.
impl<S: ServiceDef, K: Keep> fmt::Debug for Message<'_, '_, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.name(), self.message.len())
    }
}

/// Sends while a message is held. When it is dropped the message counts as dealt with.
pub struct Reply<'c, 'b, S: ServiceDef, K: Keep = NoOutbox> {
    conn: &'c mut Connection<Lent<'b>, K::Slot<'b>>,
    held: Option<Held>,
    tag: Tag,
    service: PhantomData<fn(S)>,
}

impl<S: ServiceDef, K: Keep> Reply<'_, '_, S, K> {
    /// As [`Client::send`](crate::Client::send).
    ///
    /// # Errors
    /// As [`Client::send`](crate::Client::send).
    pub fn send<M: FromClient<S>>(&mut self, message: &M) -> Result<(), SendError> {
        self.conn.send(M::NUMBER, message)
    }

    /// The message could not be dealt with: the service is told the text (its first 64 bytes) and the connection
    /// ends. An acked one is not sent again.
    pub fn reject(mut self, text: &str) {
        self.held = None;
        self.conn.fail(self.tag, Code::HandlerFailed, text);
    }
}

impl<S: ServiceDef, const N: usize, I: Inbox + 'static> Reply<'_, '_, S, Outbox<N, I>> {
    /// As [`Client::send_acked`](crate::Client::send_acked).
    ///
    /// # Errors
    /// As [`Client::send_acked`](crate::Client::send_acked).
    pub fn send_acked<M: FromClient<S>>(&mut self, message: &M) -> Result<u64, SendError> {
        self.store(message, Unsure::Report)
    }

    /// As [`Client::send_acked_or_resend`](crate::Client::send_acked_or_resend).
    ///
    /// # Errors
    /// As [`Client::send_acked`](crate::Client::send_acked).
    pub fn send_acked_or_resend<M: FromClient<S>>(&mut self, message: &M) -> Result<u64, SendError> {
        self.store(message, Unsure::Resend)
    }

    fn store<M: FromClient<S>>(&mut self, message: &M, unsure: Unsure) -> Result<u64, SendError> {
        let stored = self.conn.send_acked(M::NUMBER, message, unsure);
        outbox::fitting(stored, self.conn.session())
    }
}

impl<S: ServiceDef, K: Keep> Drop for Reply<'_, '_, S, K> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.conn.release(held);
        }
    }
}

impl<S: ServiceDef, K: Keep> fmt::Debug for Reply<'_, '_, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dropped {
    pub(crate) cause: Cause,
    pub(crate) unconfirmed: u32,
    pub(crate) error: Option<ErrorKind>,
    pub(crate) retry: Retry,
}

impl Dropped {
    /// Why.
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// At most so many of the messages sent may not have been dealt with by the service.
    pub const fn unconfirmed(&self) -> u32 {
        self.unconfirmed
    }

    /// What the transport said, when it failed.
    pub const fn error(&self) -> Option<ErrorKind> {
        self.error
    }

    /// When to connect again.
    pub const fn retry(&self) -> Retry {
        self.retry
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if let Some(error) = self.error {
            write!(f, " ({error:?})")?;
        }
        match self.unconfirmed {
            0 => Ok(()),
            1 => write!(f, " (1 message not confirmed)"),
            count => write!(f, " ({count} messages not confirmed)"),
        }
    }
}

/// Why there is no connection. `E` is what the channel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// The channel did not open, or the peer did not prove who it is. Try again at
    /// [`Client::retry`](crate::Client::retry).
    Channel(E),
    /// The channel was not open in the time of a handshake. Try again at [`Client::retry`](crate::Client::retry).
    TimedOut,
    /// The connection before is not over: wait for its [`Event::Dropped`].
    StillConnected,
    /// Cannot be: what the engine may object to was found when the client was made.
    Misuse(Misuse),
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(error) => write!(f, "the channel did not open: {error}"),
            Self::TimedOut => f.write_str("the channel did not open in time"),
            Self::StillConnected => f.write_str("the connection before is not over"),
            Self::Misuse(misuse) => write!(f, "{misuse}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ConnectError<E> {}
