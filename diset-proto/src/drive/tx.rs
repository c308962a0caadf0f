//! The sending half: what leaves, and the end.

#[cfg(feature = "record")]
use alloc::boxed::Box;
use core::time::Duration;

use serde::Serialize;

use super::{Meta, Parts};
use crate::conn::slot::SessionSlot;
use crate::conn::{ClientConfig, Connection};
use crate::error::{Misuse, SendError};
#[cfg(feature = "record")]
use crate::recording::Record;
#[cfg(feature = "alloc")]
use crate::schema::learned::LearnedMessage;
#[cfg(feature = "alloc")]
use crate::schema::told::Descriptions;
use crate::session::{Outcome, Session};
use crate::status::{Code, Notice};
use crate::store::Unsure;
use crate::time::Instant;

/// The sending half of a link: output, credit to send, acked messages that have no outcome, and the phase.
///
/// What it refuses has changed nothing. What it takes leaves with [`output`](Self::output).
pub struct Tx<P: Parts> {
    pub(super) conn: Connection<P::Buffer, P::Session>,
}

/// What is in the slot of a session.
type SessionIn<S> = Session<<S as SessionSlot>::Replay, <S as SessionSlot>::Inbox>;

/// How the receiving half gets at the sending half: `&mut Tx`, or a lock around it.
///
/// An author's lock is held for `work` alone, which does no IO and runs no handler.
pub trait Access<P: Parts> {
    /// Lends the sending half.
    fn with<R>(&mut self, work: impl FnOnce(&mut Tx<P>) -> R) -> R;
}

impl<P: Parts> Access<P> for Tx<P> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        work(self)
    }
}

/// That of a connection that was just made, with a link on a new transport.
impl<P: Parts> From<Connection<P::Buffer, P::Session>> for Tx<P> {
    fn from(conn: Connection<P::Buffer, P::Session>) -> Self {
        Self { conn }
    }
}

impl<P: Parts> Tx<P> {
    /// One without a transport: [`Rx::connect`](super::Rx::connect) or [`Rx::listen`](super::Rx::listen) begins a link.
    /// `output` keeps what waits to leave.
    pub fn new(output: P::Buffer, session: P::Session) -> Self {
        Self {
            conn: Connection::idle(output, session),
        }
    }

    /// Client: tries the proposal on and throws it away, so that what [`Rx::connect`](super::Rx::connect) would refuse is
    /// found before there is a transport. From then on acked messages may be stored.
    ///
    /// # Errors
    /// As for [`Rx::connect`](super::Rx::connect).
    pub fn try_proposal(&mut self, config: &ClientConfig<'_>) -> Result<(), Misuse> {
        self.conn.connect(Instant::ZERO, config)?;
        self.conn.abandon();
        Ok(())
    }

    /// What it was made of; a link that is not over ends without a word.
    pub fn into_parts(self) -> (P::Buffer, P::Session) {
        self.conn.into_parts()
    }

    // ── messages ────────────────────────────────────────────────────────────────────

    /// Queues a plain message by its number in this side's catalog: [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    ///
    /// # Errors
    /// The message was not taken, nothing changed: see [`SendError`].
    pub fn send<T: Serialize + ?Sized>(&mut self, number: u8, message: &T) -> Result<(), SendError> {
        self.conn.send(number, message)
    }

    /// Queues a plain message of the catalog that was [learned](crate::Connection::learned), by its definition and the
    /// payload that [`LearnedMessage::encode`] made.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::NotAgreed`] also when the service defines the message otherwise than
    /// `message`, and [`SendError::Encode`] when the payload is not one of `message`.
    #[cfg(feature = "alloc")]
    pub fn send_learned(&mut self, message: &LearnedMessage, payload: &[u8]) -> Result<(), SendError> {
        self.conn.send_learned(message, payload)
    }

