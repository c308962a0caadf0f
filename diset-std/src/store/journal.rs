//! What waits to be written: one cell for each session, and the list of those that have changed.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use diset_proto::{Instant, SessionRecord, Trid};
use tokio::sync::watch;

use super::changes::{Change, Changes, cost};
use super::error::StoreError;
use super::keeper::Job;
use super::layout::Head;

/// Called when more is kept.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// What nobody guards against: a panic under the lock leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the sessions of a store and its keeper share.
pub(super) struct Shared {
    pub(super) journal: Mutex<Journal>,
    /// There is something to do for the keeper.
    pub(super) work: Condvar,
    /// Bytes in the journal, also those that are being written.
    pub(super) waiting: AtomicUsize,
    pub(super) max_waiting: usize,
    pub(super) progress: watch::Sender<Progress>,
    /// Why nothing is kept just now.
    pub(super) failure: Mutex<Option<StoreError>>,
    /// Bytes of payload in all sessions.
    pub(super) bytes: AtomicUsize,
    pub(super) sessions: AtomicUsize,
    /// The highest trid that a session has seen.
    pub(super) newest: AtomicU64,
    /// For the next session.
    pub(super) next_id: AtomicU64,
    /// For how many milliseconds the store had been open before.
    pub(super) uptime_before: u64,
    pub(super) opened: Instant,
    pub(super) transactions: AtomicU64,
    pub(super) changes: AtomicU64,
}

/// How far the keeper has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to this batch is kept.
    pub(super) batch: u64,
    /// Nothing more will be.
    pub(super) closed: bool,
}

/// What the keeper is to do.
pub(super) struct Journal {
    pub(super) changed: Vec<Arc<Cell>>,
    pub(super) jobs: VecDeque<Job>,
    /// The one that is being collected.
    pub(super) batch: u64,
    /// The uptime is to be written.
    pub(super) note_uptime: bool,
    pub(super) closing: bool,
}

impl Journal {
    pub(super) const fn new() -> Self {
        Self {
            changed: Vec::new(),
            jobs: VecDeque::new(),
            batch: 1,
            note_uptime: false,
            closing: false,
        }
    }
}

impl Shared {
    /// For how many milliseconds the store has been open, in this process and those before. Nobody sets it back or
    /// forth, as may happen to the time of day.
    pub(super) fn uptime(&self) -> u64 {
        let since = crate::clock::now().since(self.opened).as_millis();
        self.uptime_before
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// The uptime is to be written, also when nothing has changed.
    pub(super) fn note_uptime(&self) {
        lock(&self.journal).note_uptime = true;
        self.work.notify_one();
    }

    /// Takes room in the journal; false when there is none.
    fn take_room(&self, bytes: usize) -> bool {
        let taken = self.waiting.fetch_update(Relaxed, Relaxed, |waiting| {
            waiting.checked_add(bytes).filter(|sum| *sum <= self.max_waiting)
        });
        taken.is_ok()
    }

    /// Whether the journal is more than half full.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Relaxed) > self.max_waiting / 2
    }

    /// Ready when the journal is not crowded.
    pub(super) async fn room(&self) -> Result<(), StoreError> {
        let mut progress = self.progress.subscribe();
        let enough = |progress: &Progress| progress.closed || !self.is_crowded();
        match progress.wait_for(enough).await {
            Ok(progress) if !progress.closed => Ok(()),
            _ => Err(StoreError::Closed),
        }
    }

    pub(super) fn give_room(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Relaxed);
    }

    /// Orders something from the keeper.
    pub(super) fn order(&self, job: Job) -> Result<(), Job> {
        let mut journal = lock(&self.journal);
        if journal.closing {
            return Err(job);
        }
        journal.jobs.push_back(job);
        self.work.notify_one();
        Ok(())
    }
}

/// One session, shared between its stores, its books and the keeper.
pub(crate) struct Cell {
    pub(super) shared: Arc<Shared>,
    /// In the file.
    pub(super) id: u64,
    state: Mutex<State>,
    kept: Mutex<Counters>,
    bytes: AtomicUsize,
}

/// What of a session is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) stored: u64,
    pub(super) began: Trid,
    pub(super) received: u64,
    pub(super) processed: u64,
}

impl Counters {
    fn of(record: &SessionRecord) -> Self {
        Self {
            stored: record.stored(),
            began: record.began(),
            received: record.received(),
            processed: record.processed(),
        }
    }
}

struct State {
    /// What has changed since the last record.
    staged: Vec<Change>,
    /// What has changed before it, and waits for the keeper.
    changes: Changes,
    /// Bytes of the journal that `changes` takes.
    cost: usize,
    head: Head,
    head_changed: bool,
    in_list: bool,
    /// The batch with which all that has changed is kept.
    batch: u64,
    /// It is one of the sessions of the store.
    counted: bool,
    forgotten: bool,
    waker: Option<Waker>,
}

impl State {
    /// Gives up what has changed; how many bytes of the journal that frees.
    fn give_up(&mut self) -> usize {
        let mut freed = core::mem::take(&mut self.cost);
        for change in self.staged.drain(..) {
            if let Change::Stored(_, row) | Change::Received(_, _, row) = change {
                freed += cost(&row);
            }
        }
        self.changes = Changes::default();
        freed
    }
}

