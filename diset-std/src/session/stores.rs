//! Where the sessions of this crate keep their messages, and how much all of them may keep.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use diset_proto::store::{HeapReplay, Inbox, Replay, Stored, Volatile};
use diset_proto::{Session, Trid};

use super::{SessionSettings, StdSession};
use crate::handler::BoxFuture;
#[cfg(feature = "durable")]
use crate::store::{KeptInbox, KeptReplay, SessionBook};

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

    fn take_anyway(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Relaxed);
        if let Some(parent) = &self.parent {
            parent.take_anyway(bytes);
        }
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// Where the messages are.
#[derive(Debug)]
enum Store {
    Memory(HeapReplay),
    #[cfg(feature = "durable")]
    File(KeptReplay),
}

impl Store {
    /// How many messages and bytes it takes.
    const fn bounds(&self) -> (usize, usize) {
        match self {
            Self::Memory(store) => store.bounds(),
            #[cfg(feature = "durable")]
            Self::File(store) => store.bounds(),
        }
    }

    fn inner(&self) -> &dyn Replay {
        match self {
            Self::Memory(store) => store,
            #[cfg(feature = "durable")]
            Self::File(store) => store,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Replay {
        match self {
            Self::Memory(store) => store,
            #[cfg(feature = "durable")]
            Self::File(store) => store,
        }
    }
}

/// What was sent and has no outcome yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    store: Store,
    budget: Option<Arc<Budget>>,
    /// What was taken of the budget.
    taken: usize,
    /// Why the message that was to be stored last was refused.
    refusal: Option<Refusal>,
}

/// Why a message is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is longer than all that the session may store.
    Never,
    /// The session stores as much as it may.
    Own,
    /// Others do, or what waits for the file.
    Others,
}

impl Outgoing {
    pub(crate) const fn new(store: HeapReplay, budget: Option<Arc<Budget>>) -> Self {
        Self {
            store: Store::Memory(store),
            budget,
            taken: 0,
            refusal: None,
        }
    }

    /// Counts for this budget from now on, also when that is more than it has left.
    pub(crate) fn count_for(&mut self, budget: Arc<Budget>) {
        budget.take_anyway(self.taken);
        if let Some(before) = self.budget.replace(budget) {
            before.give_back(self.taken);
        }
    }

    /// In a file. What is there already counts, even when it is more than the budget has left.
    #[cfg(feature = "durable")]
    pub(crate) fn in_file(store: KeptReplay, budget: Option<Arc<Budget>>) -> Self {
        let taken = store.bytes() + store.len() * OVERHEAD;
        if let Some(budget) = &budget {
            budget.take_anyway(taken);
        }
        Self {
            store: Store::File(store),
            budget,
            taken,
            refusal: None,
        }
    }

    /// Why the message that was to be stored last was refused; `None` when it was not.
    pub(crate) const fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// What of the session's own bounds keeps a message of this length out, if any does.
    fn own_bound(&self, len: usize) -> Option<Refusal> {
        let (messages, bytes) = self.store.bounds();
        if len > bytes {
            return Some(Refusal::Never);
        }
        let is_full = self.len() >= messages || self.bytes().saturating_add(len) > bytes;
        is_full.then_some(Refusal::Own)
    }

    /// Gives back what is not stored any more.
    fn settle(&mut self) {
        let holds = self.bytes() + self.len() * OVERHEAD;
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
        self.refusal = self.own_bound(len);
        if self.refusal.is_some() {
            return None;
        }
        let size = len.checked_add(OVERHEAD)?;
        if self.budget.as_ref().is_some_and(|budget| !budget.take(size)) {
            self.refusal = Some(Refusal::Others);
            return None;
        }
        self.taken += size;
        let place = self.store.inner_mut().reserve(head, len);
        if place.is_none() {
            self.refusal = Some(Refusal::Others);
            self.taken -= size;
            if let Some(budget) = &self.budget {
                budget.give_back(size);
            }
        }
        place
    }

    fn commit(&mut self) {
        self.store.inner_mut().commit();
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.store.inner().after(number)
    }

    fn remove(&mut self, number: u64) {
        self.store.inner_mut().remove(number);
        self.settle();
    }

    fn remove_through(&mut self, number: u64) {
        self.store.inner_mut().remove_through(number);
        self.settle();
    }

