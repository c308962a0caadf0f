//! Sessions that outlive the process of a service: a store in one file, on the embedded database redb.
//!
//! A service that keeps its sessions here goes on with all of them when it starts again, also after
//! `kill -9`: nothing is lost that a client was told to be received, and nothing is told before it is
//! in the file (PROTOCOL ).
//!
//! # How it is driven
//!
//! [`DurableStore::open`] gives the store and the sessions it has kept. [`DurableStore::begin`] gives the
//! stores for a new one. These, [`KeptReplay`] and [`KeptInbox`], note down what happens to them and never
//! wait for the disk: one thread writes what all sessions have noted down since its last commit in one
//! transaction (group commit). What is not in the file yet does not leave, and is not told: the engine
//! asks [`Replay::kept`] and [`Inbox::kept`]. So whoever drives a connection
//!
//! 1. calls [`SessionBook::keep`] after each use of the engine, under the same lock;
//! 2. is called by [`SessionBook::on_kept`] when more is in the file, and looks at the engine again;
//! 3. waits for [`SessionBook::kept`] between [`Session::welcome`] or [`Session::begin_with`] and the
//!    acceptance;
//! 4. takes no more messages while [`DurableStore::is_crowded`], until [`DurableStore::room`]; and none of a client
//!    while its [`KeptInbox::is_crowded`], until enough of that is handled. What comes meanwhile waits, within the
//!    credit of the client ([`Connection::keep_frame`](diset_proto::Connection::keep_frame)); control frames do not. A message that is
//!    taken all the same may be refused, and ends its connection as [`Busy`](diset_proto::Code::Busy).
//!
//! After a restart the messages that were received and not handled come with each session, in order:
//! [`RestoredSession::unhandled`]. They may have been handled before, so they count as repeated. A handler
//! that uses [`SessionBook::transact`] sees none twice.
//!
//! # The file
//!
//! It holds secrets (tokens) and messages as they are: it is made readable for its owner alone. Tables
//! whose names begin with `diset.` belong to the store: a [`Transaction`] does not give them out. All others are free for
//! the handlers of the service. What is written is synchronised with the disk at each commit.

mod book;
mod changes;
mod error;
mod file;
mod journal;
mod keeper;
mod kept;
mod layout;
mod restore;
#[cfg(test)]
mod tests;
mod transaction;
mod write;

use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use diset_proto::store::{HeapReplay, Inbox, Replay, Stored, Volatile};
use diset_proto::{BadRecord, Key, Outcome, ServiceName, Session, SessionRecord, Trid};
pub use redb;
use redb::ReadTransaction;
use tokio::sync::watch;

pub use self::book::SessionBook;
pub use self::error::{StoreError, TransactError};
use self::file::Opener;
pub(crate) use self::file::Place;
use self::journal::{Cell, Journal, Progress, Shared, lock};
use self::keeper::{Job, Keeper};
pub use self::kept::{KeptInbox, KeptReplay};
use self::layout::Head;
pub use self::transaction::{TableError, Transaction};
use crate::service::SessionId;

/// How much a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "settings that are written out, with a default")]
pub struct StoreBounds {
    /// For each session: how many messages that were sent and have no outcome.
    pub replay_messages: usize,
    /// For each session: how many bytes of payload these have.
    pub replay_bytes: usize,
    /// For each session: how many messages that were received and are not handled. It must be at least
    /// twice what the service grants as credit, or connections end; see [`KeptInbox::is_crowded`].
    pub inbox_messages: usize,
    /// For each session: how many bytes of payload these have.
    pub inbox_bytes: usize,
    /// How many bytes, in all sessions together, may wait to be written.
    pub journal_bytes: usize,
    /// How many bytes of the file the database holds in memory.
    pub cache_bytes: usize,
}

impl Default for StoreBounds {
    /// For each session 1,000 messages and 1 MiB of what is sent, twice the credit of
    /// [`Limits::SERVER`](diset_proto::Limits::SERVER) of what is received; 64 MiB that wait, 16 MiB of cache.
    fn default() -> Self {
        Self {
            replay_messages: 1000,
            replay_bytes: 1 << 20,
            inbox_messages: 32 * 1024,
            inbox_bytes: 1 << 20,
            journal_bytes: 64 << 20,
            cache_bytes: 16 << 20,
        }
    }
}

