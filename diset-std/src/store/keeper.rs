//! The thread that writes: everything that has changed since its last commit in one transaction.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use diset_proto::Trid;
use redb::{CommitError, Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::oneshot;

use super::error::{StoreError, TransactError};
use super::file::Opener;
use super::journal::{Cell, Journal, Shared, Taken, lock};
use super::transaction::Transaction;
use super::write;

/// How long the keeper waits after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How often a failure that lasts is told in the log.
const TELL: Duration = Duration::from_secs(10);
/// How often the uptime is written when there is something else to write, in milliseconds.
const UPTIME: u64 = 1000;

/// A transaction of a handler.
pub(super) struct Job {
    /// The message that it deals with.
    message: Option<(Arc<Cell>, Trid, u64)>,
    run: Box<dyn FnOnce(Given<'_>) -> Option<Finish> + Send>,
}

/// What a job gets.
enum Given<'t> {
    Transaction(&'t WriteTransaction),
    NotThere,
    Failed(StoreError),
}

/// Tells the handler how the commit went.
type Finish = Box<dyn FnOnce(Result<(), Unkept>) + Send>;

/// Why a transaction was not committed.
enum Unkept {
    /// By what the handler did with it.
    Poisoned,
    Failed(StoreError),
}

impl From<CommitError> for Unkept {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::TransactionPoisoned => Self::Poisoned,
            error => Self::Failed(error.into()),
        }
    }
}

impl From<StoreError> for Unkept {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What a job answers.
type Answer<T, E> = Result<T, TransactError<E>>;

impl Job {
    pub(super) fn new<T, E, F>(
        message: Option<(Arc<Cell>, Trid, u64)>,
        run: F,
    ) -> (Self, oneshot::Receiver<Answer<T, E>>)
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = move |given: Given<'_>| -> Option<Finish> {
            let error = match given {
                Given::NotThere => TransactError::NotThere,
                Given::Failed(error) => TransactError::Store(error),
                Given::Transaction(transaction) => {
                    match catch_unwind(AssertUnwindSafe(|| run(&Transaction::new(transaction)))) {
                        Ok(Ok(value)) => {
                            return Some(Box::new(move |committed| {
                                // Perhaps nobody wants to know any more.
                                let _ = answer.send(committed.map(|()| value).map_err(|unkept| match unkept {
                                    Unkept::Poisoned => TransactError::GivenUp,
                                    Unkept::Failed(error) => TransactError::Store(error),
                                }));
                            }));
                        }
                        Ok(Err(error)) => TransactError::Handler(error),
                        Err(_) => TransactError::GivenUp,
                    }
                }
            };
            let _ = answer.send(Err(error));
            None
        };
        let run = Box::new(run);
        (Self { message, run }, answered)
    }
}

/// The thread, and the database that it shares with readers.
pub(super) struct Keeper {
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Not there after a failure, until it is opened again.
    database: Arc<Mutex<Option<Database>>>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>, opener: Opener, database: Database) -> Result<Self, StoreError> {
        let database = Arc::new(Mutex::new(Some(database)));
        let mut work = Work {
            shared,
            opener,
            database: Arc::clone(&database),
            newest: 0,
            uptime: 0,
            told: None,
        };
        let thread = thread::Builder::new()
            .name("diset-store".into())
            .spawn(move || work.run())?;
        Ok(Self {
            thread: Mutex::new(Some(thread)),
            database,
        })
    }

    pub(super) fn read(&self) -> Result<ReadTransaction, StoreError> {
        match &*lock(&self.database) {
            Some(database) => Ok(database.begin_read()?),
            None => Err(StoreError::Io("it is being opened again".into())),
        }
    }

    /// Writes what waits, and ends.
    pub(super) fn end(&self, shared: &Shared) {
        lock(&shared.journal).closing = true;
        shared.work.notify_one();
        let thread = lock(&self.thread).take();
        // Not when a closure on the thread itself has dropped the store.
        if let Some(thread) = thread.filter(|handle| handle.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the store has panicked");
        }
    }
}

