//! What a client tells its user.

use core::fmt;
use core::marker::PhantomData;

use diset_proto::drive::{self, Failure, HandlerResult, Lent, Tx};
use diset_proto::store::{Inbox, Unsure};
use diset_proto::{
    Cause, Code, Delivered, FromClient, FromService, Misuse, Notice, Outcome, Retry, SendError, ServiceDef, Trid,
};
use embedded_io::ErrorKind;
use serde::Deserialize;

use crate::machine::Chip;
use crate::outbox::{self, Keep, NoOutbox, Outbox, Received};

/// Something the user should know. A [`Message`] lies in the client's buffers, so the client can go on when it has
/// been dealt with.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'c, 'b, S: ServiceDef, K: Keep = NoOutbox> {
    /// The connection is open; messages may be sent.
    Connected(Trid),
    /// A message has come: handle or reject it. One that is just dropped has no handler: the service is told so and
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

/// A message that has come and has not been looked into yet. It is lent: what it borrows lies in the client's buffers.
///
/// ```
/// # use diset_embedded::{FromService, Keep, Message, MessageOf, Schema, define_service};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Schema)]
/// # struct SetInterval { milliseconds: u32 }
/// # #[derive(Serialize, Deserialize, Schema)]
/// # struct Note<'a> { text: &'a str }
/// # define_service! { Demo = "Demo/Demo"; from_service: [SetInterval], both: [Note<'a>] }
/// fn told<K: Keep>(message: Message<'_, '_, Demo, K>, interval: &mut u32) {
///     match message.number() {
///         SetInterval::NUMBER => message.run(|set: SetInterval| {
///             *interval = set.milliseconds;
///             Ok(())
///         }),
///         Note::NUMBER => message.answer(|note: Note<'_>, handling| {
///             // What is said of no room is a failure of the handler here.
///             handling.send(&Note { text: note.text })?;
///             Ok(())
///         }),
///         _ => message.reject("not in this firmware"),
///     }
/// }
/// ```
#[must_use = "decode or reject it; an unhandled message ends the connection"]
pub struct Message<'c, 'b, S: ServiceDef, K: Keep = NoOutbox> {
    pub(crate) lent: Lent<'c, Chip<'b, K>>,
    pub(crate) tx: &'c mut Tx<Chip<'b, K>>,
    pub(crate) service: PhantomData<fn(S)>,
}

impl<'c, 'b, S: ServiceDef, K: Keep> Message<'c, 'b, S, K> {
    /// Its number, to be compared with [`MessageOf::NUMBER`](diset_proto::MessageOf::NUMBER).
    pub const fn number(&self) -> u8 {
        self.lent.number()
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.lent.def().name()
    }

    /// Which acked message of the session it is; `None` for a plain one. A client takes acked ones when its outbox was
    /// made [`with_inbox`](crate::Outbox::with_inbox).
    pub fn received(&self) -> Option<Received> {
        let meta = self.lent.meta();
        meta.number_in_session().map(|number| Received {
            number,
            maybe_repeated: meta.maybe_repeated(),
        })
    }

    /// Checks and decodes it, and handles it at once. What the handler returns is what becomes of the message: with an
    /// error the service is told that the handler has failed, and the connection ends.
    ///
    /// One that does not fit its definition ends the connection, too, and so does one that is no `T`: look at
    /// [`number`](Self::number) first. The handler does not run then.
    pub fn run<T>(self, handler: impl FnOnce(T) -> HandlerResult)
    where
        T: FromService<S> + Deserialize<'c>,
    {
        self.answer(|value, _| handler(value));
    }

    /// As [`run`](Self::run), with the means to send meanwhile.
    pub fn answer<T>(self, handler: impl FnOnce(T, &mut Handling<'c, 'b, S, K>) -> HandlerResult)
    where
        T: FromService<S> + Deserialize<'c>,
    {
        if let Some((value, mut handling)) = self.decode() {
            let result = handler(value, &mut handling);
            handling.done(result);
        }
    }

