//! Where the sessions of this crate keep their messages, and how much all of them may keep.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use diset_proto::store::{HeapReplay, Inbox, Replay, Stored, Volatile};

/// What a message takes beside its payload.
const OVERHEAD: usize = 64;

/// How many bytes some sessions may store together; what they take here they take of the parent, too.
#[derive(Debug)]
pub(crate) struct Budget {
    taken: AtomicUsize,
    most: usize,
    parent: Option<Arc<Self>>,
}

impl Budget {
    pub(crate) fn new(most: usize, parent: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            most,
            parent,
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.most);
        if self.taken.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return false;
        }
        if self.parent.as_ref().is_none_or(|parent| parent.take(bytes)) {
            return true;
        }
        self.taken.fetch_sub(bytes, Relaxed);
        false
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// What was sent and has no outcome yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    store: HeapReplay,
    budget: Option<Arc<Budget>>,
    /// What was taken of the budget.
    taken: usize,
}

impl Outgoing {
    pub(crate) const fn new(store: HeapReplay, budget: Option<Arc<Budget>>) -> Self {
        Self {
            store,
            budget,
            taken: 0,
        }
    }

    /// Gives back what is not stored any more.
    fn settle(&mut self) {
        let holds = self.store.bytes() + self.store.len() * OVERHEAD;
        if let Some(budget) = &self.budget {
            budget.give_back(self.taken.saturating_sub(holds));
        }
        self.taken = self.taken.min(holds);
    }
}

impl Replay for Outgoing {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        // What was reserved before and never written does not count.
        self.settle();
        let size = len.checked_add(OVERHEAD)?;
        if self.budget.as_ref().is_some_and(|budget| !budget.take(size)) {
            return None;
        }
        self.taken += size;
        let place = self.store.reserve(head, len);
        if place.is_none() {
            self.taken -= size;
            if let Some(budget) = &self.budget {
                budget.give_back(size);
            }
        }
        place
    }

    fn commit(&mut self) {
        self.store.commit();
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.store.after(number)
    }

    fn remove(&mut self, number: u64) {
        self.store.remove(number);
        self.settle();
    }

    fn remove_through(&mut self, number: u64) {
        self.store.remove_through(number);
        self.settle();
    }

    fn mark_repeated(&mut self, number: u64) {
        self.store.mark_repeated(number);
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn bytes(&self) -> usize {
        self.store.bytes()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(self.taken);
        }
    }
}

/// What was received and is not handled yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming(Volatile);

impl Inbox for Incoming {
    fn put(&mut self, message: Stored<'_>) -> bool {
        self.0.put(message)
    }

    fn done_through(&mut self, number: u64) {
        self.0.done_through(number);
    }
}