/// What the thread has.
struct Work {
    shared: Arc<Shared>,
    opener: Opener,
    database: Arc<Mutex<Option<Database>>>,
    /// The trid that stands in the file.
    newest: u64,
    /// The uptime that stands in the file.
    uptime: u64,
    /// When a failure was told last.
    told: Option<Instant>,
}

/// What is written together.
struct Batch {
    number: u64,
    sessions: Vec<Taken>,
}

impl Batch {
    /// Of which nobody is told.
    const fn empty() -> Self {
        let sessions = Vec::new();
        Self { number: 0, sessions }
    }
}

impl Work {
    fn run(&mut self) {
        while let Some((batch, job)) = self.next() {
            let written = self.commit(&batch, job);
            if let Err(error) = written
                && !self.insist(&batch, error)
            {
                break;
            }
        }
        // What waits has its time by now, or never will: then this is missing as well.
        if self.shared.sessions.load(Relaxed) > 0 && lock(&self.shared.failure).is_none() {
            let _ = self.try_transact(&Batch::empty(), None);
        }
        *lock(&self.database) = None;
        self.shared.progress.send_modify(|progress| progress.closed = true);
        let mut journal = lock(&self.shared.journal);
        // Also when a failure has ended this: what comes now is too late.
        journal.closing = true;
        journal.jobs.clear();
        journal.changed = Vec::new();
    }

    /// Tries again to write what could not be written, until it is in the file: nothing more is collected
    /// before, so it stays in order, and bounded. When the store is closed it tries once more; false when it
    /// has failed, and nothing may be written behind the gap.
    fn insist(&mut self, batch: &Batch, mut error: StoreError) -> bool {
        let mut wait = RETRY.0;
        loop {
            let is_last = !self.retry_after(wait, &error);
            wait = (wait * 2).min(RETRY.1);
            match self.commit(batch, None) {
                Ok(()) => {
                    self.recovered();
                    return true;
                }
                Err(error) if is_last => {
                    tracing::error!(%error, "the store is closed, and what waited is not kept");
                    return false;
                }
                Err(again) => error = again,
            }
        }
    }

    /// Waits for something to do; `None` when the store is closed.
    fn next(&self) -> Option<(Batch, Option<Job>)> {
        let idle = |journal: &mut Journal| {
            let is_empty = journal.changed.is_empty() && journal.jobs.is_empty();
            is_empty && !journal.note_uptime && !journal.closing
        };
        let journal = lock(&self.shared.journal);
        let waited = self.shared.work.wait_while(journal, idle);
        let mut journal = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        let job = journal.jobs.pop_front();
        let changed = core::mem::take(&mut journal.changed);
        let notes = core::mem::take(&mut journal.note_uptime);
        if job.is_none() && changed.is_empty() && !notes {
            return None;
        }
        let number = journal.batch;
        journal.batch += 1;
        drop(journal);
        let sessions = changed.into_iter().map(Cell::take).collect();
        Some((Batch { number, sessions }, job))
    }

    /// Writes a batch, with what a handler does; if that fails, without it.
    fn commit(&mut self, batch: &Batch, job: Option<Job>) -> Result<(), StoreError> {
        if let Some(job) = job {
            let message = job.message.clone();
            match self.transact(batch, Some(job))? {
                Some(finish) => {
                    self.publish(batch);
                    if let Some((cell, began, number)) = message {
                        cell.publish_handled(began, number);
                        cell.wake();
                    }
                    finish(Ok(()));
                    return Ok(());
                }
                None if batch.sessions.is_empty() => {
                    self.publish(batch);
                    return Ok(());
                }
                None => {}
            }
        }
        self.transact(batch, None)?;
        self.publish(batch);
        Ok(())
    }

    /// One transaction. With a job: `None` when nothing was committed, which the handler knows.
    fn transact(&mut self, batch: &Batch, job: Option<Job>) -> Result<Option<Finish>, StoreError> {
        let result = self.try_transact(batch, job);
        if result.is_err() {
            // After a failure a database says no more than that; it must be opened again.
            *lock(&self.database) = None;
        }
        result
    }