/// A session as it was kept.
#[derive(Debug)]
#[non_exhaustive]
pub struct RestoredSession {
    /// Whose it is.
    pub id: SessionId,
    /// Its newest connection.
    pub trid: Trid,
    /// For how long it has had no connection, as [`SessionBook::left`] told. Only the time counts for which the
    /// store was open: its client could not come otherwise. Nothing when it had one at the end of the last
    /// process. Up to a minute may be missing for each process that was killed.
    pub away: Duration,
    record: SessionRecord,
    replay: KeptReplay,
    inbox: KeptInbox,
    /// Up to where it is handled; the record may be behind.
    processed: u64,
}

impl RestoredSession {
    /// The session's place in the store; [`SessionBook::expected`] says under which principal it may
    /// come back.
    pub const fn book(&self) -> &SessionBook {
        self.inbox.book()
    }

    /// What it has received and not handled, in the order in which it is to be handled, before all that
    /// comes: a copy of what is in its inbox.
    pub fn unhandled(&self) -> Vec<Unhandled> {
        let copy = |(began, message): (Trid, Stored<'_>)| Unhandled {
            began,
            number: message.number,
            key: message.key,
            payload: message.payload.into(),
        };
        self.inbox.waiting().map(copy).collect()
    }

    /// The session. `wrap` puts its stores into others, if a service has such.
    ///
    /// # Errors
    /// [`BadRecord`]: never for what [`DurableStore::open`] gave.
    pub fn into_session<R: Replay, I: Inbox>(
        self,
        wrap: impl FnOnce(KeptReplay, KeptInbox) -> (R, I),
    ) -> Result<Session<R, I>, BadRecord> {
        let (replay, inbox) = wrap(self.replay, self.inbox);
        let mut session = Session::restore(&self.record, replay, inbox)?;
        session.settle(self.processed, Outcome::Ok);
        Ok(session)
    }
}

/// A message that was received and is not handled, after a restart. It may have been handled before.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unhandled {
    /// What [`Session::began`] was when it came. If it is another now, the session has begun anew since:
    /// when the message is handled tell [`KeptInbox::handled_before`], not the session.
    pub began: Trid,
    /// Its number.
    pub number: u64,
    /// Its definition.
    pub key: Key,
    /// Its payload.
    pub payload: Box<[u8]>,
}

/// The payload does not show.
impl fmt::Debug for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "message {} of {} bytes of {}",
            self.number,
            self.payload.len(),
            self.began
        )
    }
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCounters {
    /// Transactions that are in the file.
    pub transactions: u64,
    /// Changes of sessions that were noted down.
    pub changes: u64,
}

/// Keeps the sessions of one service in a file. Cheap to clone.
///
/// When the last clone is dropped what waits is written, which takes a commit, and the file is closed.
/// Sessions that are still there then keep nothing more.
#[derive(Clone)]
pub struct DurableStore(Arc<Owner>);

/// Ends the thread.
struct Owner {
    shared: Arc<Shared>,
    keeper: Keeper,
    bounds: StoreBounds,
}

impl DurableStore {
    /// Opens the store of this service, or makes it, and gives back all sessions that it keeps. Takes
    /// time: it reads and checks the whole file. Call it before the service starts.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong and what to do. The file is as it was.
    pub fn open(
        path: impl AsRef<Path>,
        service: ServiceName<'_>,
        bounds: StoreBounds,
    ) -> Result<(Self, Vec<RestoredSession>), StoreError> {
        Self::open_by(Opener::file(path.as_ref(), bounds.cache_bytes), service, bounds)
    }

    fn open_by(
        opener: Opener,
        service: ServiceName<'_>,
        bounds: StoreBounds,
    ) -> Result<(Self, Vec<RestoredSession>), StoreError> {
        let (database, contents) = restore::open(&opener, service)?;
        let shared = Arc::new(Shared {
            journal: Mutex::new(Journal::new()),
            work: Condvar::new(),
            waiting: AtomicUsize::new(0),
            max_waiting: bounds.journal_bytes,
            progress: watch::Sender::new(Progress::default()),
            failure: Mutex::new(None),
            bytes: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            newest: AtomicU64::new(contents.newest.number()),
            next_id: AtomicU64::new(contents.next_id),
            uptime_before: contents.uptime,
            opened: crate::clock::now(),
            transactions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        });
        let sessions = contents.restore(&shared, &bounds)?;
        let keeper = Keeper::start(Arc::clone(&shared), opener, database)?;
        let owner = Owner { shared, keeper, bounds };
        Ok((Self(Arc::new(owner)), sessions))
    }

