//! Where a session keeps its messages between connections: traits, and what implements them in memory.
//!
//! A side has two such places. The *replay store* holds what was sent and has no outcome yet; the
//! *inbox* what was received and is not handled yet. Both may keep more than memory does, such as
//! on a disk or in flash: then nothing is told to the peer before it is kept (PROTOCOL Q-6).

mod inbox;

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, collections::VecDeque};

pub use self::inbox::{StoredInbox, Waiting};

use crate::definition::Key;
use crate::id::Trid;
use crate::wire::bytes::shift;
use crate::wire::storage::Storage;

/// A message in a store. Its payload does not show in `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that stores take and give")]
pub struct Stored<'s> {
    /// Its number on this side: from 1, ascending, not without gaps.
    pub number: u64,
    /// Its definition, by a key that does not change when a catalog does.
    pub key: Key,
    /// What becomes of it when it is not known whether it was dealt with.
    pub unsure: Unsure,
    /// It may have been dealt with before.
    pub repeated: bool,
    /// Its payload.
    pub payload: &'s [u8],
}

impl core::fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "message {} of {} bytes", self.number, self.payload.len())
    }
}

/// What becomes of a message that was transmitted, when the peer has lost the session and nobody
/// knows whether it was dealt with (PROTOCOL N-6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Unsure {
    /// The sender is told that its fate is unknown; it is not sent again.
    #[default]
    Report,
    /// It is sent again, marked as one that may have been dealt with before.
    Resend,
}

/// Keeps messages until their outcome is known, in the order of their numbers.
///
/// What implements it must give back what it was given: a session relies on it.
pub trait Replay {
    /// Makes room for a message behind all others, whose payload takes `len` bytes, and gives
    /// the place for the payload. It counts only when [`commit`](Self::commit) is called. `None`:
    /// there is no room.
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]>;

    /// The payload of what was reserved last is written.
    fn commit(&mut self);

    /// The first message with a higher number.
    fn after(&self, number: u64) -> Option<Stored<'_>>;

    /// Takes one message out.
    fn remove(&mut self, number: u64);

    /// Takes out all messages up to this number.
    fn remove_through(&mut self, number: u64);

    /// Marks a message as one that may have been dealt with before.
    fn mark_repeated(&mut self, number: u64);

    /// Up to which number messages are kept as safely as this store keeps them. Only those may
    /// leave.
    fn kept(&self) -> u64 {
        u64::MAX
    }

    /// Whether this side sends acked messages at all, as it says in the handshake (PROTOCOL N-2).
    fn sends(&self) -> bool {
        true
    }

    /// How many messages there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of payload there are.
    fn bytes(&self) -> usize;
}

/// Remembers what was received until it is handled.
///
/// The engine hands each message to its user all the same; an inbox that keeps messages gives
/// them back after a restart, by means of its own.
pub trait Inbox {
    /// A message has come; false when it cannot be taken.
    fn put(&mut self, message: Stored<'_>) -> bool {
        let _ = message;
        true
    }

    /// All messages up to this number were handled, with whatever outcome.
    fn done_through(&mut self, _number: u64) {}

    /// The session begins anew, on this connection: numbers count from 1 again, and
    /// [`kept`](Self::kept) counts those. What was received before and is not handled stays, and is
    /// not what [`done_through`](Self::done_through) speaks of.
    fn begin_anew(&mut self, began: Trid) {
        let _ = began;
    }

    /// The first message that was received since the session [began](Self::begin_anew) and is not handled. No
    /// handler of one behind it may begin, and none behind it counts as handled (PROTOCOL Q-5): what a durable inbox
    /// has, nobody else will hand over again. `None`: there is none, or it does not know.
    fn first(&self) -> Option<u64> {
        None
    }

