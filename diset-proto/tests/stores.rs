//! Stores of sessions that answer as they are told to.

use diset_proto::store::{HeapReplay, Inbox, Replay, Stored};

/// Messages that are sent, on the heap.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    messages: HeapReplay,
    /// Up to which number they are kept.
    pub(crate) kept: u64,
    /// Whether this side sends acked messages.
    pub(crate) sends: bool,
    /// The last one that was put in.
    pub(crate) last: u64,
}

impl Shelf {
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        Self {
            messages: HeapReplay::new(messages, bytes),
            kept: u64::MAX,
            sends: true,
            last: 0,
        }
    }
}

impl Replay for Shelf {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        self.last = head.number;
        self.messages.reserve(head, len)
    }

    fn commit(&mut self) {
        self.messages.commit();
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.messages.after(number)
    }

    fn remove(&mut self, number: u64) {
        self.messages.remove(number);
    }

    fn remove_through(&mut self, number: u64) {
        self.messages.remove_through(number);
    }

    fn mark_repeated(&mut self, number: u64) {
        self.messages.mark_repeated(number);
    }

    fn kept(&self) -> u64 {
        self.kept
    }

    fn sends(&self) -> bool {
        self.sends
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn bytes(&self) -> usize {
        self.messages.bytes()
    }
}

/// An inbox that keeps what it is said to keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Desk {
    pub(crate) durable: bool,
    /// Up to which numbers messages are kept that were received, and that were handled.
    pub(crate) kept: (u64, u64),
    /// Whether this side takes acked messages.
    pub(crate) takes: bool,
    /// Whether the session is kept, so that its connection may open.
    pub(crate) opens: bool,
}

pub(crate) const DESK: Desk = Desk {
    durable: false,
    kept: (u64::MAX, u64::MAX),
    takes: true,
    opens: true,
};

pub(crate) const DURABLE: Desk = Desk { durable: true, ..DESK };

impl Inbox for Desk {
    fn kept(&self) -> (u64, u64) {
        self.kept
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn takes(&self) -> bool {
        self.takes
    }

    fn may_open(&self) -> bool {
        self.opens
    }
}
