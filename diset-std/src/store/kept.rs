//! The two stores of a session that is kept: in memory, with a journal to the file.

use core::fmt;
use core::future::Future;
use std::collections::VecDeque;
use std::sync::Arc;

use diset_proto::Trid;
use diset_proto::store::{HeapReplay, Inbox, Replay, Stored};

use super::StoreBounds;
use super::book::SessionBook;
use super::changes::{Change, OVERHEAD};
use super::journal::Cell;
use super::layout::{self, Row};

/// What stands in a row before the payload.
const ROW_HEAD: usize = 17;

/// What a message of this length takes of the journal.
const fn room_for(len: usize) -> usize {
    len.saturating_add(ROW_HEAD + OVERHEAD)
}

/// What a session has sent, and has no outcome yet.
///
/// All of it is in memory, and what is [`kept`](Replay::kept) is also in the file. It never waits
/// for the disk. [`reserve`](Replay::reserve) refuses when the session's bounds are reached, or
/// when so much waits to be written that the journal is full.
pub struct KeptReplay {
    memory: HeapReplay,
    cell: Arc<Cell>,
    /// The one that is being written, and what room it has taken in the journal.
    reserved: Option<(u64, usize)>,
}

impl KeptReplay {
    pub(super) fn new(cell: Arc<Cell>, max_messages: usize, max_bytes: usize) -> Self {
        Self {
            memory: HeapReplay::new(max_messages, max_bytes),
            cell,
            reserved: None,
        }
    }

    /// How many messages, and how many bytes of payload, it takes.
    pub(crate) const fn bounds(&self) -> (usize, usize) {
        self.memory.bounds()
    }

    /// Puts back what is in the file. False when it does not fit.
    pub(super) fn put_back(&mut self, message: Stored<'_>) -> bool {
        let Some(place) = self.memory.reserve(message, message.payload.len()) else {
            return false;
        };
        place.copy_from_slice(message.payload);
        self.memory.commit();
        self.cell.count_bytes(0, message.payload.len());
        true
    }

    /// Removes by this, and says so, if there was something.
    fn removing(&mut self, change: Change, remove: impl FnOnce(&mut HeapReplay)) {
        let (count, bytes) = (self.memory.len(), self.memory.bytes());
        remove(&mut self.memory);
        if self.memory.len() < count {
            self.cell.count_bytes(bytes, self.memory.bytes());
            self.cell.stage(change);
        }
    }

    fn give_back(&mut self) {
        if let Some((_, room)) = self.reserved.take() {
            self.cell.shared.give_room(room);
        }
    }
}

impl Replay for KeptReplay {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        self.give_back();
        let room = room_for(len);
        if !self.cell.take_room(room) {
            return None;
        }
        self.reserved = Some((head.number, room));
        let place = self.memory.reserve(head, len);
        if place.is_none()
            && let Some((_, room)) = self.reserved.take()
        {
            self.cell.shared.give_room(room);
        }
        place
    }

    fn commit(&mut self) {
        let Some((number, _)) = self.reserved.take() else {
            return;
        };
        let before = self.memory.bytes();
        self.memory.commit();
        self.cell.count_bytes(before, self.memory.bytes());
        if let Some(stored) = self.memory.after(number.saturating_sub(1)) {
            self.cell.stage(Change::Stored(number, layout::row(stored)));
        }
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.memory.after(number)
    }

    fn remove(&mut self, number: u64) {
        self.removing(Change::Removed(number), |memory| memory.remove(number));
    }

    fn remove_through(&mut self, number: u64) {
        self.removing(Change::RemovedThrough(number), |memory| memory.remove_through(number));
    }

    fn mark_repeated(&mut self, number: u64) {
        self.memory.mark_repeated(number);
        self.cell.stage(Change::Repeated(number));
    }

    /// The last one that is in the file.
    fn kept(&self) -> u64 {
        self.cell.kept().stored
    }

    fn len(&self) -> usize {
        self.memory.len()
    }

    fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}

impl Drop for KeptReplay {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for KeptReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptReplay")
            .field("messages", &self.memory.len())
            .field("bytes", &self.memory.bytes())
            .field("kept", &self.kept())
            .finish()
    }
}

/// What a session has received, and is not handled yet.
///
/// The one owner of a message from its receipt until it is handled: the engine hands each one out when it comes, and
/// whatever becomes of it there, until it counts as handled it is here as well, in memory and in the file. What is
/// here when a connection takes the session over is handled on that one, before all that comes. It never waits for the disk. [`put`](Inbox::put) refuses, which ends the connection as
/// [`Busy`](diset_proto::Code::Busy), when the session's bounds are reached or the journal is full:
/// a service that takes no more messages while [`is_crowded`](Self::is_crowded) or
/// [`DurableStore::is_crowded`](super::DurableStore::is_crowded) says so does not get there.
pub struct KeptInbox {
    book: SessionBook,
    began: Trid,
    /// What is not handled.
    waiting: VecDeque<Received>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    /// What must be in the file before an acceptance may leave.
    opening: u64,
}

/// A message that was received.
struct Received {
    began: Trid,
    number: u64,
    row: Row,
}

impl Received {
    /// The length of its payload.
    fn len(&self) -> usize {
        self.row.len().saturating_sub(ROW_HEAD)
    }
}

impl KeptInbox {
    pub(super) fn new(cell: Arc<Cell>, began: Trid, bounds: &StoreBounds) -> Self {
        Self {
            book: SessionBook::new(cell),
            began,
            waiting: VecDeque::new(),
            bytes: 0,
            max_messages: bounds.inbox_messages,
            max_bytes: bounds.inbox_bytes,
            opening: 0,
        }
    }