    /// Gives what is not handled to `_each`, the oldest first, with the connection that its session began with, until that
    /// says false: what a process that begins with a durable inbox has handled before anything that comes.
    fn unhandled(&self, _each: &mut dyn FnMut(Trid, Stored<'_>) -> bool) {}

    /// The messages up to this number were handled, of a session that began so and has begun anew since.
    fn handled_before(&mut self, _began: Trid, _number: u64) {}

    /// Up to which numbers it is kept what was received, and what was handled. Only so much is told
    /// to the peer.
    fn kept(&self) -> (u64, u64) {
        (u64::MAX, u64::MAX)
    }

    /// Service: whether the session is kept as it was when it welcomed its client, so that the
    /// acceptance may leave: a token must not be forgotten (PROTOCOL N-4).
    fn may_open(&self) -> bool {
        true
    }

    /// Whether no more is to be taken from the peer now: what comes waits unnumbered, where there is memory for that, until
    /// something was handled or kept. A message is [put](Self::put) all the same when the peer sends more than its credit
    /// allows, or the connection ends.
    fn is_crowded(&self) -> bool {
        false
    }

    /// Whether this side takes acked messages at all, as it says in the handshake (PROTOCOL N-2).
    fn takes(&self) -> bool {
        true
    }

    /// Whether what was received outlives this process. Then the peer is told so, and forgets a
    /// message as soon as it is kept here.
    fn is_durable(&self) -> bool {
        false
    }
}

/// An inbox that keeps nothing: what was not handled when a connection ends the peer sends again. One that
/// keeps what it was given is [`StoredInbox`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Volatile;

impl Inbox for Volatile {}

/// In place of an inbox: this side takes no acked messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NoInbox;

impl Inbox for NoInbox {
    fn takes(&self) -> bool {
        false
    }
}

/// What stands before each payload in a [`FixedReplay`]: number, length, key, flags.
const HEAD: usize = 8 + 4 + 16 + 1;
const RESEND: u8 = 1;
const REPEATED: u8 = 2;

/// A replay store in a buffer of the caller's: an array or slice on a chip, or one that grows
/// (`GrowBuf`). A message takes 29 bytes and its payload.
#[derive(Clone)]
pub struct FixedReplay<B> {
    buffer: B,
    /// Where the first message begins.
    start: usize,
    /// Where the last one ends.
    end: usize,
    /// Where the one ends that is being written.
    reserved: usize,
    count: usize,
}

/// How much there is; payloads do not show.
impl<B> core::fmt::Debug for FixedReplay<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FixedReplay")
            .field("messages", &self.count)
            .field("taken", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}

impl<B: Storage> FixedReplay<B> {
    /// An empty store in this buffer.
    pub const fn new(buffer: B) -> Self {
        Self {
            buffer,
            start: 0,
            end: 0,
            reserved: 0,
            count: 0,
        }
    }

    /// The message that begins here, and where the next one does.
    fn at(&self, offset: usize) -> Option<(Stored<'_>, usize)> {
        let bytes = self.buffer.bytes().get(offset..self.end)?;
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let (number, head) = head.split_first_chunk::<8>()?;
        let (len, head) = head.split_first_chunk::<4>()?;
        let (key, flags) = head.split_first_chunk::<16>()?;
        let flags = flags.first()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let stored = Stored {
            number: u64::from_le_bytes(*number),
            key: Key(*key),
            unsure: if flags & RESEND == 0 {
                Unsure::Report
            } else {
                Unsure::Resend
            },
            repeated: flags & REPEATED != 0,
            payload: rest.get(..len)?,
        };
        Some((stored, offset + HEAD + len))
    }

    /// Where the first message with a higher number begins and ends.
    fn find_after(&self, number: u64) -> Option<(usize, usize)> {
        let mut offset = self.start;
        while let Some((stored, next)) = self.at(offset) {
            if stored.number > number {
                return Some((offset, next));
            }
            offset = next;
        }
        None
    }

    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let (start, end) = self.find_after(number.checked_sub(1)?)?;
        (self.at(start)?.0.number == number).then_some((start, end))
    }

    /// Moves all to the front.
    fn compact(&mut self) {
        let (start, end) = (self.start, self.end);
        if start > 0 && end <= self.buffer.bytes().len() {
            shift(self.buffer.bytes_mut(), start..end, 0);
            self.start = 0;
            self.end = end - start;
        }
    }

    fn shrink(&mut self) {
        if self.start >= self.end {
            (self.start, self.end, self.reserved) = (0, 0, 0);
            self.buffer.release();
        }
    }
}

impl<B: Storage> Replay for FixedReplay<B> {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        let size = u32::try_from(len).ok()?;
        let needed = len.checked_add(HEAD)?;
        if self.end.checked_add(needed)? > self.buffer.bytes().len() {
            self.compact();
        }
        let end = self.end.checked_add(needed)?;
        if !self.buffer.grow(end) {
            return None;
        }
        let place = self.buffer.bytes_mut().get_mut(self.end..end)?;
        let (before, payload) = place.split_first_chunk_mut::<HEAD>()?;
        let (number, rest) = before.split_first_chunk_mut::<8>()?;
        *number = head.number.to_le_bytes();
        let (length, rest) = rest.split_first_chunk_mut::<4>()?;
        *length = size.to_le_bytes();
        let (key, flags) = rest.split_first_chunk_mut::<16>()?;
        *key = head.key.0;
        let resend = if head.unsure == Unsure::Resend { RESEND } else { 0 };
        *flags.first_mut()? = resend | if head.repeated { REPEATED } else { 0 };
        self.reserved = end;
        Some(payload)
    }

