//! What the two sides remember of each other between connections (PROTOCOL, parts N and Q).
//!
//! A [`Session`] outlives connections. While there is one it is in the connection, which moves its
//! counters and messages; in between it is the caller's, who may go on storing messages in it.
//! `sending` and `receiving` are its two directions; where messages are kept is in
//! [`crate::store`].

mod check;
mod link;
mod log;
mod meeting;
mod outcome;
pub(crate) mod parts;
pub(crate) mod queue;
mod receiving;
mod record;
mod sending;
pub(crate) mod slot;
#[cfg(feature = "record")]
mod state;
#[cfg(all(test, feature = "alloc"))]
mod tests;
mod unhandled;
#[cfg(feature = "alloc")]
mod welcome;
pub(crate) mod work;

use serde::Serialize;

use self::link::Link;
pub use self::outcome::{Delivered, Outcome, Resumption};
pub(crate) use self::receiving::Arrival;
use self::receiving::Receiving;
pub use self::record::{BadRecord, SessionRecord};
use self::sending::Sending;
pub(crate) use self::sending::{Objection, Refused};
#[cfg(feature = "record")]
pub use self::state::SessionState;
#[cfg(feature = "alloc")]
pub use self::welcome::Unwelcome;
use crate::definition::{Key, Verdict};
use crate::error::{Bound, SendError};
use crate::id::{Token, Trid};
use crate::message;
use crate::schema::Catalog;
use crate::status::Code;
use crate::store::{Inbox, Replay, Stored, Unsure};
use crate::wire::session::{Ack, Next, OutcomesRead};

/// What a client shows that was in conflict: no session has it.
const IN_CONFLICT: Token = Token::from_bytes([0; 16]);

/// What the two sides of a session remember: the state of one side.
///
/// `R` keeps what was sent, `I` what was received.
#[derive(Debug, Clone, Hash)]
pub struct Session<R, I> {
    sending: Sending<R>,
    receiving: Receiving<I>,
    /// The connection with which it began.
    began: Trid,
    /// Service: what the client must show. Client: what it shows.
    token: Option<Token>,
    /// Service: what else it may show. Without `alloc` there are only clients.
    #[cfg(feature = "alloc")]
    shown: Shown,
    resumption: Option<Resumption>,
    pub(crate) link: Link,
}

/// What a service knows of what its client may show: a client has none of it.
#[derive(Debug, Clone, Hash)]
struct Shown {
    /// The newest connection that the session was on.
    #[cfg(feature = "alloc")]
    newest: Trid,
    /// What it may show as long as it may not have read the newer token.
    former: Option<Token>,
    /// It may not have read that the session began.
    is_unread: bool,
    /// It showed none when the session began.
    is_bare: bool,
    /// What it may have read instead of the newest: acceptances arrive in any order.
    spare: heapless::Vec<Token, 2>,
    /// What it shows when it has not read that its session has begun anew.
    replaced: Option<Token>,
}

impl Shown {
    const NOTHING: Self = Self {
        #[cfg(feature = "alloc")]
        newest: Trid::new(0),
        former: None,
        is_unread: false,
        is_bare: false,
        spare: heapless::Vec::new(),
        replaced: None,
    };

    /// Nothing but the token is shown.
    #[cfg(feature = "alloc")]
    fn forget(&mut self) {
        self.former = None;
        self.spare.clear();
        self.replaced = None;
    }
}

impl<R: Replay, I: Inbox> Session<R, I> {
    /// One that has not begun.
    pub const fn new(replay: R, inbox: I) -> Self {
        Self {
            sending: Sending::new(replay),
            receiving: Receiving::new(inbox),
            began: Trid::new(0),
            token: None,
            #[cfg(feature = "alloc")]
            shown: Shown::NOTHING,
            resumption: None,
            link: Link::IDLE,
        }
    }

    /// What must be kept of it, apart from the messages, so that it goes on after a restart.
    pub fn record(&self) -> SessionRecord {
        #[cfg(feature = "alloc")]
        let shown = &self.shown;
        #[cfg(not(feature = "alloc"))]
        let shown = &Shown::NOTHING;
        SessionRecord {
            began: self.began.number(),
            token: self.token.map(|token| *token.as_bytes()),
            former: shown.former.map(|token| *token.as_bytes()),
            is_unread: shown.is_unread,
            is_bare: shown.is_bare,
            spare: shown.spare.iter().map(|token| *token.as_bytes()).collect(),
            replaced: shown.replaced.map(|token| *token.as_bytes()),
            next: self.sending.next,
            base: self.sending.base,
            settled: self.sending.processed,
            reached: self.sending.received,
            peer_durable: self.sending.peer_durable,
            unknown: self.sending.unknown,
            forgotten: self.sending.forgotten,
            freed: self.sending.freed,
            outcomes: self.sending.outcomes(),
            received: self.receiving.received,
            processed: self.receiving.processed,
            failed: self
                .receiving
                .failed
                .iter()
                .map(|failure| (failure.number, failure.code.number()))
                .collect(),
        }
    }