    fn mark_repeated(&mut self, number: u64) {
        self.store.inner_mut().mark_repeated(number);
    }

    fn kept(&self) -> u64 {
        self.store.inner().kept()
    }

    fn len(&self) -> usize {
        self.store.inner().len()
    }

    fn bytes(&self) -> usize {
        self.store.inner().bytes()
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
pub(crate) enum Incoming {
    /// It waits in a connection, and comes again when that ends.
    #[default]
    Memory,
    /// It is in a file as well.
    #[cfg(feature = "durable")]
    File(Box<KeptInbox>),
}

impl Incoming {
    /// The place of the session in its file, if it has one.
    #[cfg(feature = "durable")]
    pub(crate) fn book(&self) -> Option<&SessionBook> {
        match self {
            Self::Memory => None,
            Self::File(inbox) => Some(inbox.book()),
        }
    }

    /// How many messages are not handled, in a file: without one they come again by themselves.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory => 0,
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.len(),
        }
    }

    /// How many bytes of payload are in the file and not handled.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Memory => 0,
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.bytes(),
        }
    }

    /// With which batch all is in the file that was noted down so far.
    pub(crate) fn batch(&self) -> u64 {
        match self {
            Self::Memory => 0,
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.book().cell().batch(),
        }
    }

    /// Whether this batch is in the file.
    pub(crate) fn has_kept(&self, batch: u64) -> bool {
        match self {
            Self::Memory => batch == 0,
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.has_kept(batch),
        }
    }

    /// When no more is to be taken from any client until more is in the file: ready when there is room, or never will be.
    pub(crate) fn room(&self) -> Option<BoxFuture<bool>> {
        match self {
            Self::Memory => None,
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox
                .is_store_crowded()
                .then(|| Box::pin(inbox.store_room()) as BoxFuture<bool>),
        }
    }

    fn inner(&self) -> &dyn Inbox {
        match self {
            Self::Memory => &Volatile,
            #[cfg(feature = "durable")]
            Self::File(inbox) => &**inbox,
        }
    }
}

impl Inbox for Incoming {
    fn put(&mut self, message: Stored<'_>) -> bool {
        match self {
            Self::Memory => Volatile.put(message),
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.put(message),
        }
    }

    fn done_through(&mut self, number: u64) {
        match self {
            Self::Memory => Volatile.done_through(number),
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.done_through(number),
        }
    }

    fn begin_anew(&mut self, began: Trid) {
        match self {
            Self::Memory => Volatile.begin_anew(began),
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.begin_anew(began),
        }
    }

    fn first(&self) -> Option<u64> {
        self.inner().first()
    }

    fn kept(&self) -> (u64, u64) {
        self.inner().kept()
    }

    fn may_open(&self) -> bool {
        self.inner().may_open()
    }

    fn is_durable(&self) -> bool {
        self.inner().is_durable()
    }

    fn unhandled(&self, each: &mut dyn FnMut(Trid, Stored<'_>) -> bool) {
        match self {
            Self::Memory => Volatile.unhandled(each),
            #[cfg(feature = "durable")]
            Self::File(inbox) => inbox.unhandled(each),
        }
    }

    fn handled_before(&mut self, began: Trid, number: u64) {
        match self {
            Self::Memory => Volatile.handled_before(began, number),
            #[cfg(feature = "durable")]
            Self::File(inbox) => Inbox::handled_before(&mut **inbox, began, number),
        }
    }

    fn is_crowded(&self) -> bool {
        match self {
            Self::Memory => false,
            #[cfg(feature = "durable")]
            Self::File(inbox) => Inbox::is_crowded(inbox.as_ref()),
        }
    }
}

/// What has happened to a session is kept, if it is kept in a file. Never waits.
#[inline]
pub(crate) fn keep(session: &StdSession) {
    #[cfg(feature = "durable")]
    if let Some(book) = session.inbox().book() {
        book.keep(session.record());
    }
    #[cfg(not(feature = "durable"))]
    let _ = session;
}

/// A store in memory for the messages of this side.
pub(crate) fn in_memory(settings: &SessionSettings, budget: Option<Arc<Budget>>) -> Box<StdSession> {
    let store = HeapReplay::new(settings.messages, settings.bytes);
    Box::new(Session::new(Outgoing::new(store, budget), Incoming::default()))
}