    /// Stores an acked message, and sends it as soon as it can be; its number in the session. It gets exactly one
    /// [`Outcome`].
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::NoSession`] where none is kept.
    pub fn send_acked<T: Serialize + ?Sized>(
        &mut self,
        number: u8,
        message: &T,
        on_unknown: Unsure,
    ) -> Result<u64, SendError> {
        self.conn.send_acked(number, message, on_unknown)
    }

    /// The next outcome that is not Ok, with the number of its message. Ask until there is none, after
    /// [`Event::Connected`](super::Event::Connected) and [`Event::Acknowledged`](super::Event::Acknowledged): no stored
    /// message leaves behind one whose outcome waits here.
    pub fn take_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.conn.take_outcome()
    }

    // ── the end ─────────────────────────────────────────────────────────────────────

    /// Says go-away: nothing new from here, what is under way still comes and may be answered; the peer closes, within
    /// this span.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] unless the link is open.
    pub fn go_away(&mut self, now: Instant, notice: Notice, within: Duration) -> Result<(), Misuse> {
        self.conn.go_away(now, notice, within)
    }

    /// Ends the link now: what was sent still leaves, then the notice. No handler begins any more.
    pub fn disconnect(&mut self, notice: Notice) {
        self.conn.disconnect(notice);
    }

    /// As [`disconnect`](Self::disconnect), because a message is not handled: the peer is told which one, and this text, of
    /// which 64 bytes are sent. Say so to the message itself, too, by [`Lent::refuse`](super::Lent::refuse) or
    /// [`Handling::done`](super::Handling::done): they have no text of their own.
    pub fn reject(&mut self, meta: &Meta, code: Code, text: &str) {
        self.conn.reject_by_meta(meta, code, text);
    }

    /// Whether this side has ended the link, by [`disconnect`](Self::disconnect), a refusal, or an error that it found.
    pub fn is_stopped(&self) -> bool {
        self.conn.is_stopped()
    }

    // ── output ──────────────────────────────────────────────────────────────────────

    /// The bytes to be written. [`Rx::turn`](super::Rx::turn) adds what is due besides messages.
    pub fn output(&self) -> &[u8] {
        self.conn.output()
    }

    /// The first `count` bytes of [`output`](Self::output) have been written.
    pub fn wrote(&mut self, count: usize) {
        self.conn.transmitted(count);
    }

    // ── what else there is ──────────────────────────────────────────────────────────

    /// The connection in it, for its getters: phase, trid, verdicts, what is unconfirmed, the session.
    pub const fn connection(&self) -> &Connection<P::Buffer, P::Session> {
        &self.conn
    }

    /// The connection in it, for what the halves have no call for yet.
    pub const fn connection_mut(&mut self) -> &mut Connection<P::Buffer, P::Session> {
        &mut self.conn
    }

    /// Service: on this link, which [listens](super::Rx::listen), the whole catalog can be told to a client that was built
    /// without one. Without this such a client is refused.
    #[cfg(feature = "alloc")]
    pub fn telling(&mut self, descriptions: Descriptions) {
        self.conn.tell(descriptions);
    }

    /// Keeps a log of this link, which has just begun: see [`Connection::record`](crate::Connection::record).
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "record")]
    pub fn record(&mut self, sink: Box<dyn Record>) -> Result<(), Misuse> {
        self.conn.record(sink)
    }

    /// The session, for its bookkeeping and its stores; `None` when it is not here.
    pub fn session_mut(&mut self) -> Option<&mut SessionIn<P::Session>> {
        self.conn.session_mut()
    }

    /// Drops the oldest message that never left: [`Session::skip_oldest`].
    pub fn skip_oldest(&mut self) -> Option<u64> {
        self.conn.skip_oldest()
    }

    /// Takes the session out, and leaves an empty place: the link is over, or another one of the same client takes
    /// over. What was received and has not begun to be handled comes again.
    pub fn take_session(&mut self) -> P::Session
    where
        P::Session: Default,
    {
        self.conn.take_session()
    }

    /// Client: tells the SHA-256 of the next public key (PROTOCOL N-8).
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] unless the link is open and keeps a session.
    #[cfg(feature = "alloc")]
    pub fn announce_next_key(&mut self, hash: [u8; 32], lasts: Duration) -> Result<(), Misuse> {
        self.conn.announce_next_key(hash, lasts)
    }

    /// Service: the next public key of the client is remembered.
    ///
    /// # Errors
    /// As [`announce_next_key`](Self::announce_next_key).
    #[cfg(feature = "alloc")]
    pub fn next_key_remembered(&mut self, hash: [u8; 32], lasts: Duration) -> Result<(), Misuse> {
        self.conn.next_key_remembered(hash, lasts)
    }
}