    fn commit(&mut self) {
        if self.reserved > self.end {
            self.end = self.reserved;
            self.count += 1;
        }
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        let (offset, _) = self.find_after(number)?;
        self.at(offset).map(|(stored, _)| stored)
    }

    fn remove(&mut self, number: u64) {
        let Some((start, end)) = self.find(number) else {
            return;
        };
        if start == self.start {
            self.start = end;
        } else {
            shift(self.buffer.bytes_mut(), end..self.end, start);
            self.end -= end - start;
        }
        self.reserved = self.end;
        self.count = self.count.saturating_sub(1);
        self.shrink();
    }

    fn remove_through(&mut self, number: u64) {
        while let Some((first, next)) = self.at(self.start) {
            if first.number > number {
                break;
            }
            self.start = next;
            self.count = self.count.saturating_sub(1);
        }
        self.shrink();
    }

    fn mark_repeated(&mut self, number: u64) {
        if let Some((start, _)) = self.find(number)
            && let Some(flags) = self.buffer.bytes_mut().get_mut(start + HEAD - 1)
        {
            *flags |= REPEATED;
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    fn bytes(&self) -> usize {
        (self.end - self.start).saturating_sub(self.count * HEAD)
    }
}

/// A replay store on the heap: a box for each message, up to a number of messages and of bytes.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Hash)]
pub struct HeapReplay {
    messages: VecDeque<Boxed>,
    reserved: Option<Boxed>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

#[cfg(feature = "alloc")]
#[derive(Clone, Hash)]
struct Boxed {
    number: u64,
    key: Key,
    unsure: Unsure,
    repeated: bool,
    payload: Box<[u8]>,
}

#[cfg(feature = "alloc")]
impl Boxed {
    fn stored(&self) -> Stored<'_> {
        Stored {
            number: self.number,
            key: self.key,
            unsure: self.unsure,
            repeated: self.repeated,
            payload: &self.payload,
        }
    }
}

#[cfg(feature = "alloc")]
impl core::fmt::Debug for Boxed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.stored().fmt(f)
    }
}

#[cfg(feature = "alloc")]
impl HeapReplay {
    /// An empty store for so many messages, and so many bytes of payload.
    pub const fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            reserved: None,
            bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    /// How many messages, and how many bytes of payload, it takes.
    #[must_use]
    pub const fn bounds(&self) -> (usize, usize) {
        (self.max_messages, self.max_bytes)
    }

    /// The first place whose number is higher.
    fn place_after(&self, number: u64) -> usize {
        self.messages.partition_point(|message| message.number <= number)
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        self.messages
            .binary_search_by_key(&number, |message| message.number)
            .ok()
    }

    fn shrink(&mut self) {
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
    }
}

#[cfg(feature = "alloc")]
impl Replay for HeapReplay {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        if self.messages.len() >= self.max_messages || self.bytes.checked_add(len)? > self.max_bytes {
            return None;
        }
        let reserved = self.reserved.insert(Boxed {
            number: head.number,
            key: head.key,
            unsure: head.unsure,
            repeated: head.repeated,
            payload: alloc::vec![0; len].into_boxed_slice(),
        });
        Some(&mut reserved.payload)
    }

    fn commit(&mut self) {
        if let Some(message) = self.reserved.take() {
            self.bytes += message.payload.len();
            self.messages.push_back(message);
        }
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        // Nearly always the first one, or the one behind the last.
        let first = self.messages.front()?;
        if first.number > number {
            return Some(first.stored());
        }
        self.messages.get(self.place_after(number)).map(Boxed::stored)
    }

    fn remove(&mut self, number: u64) {
        if let Some(message) = self.place_of(number).and_then(|place| self.messages.remove(place)) {
            self.bytes -= message.payload.len();
        }
        self.shrink();
    }

    fn remove_through(&mut self, number: u64) {
        while let Some(first) = self.messages.front()
            && first.number <= number
        {
            self.bytes -= first.payload.len();
            self.messages.pop_front();
        }
        self.shrink();
    }

    fn mark_repeated(&mut self, number: u64) {
        if let Some(message) = self.place_of(number).and_then(|place| self.messages.get_mut(place)) {
            message.repeated = true;
        }
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