    /// One that goes on after a restart, with stores that hold what they kept.
    ///
    /// # Errors
    /// [`BadRecord`]: the record cannot be.
    pub fn restore(record: &SessionRecord, replay: R, inbox: I) -> Result<Self, BadRecord> {
        Ok(Self {
            sending: Sending::restored(replay, record).checked()?,
            receiving: Receiving::restored(inbox, record).checked()?,
            began: Trid::new(record.began),
            token: record.token.map(Token::from_bytes),
            #[cfg(feature = "alloc")]
            shown: Shown {
                // No transport of before the restart is left.
                newest: Trid::new(0),
                former: record.former.map(Token::from_bytes),
                is_unread: record.is_unread,
                is_bare: record.is_bare,
                spare: record.spare.iter().copied().map(Token::from_bytes).collect(),
                replaced: record.replaced.map(Token::from_bytes),
            },
            resumption: None,
            link: Link::IDLE,
        })
    }

    // ── for whoever sends ───────────────────────────────────────────────────────────

    /// Stores a message by its number in `catalog`, this side's; its number in the session. While
    /// there is a connection use [`Connection::send_acked`](crate::Connection::send_acked).
    ///
    /// # Errors
    /// [`SendError::Full`] when the store is full, [`SendError::Encode`], or
    /// [`SendError::NotAgreed`] when the catalog has no such message. Nothing changed then.
    pub fn store<T: Serialize + ?Sized>(
        &mut self,
        catalog: &Catalog,
        number: u8,
        message: &T,
        unsure: Unsure,
    ) -> Result<u64, SendError> {
        let def = catalog.message(number).ok_or(SendError::NotAgreed(Verdict::Unknown))?;
        self.store_by_key(def.key(), message, unsure)
    }

    pub(crate) fn store_by_key<T: Serialize + ?Sized>(
        &mut self,
        key: Key,
        message: &T,
        unsure: Unsure,
    ) -> Result<u64, SendError> {
        self.is_sending()?;
        let len = message::size(message).ok_or(SendError::Encode)?;
        let full = SendError::Full(Bound::Session);
        let place = self.sending.reserve(key, unsure, len).ok_or(full)?;
        if !message::encode_whole(message, place) {
            return Err(SendError::Encode);
        }
        Ok(self.sending.commit())
    }

    /// Drops the oldest message that was never transmitted, to make room for newer ones; its
    /// number. Its outcome is [`Outcome::Skipped`]. `None` when there is none: what was
    /// transmitted may have been dealt with, and cannot be taken back.
    pub fn skip_oldest(&mut self) -> Option<u64> {
        self.sending.skip_oldest()
    }

    /// Takes out stored messages whose definition must not go to this peer any more, as rights change; `told` is
    /// given their numbers and outcomes: [`Outcome::NotAgreed`], or [`Outcome::Unknown`] of what has left before.
    /// For a service that has just [welcomed](Self::welcome) a client, before the acceptance.
    pub fn retract(&mut self, forbidden: impl Fn(Key) -> bool, told: impl FnMut(u64, Outcome)) {
        let resent = self.sending.retract(forbidden, told);
        if let Some(Resumption::Resumed { replayed }) = &mut self.resumption {
            *replayed = replayed.saturating_sub(resent);
        }
    }

