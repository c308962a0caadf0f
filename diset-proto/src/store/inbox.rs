//! An inbox that keeps what was received in a store.

use super::{Inbox, Replay, Stored};
use crate::id::Trid;

/// What stands before each payload in the store: with which connection its session began, and its number.
const HEAD: usize = 8 + 8;

/// A durable inbox over any [`Replay`] store: a buffer of the caller's
/// ([`FixedReplay`](super::FixedReplay)) or the heap ([`HeapReplay`](super::HeapReplay)). A message takes 16 bytes
/// more than there.
///
/// The peer is told that what this side received outlives its process, and forgets a message as soon as it is
/// here. So the inbox, the replay store and the [record](crate::SessionRecord) of the session must be where that is
/// true, as in RAM with a battery, in each step; for memory like any other take [`Volatile`](super::Volatile). A
/// store that keeps later than it is told to needs an inbox of its own.
///
/// After a restart `Session::restore` goes on with all three. What is in [`waiting`](Self::waiting) then, nobody else will
/// hand over: the halves ([`drive`](crate::drive)) lend it before anything that comes, if they have a queue. Else handle it
/// yourself, before anything that comes, as messages that may have been handled before, and tell `Session::begin` and
/// `Session::settle`, or [`handled_before`](Inbox::handled_before) if the session has begun anew since.
#[derive(Debug, Clone, Hash)]
pub struct StoredInbox<R> {
    store: R,
    began: Trid,
    /// The last number in the store, where numbers of sessions follow on each other.
    last: u64,
    /// The last of former sessions.
    base: u64,
}

/// A message that was received and is not handled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting<'s> {
    /// The connection with which its session began: what `Session::began` was when it came.
    pub began: Trid,
    /// The message, under its number in that session.
    pub message: Stored<'s>,
}

impl<R: Replay> StoredInbox<R> {
    /// An inbox in this store, which is empty.
    pub const fn new(store: R) -> Self {
        Self {
            store,
            began: Trid::new(0),
            last: 0,
            base: 0,
        }
    }

    /// The store.
    pub const fn store(&self) -> &R {
        &self.store
    }

    /// What is not handled, the oldest first. While a connection is open that is also what it has handed over
    /// already.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        let all = core::iter::successors(self.store.after(0), |stored| self.store.after(stored.number));
        all.filter_map(read)
    }
}