    /// The acceptance of the session's connection is to wait for all that was given to
    /// [`SessionBook::keep`] before this call.
    pub fn hold_opening(&mut self) {
        self.opening = self.book.cell().batch();
    }

    /// Whether this batch is in the file.
    pub(crate) fn has_kept(&self, batch: u64) -> bool {
        self.book.cell().shared.progress.borrow().batch >= batch
    }

    /// All that is not handled, in order, with the beginnings of its sessions.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Trid, Stored<'_>)> {
        // What cannot be read was not taken.
        let messages = self.waiting.iter();
        messages.filter_map(|message| Some((message.began, layout::message(message.number, &message.row).ok()?)))
    }

    /// Notes what is in the file.
    pub(super) fn put_back(&mut self, began: Trid, number: u64, row: Row, len: usize) {
        self.waiting.push_back(Received { began, number, row });
        self.bytes += len;
        self.book.cell().count_bytes(0, len);
    }

    /// The session's book: keep one to reach the session's place in the store while the session
    /// itself is in a connection.
    pub const fn book(&self) -> &SessionBook {
        &self.book
    }

    /// How many messages are not handled.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more than half of what the session may have in here is taken: what was received before is
    /// to be handled before more messages of the client are taken; its control frames are not to wait
    /// ([`Connection::keep_frame`](diset_proto::Connection::keep_frame)). Credit alone does not see to that, as each connection
    /// begins with all of it.
    pub fn is_crowded(&self) -> bool {
        self.waiting.len() > self.max_messages / 2 || self.bytes > self.max_bytes / 2
    }

    /// Whether the store of all sessions is crowded.
    pub(crate) fn is_store_crowded(&self) -> bool {
        let shared = &self.book.cell().shared;
        // One that is closed never has room again: what comes is refused, and need not wait for that.
        shared.is_crowded() && !shared.progress.borrow().closed
    }

    /// Ready when it is not any more; false when it is closed.
    pub(crate) fn store_room(&self) -> impl Future<Output = bool> + Send + use<> {
        let shared = Arc::clone(&self.book.cell().shared);
        async move { shared.room().await.is_ok() }
    }

    /// How many bytes of payload they have.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The messages that came before the session [began anew](Inbox::begin_anew), up to this one,
    /// are handled. Such messages are handled first and in their order, as all others; but the
    /// session counts anew and must not be told of them by
    /// [`begin`](diset_proto::Session::begin) and [`settle`](diset_proto::Session::settle).
    /// `began` is what [`Session::began`](diset_proto::Session::began) was when the message came.
    pub fn handled_before(&mut self, began: Trid, number: u64) {
        if began != self.began {
            self.handled(began, number);
        }
    }

    fn handled(&mut self, began: Trid, number: u64) {
        let (count, bytes) = (self.waiting.len(), self.bytes);
        let goes = |received: &Received| received.began == began && received.number <= number;
        // They are handled in their order, so it is the first one: thousands may stand behind it.
        while let Some(first) = self.waiting.pop_front_if(|first| goes(first)) {
            self.bytes -= first.len();
        }
        if self.waiting.front().is_some_and(|first| first.began != began) {
            let left = &mut self.bytes;
            self.waiting.retain(|received| {
                let goes = goes(received);
                if goes {
                    *left -= received.len();
                }
                !goes
            });
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        let gone = count - self.waiting.len();
        if gone > 0 {
            let cell = self.book.cell();
            cell.count_bytes(bytes, self.bytes);
            cell.stage(Change::Handled(began.number(), number, gone));
        }
    }
}

impl Inbox for KeptInbox {
    fn put(&mut self, message: Stored<'_>) -> bool {
        let len = message.payload.len();
        let sum = self.bytes.saturating_add(len);
        let cell = self.book.cell();
        if self.waiting.len() >= self.max_messages || sum > self.max_bytes || !cell.take_room(room_for(len)) {
            return false;
        }
        let row = layout::row(message);
        cell.count_bytes(0, len);
        cell.stage(Change::Received(self.began.number(), message.number, Row::clone(&row)));
        self.waiting.push_back(Received {
            began: self.began,
            number: message.number,
            row,
        });
        self.bytes = sum;
        true
    }

    fn done_through(&mut self, number: u64) {
        self.handled(self.began, number);
    }

    fn begin_anew(&mut self, began: Trid) {
        self.began = began;
    }

    fn unhandled(&self, each: &mut dyn FnMut(Trid, Stored<'_>) -> bool) {
        for (began, stored) in self.waiting() {
            if !each(began, stored) {
                return;
            }
        }
    }

    fn handled_before(&mut self, began: Trid, number: u64) {
        Self::handled_before(self, began, number);
    }

    fn first(&self) -> Option<u64> {
        let here = |received: &&Received| received.began == self.began;
        self.waiting.iter().find(here).map(|received| received.number)
    }

    fn kept(&self) -> (u64, u64) {
        let kept = self.book.cell().kept();
        if kept.began == self.began {
            (kept.received, kept.processed)
        } else {
            (0, 0)
        }
    }

    fn may_open(&self) -> bool {
        self.has_kept(self.opening)
    }

    fn is_crowded(&self) -> bool {
        Self::is_crowded(self) || self.is_store_crowded()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

impl fmt::Debug for KeptInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptInbox")
            .field("messages", &self.waiting.len())
            .field("bytes", &self.bytes)
            .field("kept", &self.kept())
            .finish()
    }
}