    /// The next outcome that is not Ok, with the number of its message. Ask until there is none,
    /// after [`Event::Acknowledged`](crate::Event::Acknowledged) and after the connection has
    /// opened, then transmit: no stored message leaves behind one whose outcome waits here.
    pub fn take_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.sending.take_outcome()
    }

    /// Whether outcomes that are not Ok wait to be taken.
    pub fn has_outcomes(&self) -> bool {
        self.sending.has_outcomes()
    }

    /// The messages without an outcome that a durable peer has; all others are in the [store](Self::replay).
    pub const fn awaited(&self) -> core::ops::RangeInclusive<u64> {
        self.sending.awaited()
    }

    /// How far the messages of this side have got.
    pub const fn delivered(&self) -> Delivered {
        self.sending.delivered()
    }

    /// The number that the next message of this side will get.
    pub const fn next_number(&self) -> u64 {
        self.sending.next
    }

    /// What keeps the messages of this side.
    pub const fn replay(&self) -> &R {
        &self.sending.replay
    }

    /// As [`replay`](Self::replay).
    pub const fn replay_mut(&mut self) -> &mut R {
        &mut self.sending.replay
    }

    /// What keeps the messages of the peer.
    pub const fn inbox(&self) -> &I {
        &self.receiving.inbox
    }

    /// As [`inbox`](Self::inbox).
    pub const fn inbox_mut(&mut self) -> &mut I {
        &mut self.receiving.inbox
    }

    // ── for whoever handles messages ────────────────────────────────────────────────

    /// The handler of this message is about to run: it will be settled, also when the connection
    /// ends meanwhile. False when it is not to run: it was dealt with, or is none of this session; one before it is
    /// not dealt with; or the peer must learn of so many that failed first, by a connection that opens. Those of an
    /// inbox can be so many.
    pub fn begin(&mut self, number: u64) -> bool {
        self.receiving.begin(number)
    }

    /// The message with this number has come to this end: [`Outcome::Ok`] or [`Outcome::Failed`]. All before it
    /// have come to theirs: false when one has not, and then this one has no outcome either. That is a fault of the
    /// caller, who is to end the connection: what was passed over, and this one, come again. False, too, for a failure when
    /// the peer must learn of [too many](Self::has_too_many_failures) first, whose handlers do not begin.
    ///
    /// Numbers count from 1 again when the session begins anew. Who settles a message after its
    /// connection has ended compares [`began`](Self::began) with what it was when the message came.
    pub fn settle(&mut self, number: u64, outcome: Outcome) -> bool {
        self.receiving.settle(number, outcome)
    }

    pub(crate) fn decoded(&mut self, number: u64) {
        self.receiving.decoded(number);
    }

    /// Whether the handler of this message has begun, and it has no outcome yet.
    pub const fn has_begun(&self, number: u64) -> bool {
        number > self.receiving.processed && number <= self.receiving.begun
    }

    /// Whether the peer must learn of messages that have failed before another handler may
    /// [begin](Self::begin) (PROTOCOL Q-5).
    pub fn has_too_many_failures(&self) -> bool {
        self.receiving.failed.is_full()
    }

    /// Up to which number the messages of the peer are dealt with.
    pub const fn processed(&self) -> u64 {
        self.receiving.processed
    }

    /// The connection with which it began: with a message's number a name unique in its direction.
    pub const fn began(&self) -> Trid {
        self.began
    }

    /// How it stood when the connection opened; `None` before, and when the peer keeps no
    /// sessions.
    pub const fn resumption(&self) -> Option<Resumption> {
        self.resumption
    }

    // ── while there is a connection ─────────────────────────────────────────────────

    pub(crate) fn arrive(&mut self, message: Stored<'_>) -> Arrival {
        self.receiving.arrive(message)
    }

    pub(crate) fn refuse_arrival(&mut self, message: Stored<'_>, code: Code) {
        self.receiving.refuse_arrival(message, code);
    }

    pub(crate) fn skip(&mut self, next: Next) -> Result<(), Objection> {
        self.receiving
            .skip(next.skipped, next.repeated)
            .ok_or(Objection::Contradiction)
    }

    pub(crate) fn acked(&mut self, ack: &Ack) -> Result<(), Objection> {
        self.sending.acked(ack)
    }

    pub(crate) fn outcomes_read(&mut self, read: OutcomesRead) -> Result<(), Objection> {
        self.receiving.outcomes_read(read.0).ok_or(Objection::Contradiction)
    }

    /// What the peer is to be told: nothing when it sends none.
    pub(crate) fn untold(&self) -> (u64, u64) {
        if self.is_taking() {
            self.receiving.untold()
        } else {
            (0, 0)
        }
    }

    pub(crate) fn tell(&mut self) -> Ack {
        self.receiving.tell()
    }

    /// What was taken to be told was not.
    pub(crate) const fn untell(&mut self, ack: &Ack) {
        self.receiving.untell(ack);
    }

    /// Whether a message waits that was not transmitted on this connection.
    pub(crate) fn is_waiting(&self) -> bool {
        self.link.sends && self.sending.is_waiting()
    }

    /// Whether a message that can never leave can be taken out.
    pub(crate) fn has_room(&self) -> bool {
        self.sending.has_room()
    }

    pub(crate) fn front(&self) -> Option<(Stored<'_>, u64)> {
        self.sending.front()
    }

    pub(crate) fn held_by(&self) -> Option<Bound> {
        self.sending.held_by()
    }

    pub(crate) fn transmitted(&mut self, number: u64) {
        self.sending.transmitted(number);
    }

    pub(crate) fn refuse(&mut self, number: u64, refused: Refused) -> bool {
        self.sending.refuse(number, refused)
    }

    /// Whether nothing of either side is under way on this connection.
    pub(crate) fn is_quiet(&self) -> bool {
        self.resumption.is_none() || ((!self.link.sends || self.sending.is_settled()) && self.untold() == (0, 0))
    }
}