/// What the keeper takes of a session.
pub(super) struct Taken {
    pub(super) cell: Arc<Cell>,
    pub(super) changes: Changes,
    /// The session's row; `None` when it is to be forgotten.
    pub(super) head: Option<Head>,
    pub(super) cost: usize,
}

impl Cell {
    /// `there`: it is in the file.
    pub(super) fn new(shared: Arc<Shared>, id: u64, head: Head, there: bool) -> Arc<Self> {
        shared.sessions.fetch_add(usize::from(there), Relaxed);
        let kept = Counters::of(&head.record);
        Arc::new(Self {
            shared,
            id,
            state: Mutex::new(State {
                staged: Vec::new(),
                changes: Changes::default(),
                cost: 0,
                head,
                head_changed: false,
                in_list: false,
                batch: 0,
                counted: there,
                forgotten: false,
                waker: None,
            }),
            kept: Mutex::new(kept),
            bytes: AtomicUsize::new(0),
        })
    }

    pub(super) fn kept(&self) -> Counters {
        *lock(&self.kept)
    }

    /// Takes room for a message in the journal.
    pub(super) fn take_room(&self, len: usize) -> bool {
        self.shared.take_room(len)
    }

    /// Notes a change; it counts with the next record.
    pub(super) fn stage(&self, change: Change) {
        let mut state = lock(&self.state);
        if state.forgotten {
            if let Change::Stored(_, row) | Change::Received(_, _, row) = &change {
                self.shared.give_room(cost(row));
            }
            return;
        }
        state.staged.push(change);
    }

    /// There were so many bytes of payload, and now there are so many.
    pub(super) fn count_bytes(&self, before: usize, after: usize) {
        let state = lock(&self.state);
        if state.forgotten {
            return;
        }
        if after >= before {
            self.bytes.fetch_add(after - before, Relaxed);
            self.shared.bytes.fetch_add(after - before, Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Relaxed);
            self.shared.bytes.fetch_sub(before - after, Relaxed);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// All that was staged is to be kept, together with this record.
    pub(super) fn seal(self: &Arc<Self>, record: SessionRecord) {
        let mut state = lock(&self.state);
        if state.forgotten || (state.staged.is_empty() && !state.head_changed && state.head.record == record) {
            return;
        }
        state.head.record = record;
        state.head_changed = true;
        if !core::mem::replace(&mut state.counted, true) {
            self.shared.sessions.fetch_add(1, Relaxed);
        }
        for change in core::mem::take(&mut state.staged) {
            if let Change::Stored(_, row) | Change::Received(_, _, row) = &change {
                state.cost += cost(row);
            }
            let freed = state.changes.add(change);
            state.cost -= freed;
            self.shared.give_room(freed);
            self.shared.changes.fetch_add(1, Relaxed);
        }
        self.enlist(&mut state);
    }

    /// Changes what is kept besides the record; it counts with the next record.
    pub(super) fn change_head(&self, change: impl FnOnce(&mut Head)) {
        let mut state = lock(&self.state);
        change(&mut state.head);
        state.head_changed = true;
    }

    pub(super) fn look_at_head<T>(&self, look: impl FnOnce(&Head) -> T) -> T {
        look(&lock(&self.state).head)
    }

    pub(super) fn set_waker(&self, waker: Option<Waker>) {
        lock(&self.state).waker = waker;
    }

    pub(super) fn forget(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if core::mem::replace(&mut state.forgotten, true) {
            return;
        }
        self.shared.give_room(state.give_up());
        self.shared.bytes.fetch_sub(self.bytes.swap(0, Relaxed), Relaxed);
        state.waker = None;
        if core::mem::take(&mut state.counted) {
            self.shared.sessions.fetch_sub(1, Relaxed);
            self.enlist(&mut state);
        }
    }

    fn enlist(self: &Arc<Self>, state: &mut State) {
        if core::mem::replace(&mut state.in_list, true) {
            return;
        }
        let mut journal = lock(&self.shared.journal);
        state.batch = journal.batch;
        journal.changed.push(Arc::clone(self));
        self.shared.work.notify_one();
    }

    /// The batch with which everything that was sealed is kept.
    pub(crate) fn batch(&self) -> u64 {
        lock(&self.state).batch
    }

    /// What is to be written.
    pub(super) fn take(self: Arc<Self>) -> Taken {
        let mut state = lock(&self.state);
        state.in_list = false;
        state.head_changed = false;
        let changes = core::mem::take(&mut state.changes);
        let cost = core::mem::take(&mut state.cost);
        let head = (!state.forgotten).then(|| state.head.clone());
        drop(state);
        Taken {
            cell: self,
            changes,
            head,
            cost,
        }
    }

    /// This is in the file now.
    pub(super) fn publish(&self, record: &SessionRecord) {
        let mut kept = lock(&self.kept);
        let mut now = Counters::of(record);
        if now.began == kept.began {
            // A handler's transaction may be ahead.
            now.processed = now.processed.max(kept.processed);
        }
        *kept = now;
    }

    /// A handler's transaction has dealt with this message, and all before it.
    pub(super) fn publish_handled(&self, began: Trid, number: u64) {
        let mut kept = lock(&self.kept);
        if kept.began == began {
            kept.processed = kept.processed.max(number);
        }
    }

    pub(super) fn wake(&self) {
        let waker = lock(&self.state).waker.clone();
        if let Some(waker) = waker {
            waker();
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.give_room(state.give_up());
    }
}