    /// The stores of a new session. It is in the file when [`SessionBook::keep`] was called for it.
    pub fn begin(&self, id: SessionId) -> (KeptReplay, KeptInbox) {
        let shared = &self.0.shared;
        let head = Head {
            principal: *id.principal.as_bytes(),
            identity: *id.identity.as_bytes(),
            left_at: None,
            trid: 0,
            next_key: None,
            record: Session::new(HeapReplay::new(0, 0), Volatile).record(),
        };
        let bounds = &self.0.bounds;
        let cell = Cell::new(Arc::clone(shared), shared.next_id.fetch_add(1, Relaxed), head, false);
        let replay = KeptReplay::new(Arc::clone(&cell), bounds.replay_messages, bounds.replay_bytes);
        (replay, KeptInbox::new(cell, Trid::new(0), bounds))
    }

    /// The highest trid that [`SessionBook::connected`] was ever told of: those of this run must be higher.
    pub fn newest_trid(&self) -> Trid {
        Trid::new(self.0.shared.newest.load(Relaxed))
    }

    /// Writes for how long the store has been open, that sessions do not stay away for ever when processes are
    /// killed.
    pub(crate) fn note_uptime(&self) {
        if !self.is_empty() {
            self.0.shared.note_uptime();
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.0.shared.sessions.load(Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of payload all sessions store.
    pub fn bytes(&self) -> usize {
        self.0.shared.bytes.load(Relaxed)
    }

    /// Whether more than half of the journal is taken: the disk is slower than the peers. Who takes messages of
    /// them is to wait for [`room`](Self::room).
    pub fn is_crowded(&self) -> bool {
        self.0.shared.is_crowded()
    }

    /// Ready when the store is not crowded.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    ///
    /// # Cancel safety
    /// Cancel safe: it only waits.
    pub async fn room(&self) -> Result<(), StoreError> {
        self.0.shared.room().await
    }

    /// Why nothing is kept just now; `None` when all is well. The store tries again by itself, and what
    /// waits stays in memory.
    pub fn failure(&self) -> Option<StoreError> {
        lock(&self.0.shared.failure).clone()
    }

    /// What the store has done.
    pub fn counters(&self) -> StoreCounters {
        StoreCounters {
            transactions: self.0.shared.transactions.load(Relaxed),
            changes: self.0.shared.changes.load(Relaxed),
        }
    }

    /// A look at the file as it is now, for tables of the service's own. As long as it lives, the space
    /// of what is removed is not used again.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be read now.
    pub fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.0.keeper.read()
    }

    /// Runs the closure in a transaction, for tables of the service's own, as
    /// [`SessionBook::transact`] does, but without a message.
    ///
    /// # Errors
    /// [`TransactError`]: nothing of it is kept.
    ///
    /// # Cancel safety
    /// Not cancel safe: when the future is dropped it may be committed or not.
    pub async fn write<T, E, F>(&self, run: F) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, result) = Job::new(None, run);
        if self.0.shared.order(job).is_err() {
            return Err(TransactError::Store(StoreError::Closed));
        }
        result.await.unwrap_or(Err(TransactError::Store(StoreError::Closed)))
    }

    /// As [`write`](Self::write), for a message of a session of which nothing is kept: if none up to this number was
    /// committed before, as `committed` says.
    pub(crate) async fn write_once<T, E, F>(
        &self,
        committed: &Arc<AtomicU64>,
        number: u64,
        run: F,
    ) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let noted = Arc::clone(committed);
        // One after the other, in the thread that writes.
        let once = move |transaction: &Transaction<'_>| {
            if noted.load(Relaxed) >= number {
                return Err(None);
            }
            let value = run(transaction).map_err(Some)?;
            noted.store(number, Relaxed);
            Ok(value)
        };
        self.write(once).await.map_err(|error| {
            let error = match error {
                TransactError::Handler(None) => return TransactError::NotThere,
                TransactError::Handler(Some(error)) => return TransactError::Handler(error),
                TransactError::Store(error) => TransactError::Store(error),
                _ => TransactError::GivenUp,
            };
            // It was noted, perhaps, and then not committed.
            let _ = committed.compare_exchange(number, number.saturating_sub(1), Relaxed, Relaxed);
            error
        })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.keeper.end(&self.shared);
    }
}

impl fmt::Debug for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableStore")
            .field("sessions", &self.len())
            .field("bytes", &self.bytes())
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}
