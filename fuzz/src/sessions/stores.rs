//! What keeps the messages of a session, at once or late.

use diset_proto::Trid;
use diset_proto::store::{FixedReplay, HeapReplay, Inbox, Replay, Stored};

/// What keeps messages: in a buffer or on the heap, at once or when it is told to.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) fixed: Option<FixedReplay<[u8; 400]>>,
    pub(super) heap: HeapReplay,
    pub(super) lags: bool,
    pub(super) last: u64,
    pub(super) kept: u64,
}

impl Store {
    pub(super) fn new(fixed: bool, lags: bool) -> Self {
        Self {
            fixed: fixed.then(|| FixedReplay::new([0; 400])),
            heap: HeapReplay::new(9, 40),
            lags,
            last: 0,
            kept: 0,
        }
    }

    pub(super) fn inner(&self) -> &dyn Replay {
        match &self.fixed {
            Some(fixed) => fixed,
            None => &self.heap,
        }
    }

    pub(super) fn inner_mut(&mut self) -> &mut dyn Replay {
        match &mut self.fixed {
            Some(fixed) => fixed,
            None => &mut self.heap,
        }
    }
}

impl Replay for Store {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        self.last = head.number;
        self.inner_mut().reserve(head, len)
    }
    fn commit(&mut self) {
        self.inner_mut().commit();
    }
    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.inner().after(number)
    }
    fn remove(&mut self, number: u64) {
        self.inner_mut().remove(number);
    }
    fn remove_through(&mut self, number: u64) {
        self.inner_mut().remove_through(number);
    }
    fn mark_repeated(&mut self, number: u64) {
        self.inner_mut().mark_repeated(number);
    }
    fn kept(&self) -> u64 {
        if self.lags { self.kept } else { u64::MAX }
    }
    fn len(&self) -> usize {
        self.inner().len()
    }
    fn bytes(&self) -> usize {
        self.inner().bytes()
    }
}

/// An inbox that keeps counters when it is told to.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) lags: bool,
    pub(super) now: (u64, u64),
    pub(super) kept: (u64, u64),
}

impl Inbox for Told {
    fn put(&mut self, message: Stored<'_>) -> bool {
        self.now.0 = self.now.0.max(message.number);
        true
    }
    fn done_through(&mut self, number: u64) {
        assert!(number >= self.now.1, "what is dealt with never goes back");
        self.now.1 = number;
    }
    fn begin_anew(&mut self, _: Trid) {
        (self.now, self.kept) = ((0, 0), (0, 0));
    }
    fn kept(&self) -> (u64, u64) {
        if self.lags { self.kept } else { (u64::MAX, u64::MAX) }
    }
}
