//! Where accepted messages wait for their handler, in the order in which they came.

use core::hash::Hash;

pub(crate) use super::log::Acked;
use super::log::{Entry, Log, Place};
use crate::id::Trid;
#[cfg(feature = "alloc")]
use crate::wire::storage::GrowBuf;
use crate::wire::storage::Storage;

/// A message that was accepted, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Its number in the catalog of this side.
    pub(crate) number: u8,
    /// What it costs of the credit of its link (PROTOCOL L-2).
    pub(crate) cost: u32,
    /// Which one it is, when it is acked.
    pub(crate) acked: Option<Acked>,
    /// It may have been handled before.
    pub(crate) repeated: bool,
}

impl Meta {
    /// Its number in the catalog of this side: [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// The number that the session gave it, when it is an acked one.
    pub const fn number_in_session(&self) -> Option<u64> {
        match self.acked {
            Some(acked) => Some(acked.number),
            None => None,
        }
    }

    /// The connection that its session began with, when it is an acked one: with the
    /// [number](Self::number_in_session) a name that no other message in its direction has.
    pub const fn session_began(&self) -> Option<Trid> {
        match self.acked {
            Some(acked) => Some(acked.began),
            None => None,
        }
    }

    /// It may have been handled before: a side was killed, or has lost the session, before it could say so (PROTOCOL
    ///
    pub const fn maybe_repeated(&self) -> bool {
        self.repeated
    }
}

/// Where messages wait. A chip that handles each one before it reads on has none: [`NoQueue`].
///
/// Nothing here decides: what a queue is given it gives back in order, until it is told to take it out.
pub trait Queue {
    /// Where something is kept that has to do with messages that wait. Without such messages it takes no memory.
    type Aside<T: Default + Clone + Hash>: Aside<T>;

    /// Whether it takes messages at all. Without, nothing is read while a handler waits.
    const WAITS: bool;

    /// Takes a message behind all others; false, and nothing changed, when there is no room. Room for the credit that
    /// this side states is enough (PROTOCOL L-3), with 22 bytes more for each message.
    fn push(&mut self, meta: &Meta, payload: &[u8]) -> bool;

    /// The oldest message.
    fn front(&self) -> Option<(Meta, &[u8])>;

    /// Takes out the oldest message.
    fn pop(&mut self);

    /// Takes out what is not to stay: asked for each message, from the oldest on, with how many stand before it. Of the
    /// acked ones of a session that is the first so many, or the last.
    fn retain(&mut self, stays: impl FnMut(usize, &Meta) -> bool);

    /// How many messages there are, and how many of them are plain.
    fn waiting(&self) -> (usize, usize);
}

/// See [`Queue::Aside`].
pub trait Aside<T>: Default + Clone + Hash {
    /// Looks at it: as it was left, or as it was at first.
    fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R;

    /// Changes it.
    fn edit<R>(&mut self, edit: impl FnOnce(&mut T) -> R) -> R;
}

/// It is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Here<T>(T);

impl<T: Default + Clone + Hash> Aside<T> for Here<T> {
    fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0)
    }

    fn edit<R>(&mut self, edit: impl FnOnce(&mut T) -> R) -> R {
        edit(&mut self.0)
    }
}

/// Nothing is kept: it is as it was at first.
impl<T: Default> Aside<T> for () {
    fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&T::default())
    }

    fn edit<R>(&mut self, edit: impl FnOnce(&mut T) -> R) -> R {
        edit(&mut T::default())
    }
}

/// No message waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NoQueue;

impl Queue for NoQueue {
    type Aside<T: Default + Clone + Hash> = ();

    const WAITS: bool = false;

    fn push(&mut self, _: &Meta, _: &[u8]) -> bool {
        false
    }

    fn front(&self) -> Option<(Meta, &[u8])> {
        None
    }

    fn pop(&mut self) {}

    fn retain(&mut self, _: impl FnMut(usize, &Meta) -> bool) {}

    fn waiting(&self) -> (usize, usize) {
        (0, 0)
    }
}