/// A message as it stands in the store.
fn read(stored: Stored<'_>) -> Option<Waiting<'_>> {
    let (began, rest) = stored.payload.split_first_chunk()?;
    let (number, payload) = rest.split_first_chunk()?;
    Some(Waiting {
        began: Trid::new(u64::from_le_bytes(*began)),
        message: Stored {
            number: u64::from_le_bytes(*number),
            payload,
            ..stored
        },
    })
}

impl<R: Replay> Inbox for StoredInbox<R> {
    fn put(&mut self, message: Stored<'_>) -> bool {
        let (Some(number), Some(len)) = (
            self.base.checked_add(message.number),
            HEAD.checked_add(message.payload.len()),
        ) else {
            return false;
        };
        let head = Stored { number, ..message };
        let Some(place) = self.store.reserve(head, len) else {
            return false;
        };
        let Some((began, place)) = place.split_first_chunk_mut() else {
            return false;
        };
        let Some((at, payload)) = place.split_first_chunk_mut() else {
            return false;
        };
        *began = self.began.number().to_le_bytes();
        *at = message.number.to_le_bytes();
        payload.copy_from_slice(message.payload);
        self.store.commit();
        self.last = number;
        true
    }

    fn done_through(&mut self, number: u64) {
        let through = self.base.saturating_add(number);
        while let Some(stored) = self.store.after(self.base).filter(|stored| stored.number <= through) {
            let number = stored.number;
            self.store.remove(number);
        }
    }

    fn begin_anew(&mut self, began: Trid) {
        self.began = began;
        self.base = self.last;
    }

    fn first(&self) -> Option<u64> {
        let first = self.store.after(self.base)?;
        Some(first.number.saturating_sub(self.base))
    }

    fn unhandled(&self, each: &mut dyn FnMut(Trid, Stored<'_>) -> bool) {
        let _ = self.waiting().all(|waiting| each(waiting.began, waiting.message));
    }

    fn handled_before(&mut self, began: Trid, number: u64) {
        let handled = |waiting: Waiting<'_>| waiting.began == began && waiting.message.number <= number;
        let mut at = 0;
        while let Some(stored) = self.store.after(at).filter(|stored| stored.number <= self.base) {
            at = stored.number;
            if read(stored).is_some_and(handled) {
                self.store.remove(at);
            }
        }
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Key;
    use crate::store::{FixedReplay, Unsure};

    fn message(number: u64, payload: &[u8]) -> Stored<'_> {
        Stored {
            number,
            key: Key([7; 16]),
            unsure: Unsure::Report,
            repeated: number == 2,
            payload,
        }
    }

    fn waiting<R: Replay>(inbox: &StoredInbox<R>) -> Vec<(u64, u64)> {
        inbox
            .waiting()
            .map(|waiting| (waiting.began.number(), waiting.message.number))
            .collect()
    }

    fn keeps_what_is_not_handled(mut inbox: StoredInbox<impl Replay>) {
        assert!(inbox.is_durable() && inbox.waiting().next().is_none());
        inbox.begin_anew(Trid::new(5));
        for number in [1, 2, 4] {
            assert!(inbox.put(message(number, &[number as u8; 3])));
        }
        let second = inbox.waiting().nth(1).unwrap();
        assert_eq!((second.began, second.message), (Trid::new(5), message(2, &[2; 3])));
        assert_eq!(inbox.first(), Some(1));
        inbox.done_through(1);
        assert_eq!(waiting(&inbox), [(5, 2), (5, 4)]);
        assert_eq!(inbox.first(), Some(2));
        // Numbers count anew, and what was received before stays.
        inbox.begin_anew(Trid::new(6));
        assert_eq!(inbox.first(), None, "of this session nothing waits");
        assert!(inbox.put(message(1, &[1])) && inbox.put(message(3, &[3])));
        assert_eq!(waiting(&inbox), [(5, 2), (5, 4), (6, 1), (6, 3)]);
        inbox.done_through(2);
        inbox.handled_before(Trid::new(6), 9);
        assert_eq!(waiting(&inbox), [(5, 2), (5, 4), (6, 3)], "this one has not begun anew");
        inbox.handled_before(Trid::new(5), 3);
        assert_eq!(waiting(&inbox), [(5, 4), (6, 3)]);
        inbox.begin_anew(Trid::new(7));
        assert!(inbox.put(message(1, &[])));
        inbox.handled_before(Trid::new(6), 3);
        inbox.handled_before(Trid::new(5), 4);
        assert_eq!(waiting(&inbox), [(7, 1)]);
        inbox.done_through(u64::MAX);
        assert!(inbox.store().is_empty());
    }

    #[test]
    fn an_inbox_in_a_buffer_keeps_what_is_not_handled() {
        keeps_what_is_not_handled(StoredInbox::new(FixedReplay::new([0; 512])));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn an_inbox_on_the_heap_keeps_what_is_not_handled() {
        use crate::store::HeapReplay;
        keeps_what_is_not_handled(StoredInbox::new(HeapReplay::new(10, 1000)));
    }

    #[test]
    fn an_inbox_that_is_full_takes_nothing_and_loses_nothing() {
        // Each message takes 29 bytes of the store, 16 of the inbox, and its own.
        let mut inbox = StoredInbox::new(FixedReplay::new([0; 2 * (29 + 16 + 4)]));
        assert!(inbox.put(message(1, &[1; 4])) && inbox.put(message(2, &[2; 4])));
        assert!(!inbox.put(message(3, &[])), "PROTOCOL Q-4");
        assert_eq!(waiting(&inbox), [(0, 1), (0, 2)]);
        inbox.done_through(1);
        assert!(inbox.put(message(3, &[3; 4])));
        assert_eq!(waiting(&inbox), [(0, 2), (0, 3)]);
    }
}