    fn try_transact(&mut self, batch: &Batch, job: Option<Job>) -> Result<Option<Finish>, StoreError> {
        let (newest, uptime) = (self.shared.newest.load(Relaxed), self.shared.uptime());
        let notes = batch.sessions.is_empty() || uptime.saturating_sub(self.uptime) >= UPTIME;
        let written = self.begin().and_then(|transaction| {
            write::batch(&transaction, &batch.sessions)?;
            if newest > self.newest {
                write::newest(&transaction, newest)?;
            }
            if notes {
                write::uptime(&transaction, uptime)?;
            }
            Ok(transaction)
        });
        let transaction = match (written, job) {
            (Ok(transaction), None) => {
                transaction.commit()?;
                self.committed(newest, notes.then_some(uptime));
                return Ok(None);
            }
            (Err(error), None) => return Err(error),
            (Err(error), Some(job)) => {
                (job.run)(Given::Failed(error.clone()));
                return Err(error);
            }
            (Ok(transaction), Some(job)) => match run(&transaction, job)? {
                Some(finish) => (transaction, finish),
                None => {
                    let aborted = transaction.abort();
                    return aborted.map(|()| None).map_err(StoreError::from);
                }
            },
        };
        let (transaction, finish) = transaction;
        match transaction.commit() {
            Ok(()) => {
                self.committed(newest, notes.then_some(uptime));
                Ok(Some(finish))
            }
            Err(CommitError::TransactionPoisoned) => {
                finish(Err(Unkept::Poisoned));
                Ok(None)
            }
            Err(error) => {
                let error = StoreError::from(error);
                finish(Err(Unkept::Failed(error.clone())));
                Err(error)
            }
        }
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut database = lock(&self.database);
        let database = match &mut *database {
            Some(database) => database,
            closed => closed.insert(self.opener.open(false)?),
        };
        Ok(database.begin_write()?)
    }

    fn committed(&mut self, newest: u64, uptime: Option<u64>) {
        self.newest = newest;
        self.uptime = uptime.unwrap_or(self.uptime);
        self.shared.transactions.fetch_add(1, Relaxed);
    }

    /// Everything in this batch is in the file: who waits for it learns it.
    fn publish(&self, batch: &Batch) {
        for taken in &batch.sessions {
            self.shared.give_room(taken.cost);
            if let Some(head) = &taken.head {
                taken.cell.publish(&head.record);
            }
        }
        self.shared
            .progress
            .send_modify(|progress| progress.batch = batch.number);
        for taken in &batch.sessions {
            taken.cell.wake();
        }
    }

    /// Says what is wrong and waits, while jobs are answered. False when the store is being closed.
    fn retry_after(&mut self, wait: Duration, error: &StoreError) -> bool {
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            tracing::error!(%error, "the store keeps nothing just now, and tries again");
            self.told = Some(Instant::now());
        }
        *lock(&self.shared.failure) = Some(error.clone());
        let until = Instant::now() + wait;
        loop {
            let mut journal = lock(&self.shared.journal);
            if journal.closing {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let Some(job) = journal.jobs.pop_front() else {
                drop(self.shared.work.wait_timeout(journal, left));
                continue;
            };
            drop(journal);
            (job.run)(Given::Failed(error.clone()));
        }
    }

    fn recovered(&mut self) {
        *lock(&self.shared.failure) = None;
        self.told = None;
        tracing::info!("the store keeps again what it is given");
    }
}

/// Runs what a handler does, if its message is still to be handled.
fn run(transaction: &WriteTransaction, job: Job) -> Result<Option<Finish>, StoreError> {
    let there = match &job.message {
        Some((cell, began, number)) => write::take_message(transaction, cell.id, began.number(), *number),
        None => Ok(true),
    };
    match there {
        Ok(true) => Ok((job.run)(Given::Transaction(transaction))),
        Ok(false) => Ok((job.run)(Given::NotThere)),
        Err(error) => {
            (job.run)(Given::Failed(error.clone()));
            Err(error)
        }
    }
}