/// A queue in a buffer of the caller's. A message takes 6 bytes and its payload, some acked ones 16 more.
#[cfg_attr(any(test, feature = "snapshot"), derive(Clone))]
pub struct FixedQueue<B> {
    log: Log<B>,
    /// The acked message before the first that waits, and the last one.
    acked: Option<(Acked, Acked)>,
    messages: usize,
    plain: usize,
}

/// How many messages there are follows from what there is.
#[cfg(feature = "snapshot")]
impl<B: Storage> Hash for FixedQueue<B> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.log.hash(state);
        self.acked.hash(state);
    }
}

/// A queue on the heap, up to the bound of the buffer; nothing is taken while nothing waits.
#[cfg(feature = "alloc")]
pub type HeapQueue = FixedQueue<GrowBuf>;

impl<B: Storage> FixedQueue<B> {
    /// An empty queue in this buffer.
    pub const fn new(buffer: B) -> Self {
        Self {
            log: Log::new(buffer),
            acked: None,
            messages: 0,
            plain: 0,
        }
    }
}

/// The message that this entry is, when this acked one stands before it.
fn meta(entry: &Entry<'_>, before: Option<Acked>) -> Meta {
    Meta {
        number: entry.number,
        // Head and number stand before a payload.
        cost: u32::try_from(entry.payload.len()).map_or(u32::MAX, |length| length.saturating_add(2)),
        acked: resolve(entry.place, before),
        repeated: entry.repeated,
    }
}

/// Which acked message stands at a place, behind this one.
fn resolve(place: Place, before: Option<Acked>) -> Option<Acked> {
    match place {
        Place::Plain => None,
        Place::Next => before.map(Acked::next),
        Place::At(acked) => Some(acked),
    }
}

impl<B: Storage> Queue for FixedQueue<B> {
    type Aside<T: Default + Clone + Hash> = Here<T>;

    const WAITS: bool = true;

    fn push(&mut self, meta: &Meta, payload: &[u8]) -> bool {
        let place = match (meta.acked, self.acked) {
            (None, _) => Place::Plain,
            (Some(acked), Some((_, last))) if acked == last.next() => Place::Next,
            (Some(acked), _) => Place::At(acked),
        };
        let entry = Entry {
            number: meta.number,
            place,
            repeated: meta.repeated,
            payload,
        };
        if !self.log.push(&entry) {
            return false;
        }
        self.messages += 1;
        match meta.acked {
            // Before the first one stands itself: it says its number.
            Some(acked) => self.acked = Some((self.acked.map_or(acked, |(before, _)| before), acked)),
            None => self.plain += 1,
        }
        true
    }

    fn front(&self) -> Option<(Meta, &[u8])> {
        let entry = self.log.first()?;
        Some((meta(&entry, self.acked.map(|(before, _)| before)), entry.payload))
    }

    fn pop(&mut self) {
        let Some((meta, _)) = self.front() else { return };
        self.log.pop();
        self.messages = self.messages.saturating_sub(1);
        match meta.acked {
            Some(acked) => {
                let last = self.acked.map_or(acked, |(_, last)| last);
                // The last one leaves nothing behind which another could stand.
                self.acked = (acked != last).then_some((acked, last));
            }
            None => self.plain = self.plain.saturating_sub(1),
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(usize, &Meta) -> bool) {
        let mut before = self.acked.map(|(before, _)| before);
        (self.acked, self.messages, self.plain) = (None, 0, 0);
        let (acked, messages, plain) = (&mut self.acked, &mut self.messages, &mut self.plain);
        let mut at = 0;
        self.log.retain(|entry| {
            let meta = meta(entry, before);
            let follows = before;
            before = meta.acked.or(before);
            at += 1;
            if !stays(at - 1, &meta) {
                return false;
            }
            *messages += 1;
            match meta.acked {
                Some(this) => {
                    let first = acked.map_or(follows.unwrap_or(this), |(first, _)| first);
                    *acked = Some((first, this));
                }
                None => *plain += 1,
            }
            true
        });
    }

    fn waiting(&self) -> (usize, usize) {
        (self.messages, self.plain)
    }
}

#[cfg(test)]
mod tests;