    /// Checks and decodes it, for a handler that awaits or says why it fails; `None` when there is nothing to be handled,
    /// see [`run`](Self::run). Say what has become of it.
    pub fn decode<T>(self) -> Option<(T, Handling<'c, 'b, S, K>)>
    where
        T: FromService<S> + Deserialize<'c>,
    {
        let Self { lent, tx, service } = self;
        if lent.number() != T::NUMBER {
            lent.refuse(Code::NoHandler);
            return None;
        }
        let (value, lent) = lent.decode()?;
        let unsent = false;
        Some((
            value,
            Handling {
                lent,
                tx,
                unsent,
                service,
            },
        ))
    }

    /// Refuses it: the service is told the text (its first 64 bytes) and the connection ends. An acked one is not sent
    /// again.
    pub fn reject(self, text: &str) {
        self.tx.reject(self.lent.meta(), Code::HandlerFailed, text);
        self.lent.refuse(Code::HandlerFailed);
    }
}

/// Name and number, never the content.
impl<S: ServiceDef, K: Keep> fmt::Debug for Message<'_, '_, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, number {}", self.name(), self.number())
    }
}

/// A message that was decoded, until it has an outcome, with the means to send meanwhile. Dropped, it is one that nobody
/// has handled: the service is told so and the connection ends (PROTOCOL M-4).
#[must_use = "say what has become of the message; one that nobody handles ends the connection"]
pub struct Handling<'c, 'b, S: ServiceDef, K: Keep = NoOutbox> {
    lent: drive::Handling<'c, Chip<'b, K>>,
    tx: &'c mut Tx<Chip<'b, K>>,
    /// It could not answer, because a go-away was said.
    unsent: bool,
    service: PhantomData<fn(S)>,
}

impl<S: ServiceDef, K: Keep> Handling<'_, '_, S, K> {
    /// As [`Client::send`](crate::Client::send).
    ///
    /// # Errors
    /// As [`Client::send`](crate::Client::send).
    pub fn send<M: FromClient<S>>(&mut self, message: &M) -> Result<(), SendError> {
        let sent = self.tx.send(M::NUMBER, message);
        self.unsent |= matches!(sent, Err(SendError::GoingAway));
        sent
    }

    /// The handler has come to this result. With an error the service is told that it has failed, and the connection
    /// ends; not when it could not answer because a go-away was said, and none is awaited (PROTOCOL G-2).
    pub fn done(self, result: HandlerResult) {
        let unsent = self.unsent;
        self.lent
            .done(result.map_err(|failure| if unsent { Failure::UNSENT } else { failure }));
    }

    /// The message could not be dealt with: the service is told the text (its first 64 bytes) and the connection
    /// ends. An acked one is not sent again.
    pub fn reject(self, text: &str) {
        self.tx.reject(self.lent.meta(), Code::HandlerFailed, text);
        self.done(Err(Failure::new(Code::HandlerFailed)));
    }
}

impl<S: ServiceDef, const N: usize, I: Inbox + 'static> Handling<'_, '_, S, Outbox<N, I>> {
    /// As [`Client::send_acked`](crate::Client::send_acked).
    ///
    /// # Errors
    /// As [`Client::send_acked`](crate::Client::send_acked).
    pub fn send_acked<M: FromClient<S>>(&mut self, message: &M) -> Result<u64, SendError> {
        outbox::store::<S, _, N, I>(self.tx, message, Unsure::Report)
    }

    /// As [`Client::send_acked_or_resend`](crate::Client::send_acked_or_resend).
    ///
    /// # Errors
    /// As [`Client::send_acked`](crate::Client::send_acked).
    pub fn send_acked_or_resend<M: FromClient<S>>(&mut self, message: &M) -> Result<u64, SendError> {
        outbox::store::<S, _, N, I>(self.tx, message, Unsure::Resend)
    }
}

impl<S: ServiceDef, K: Keep> fmt::Debug for Handling<'_, '_, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handling").finish_non_exhaustive()
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
