//! A disk that fails: nothing counts as kept, it is told, and all of it is written when the disk is well again.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::io;
use std::sync::Arc;

use diset_proto::store::{Inbox, Replay, Stored, Unsure};
use diset_proto::{Identity, Key, ServiceName, Session, Trid};
use redb::backends::InMemoryBackend;
use redb::{StorageBackend, WriteTransaction};

use super::file::{Opener, open_backend};
use super::{DurableStore, KeptInbox, KeptReplay, RestoredSession, StoreBounds, StoreError, TransactError, restore};
use crate::service::SessionId;

/// A disk in memory, that outlives the database, and fails on demand.
#[derive(Debug, Clone)]
struct Disk {
    memory: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn new() -> Self {
        Self {
            memory: Arc::new(InMemoryBackend::new()),
            full: Arc::new(AtomicBool::new(false)),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.full.load(SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn open(&self, bounds: StoreBounds) -> (DurableStore, Vec<RestoredSession>) {
        let disk = self.clone();
        let opener = Opener::by(move |make| {
            let is_new = disk.memory.len()? == 0;
            let database = open_backend(disk.clone(), 1 << 20)?;
            if is_new && make {
                restore::make_tables(&database)?;
            }
            Ok(database)
        });
        let name = ServiceName::parse("Test/Disk").expect("a name");
        DurableStore::open_by(opener, name, bounds).expect("opened")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

fn stored(number: u64, payload: &[u8]) -> Stored<'_> {
    Stored {
        number,
        key: Key::from_bytes([3; 16]),
        unsure: Unsure::Report,
        repeated: false,
        payload,
    }
}

fn begin(store: &DurableStore) -> Session<KeptReplay, KeptInbox> {
    let id = SessionId {
        principal: [1; 32].into(),
        identity: Identity::from_bytes([1; 16]),
    };
    let (replay, inbox) = store.begin(id);
    let mut session = Session::new(replay, inbox);
    // Of a beginning that the record does not know: the engine is not here to count.
    session.inbox_mut().begin_anew(Trid::new(1));
    session
}

fn seal(session: &Session<KeptReplay, KeptInbox>) {
    session.inbox().book().keep(session.record());
}

/// Waits until the store says that it fails, or that it does not.
async fn until(store: &DurableStore, failure: Option<StoreError>) {
    while store.failure() != failure {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_told() {
    let disk = Disk::new();
    let (store, _) = disk.open(StoreBounds::default());
    let mut session = begin(&store);
    assert!(session.inbox_mut().put(stored(1, b"before")));
    seal(&session);
    let book = session.inbox().book().clone();
    book.kept().await.expect("kept");
    let before = store.counters().transactions;

    disk.full.store(true, SeqCst);
    assert!(session.inbox_mut().put(stored(2, b"meanwhile")));
    seal(&session);
    until(&store, Some(StoreError::DiskFull)).await;
    // What comes later waits behind it, and handlers learn that nothing is committed.
    assert!(session.inbox_mut().put(stored(3, b"later")));
    seal(&session);
    let handled = book.transact(Trid::new(1), 1, |_: &WriteTransaction| Ok::<(), String>(()));
    let handled = handled.await;
    assert!(
        matches!(handled, Err(TransactError::Store(StoreError::DiskFull))),
        "{handled:?}"
    );
    assert_eq!(store.counters().transactions, before);
    let kept = book.kept();
    tokio::pin!(kept);
    let waits = tokio::select! {
        biased;
        _ = &mut kept => false,
        () = tokio::task::yield_now() => true,
    };
    assert!(waits, "nothing is kept");

    disk.full.store(false, SeqCst);
    kept.await.expect("kept");
    assert_eq!(store.failure(), None);
    drop((store, session, book));
    let (_store, mut sessions) = disk.open(StoreBounds::default());
    let unhandled = sessions.pop().expect("a session").unhandled;
    let unhandled: Vec<_> = unhandled
        .iter()
        .map(|message| (message.number, &*message.payload))
        .collect();
    assert_eq!(
        unhandled,
        [(1, &b"before"[..]), (2, &b"meanwhile"[..]), (3, &b"later"[..])]
    );
}

#[tokio::test]
async fn a_disk_that_stays_full_holds_up_who_sends() {
    let disk = Disk::new();
    let bounds = StoreBounds {
        journal_bytes: 10_000,
        ..StoreBounds::default()
    };
    let (store, _) = disk.open(bounds);
    let mut session = begin(&store);
    disk.full.store(true, SeqCst);
    let mut number = 0;
    while session.inbox_mut().put(stored(number + 1, &[0; 100])) {
        number += 1;
        seal(&session);
    }
    assert!((20..60).contains(&number), "{number} messages in 10,000 bytes");
    assert!(store.is_crowded());
    disk.full.store(false, SeqCst);
    store.room().await.expect("room");
    seal(&session);
    session.inbox().book().kept().await.expect("kept");
    assert!(session.inbox_mut().put(stored(number + 1, &[0; 100])));
    // A disk that is full at the end: what waits is not kept, and the thread ends.
    disk.full.store(true, SeqCst);
    seal(&session);
    let book = session.inbox().book().clone();
    let kept = book.kept();
    drop(store);
    assert_eq!(kept.await, Err(StoreError::Closed));
}

/// What is handled before it was written leaves nothing in the file.
#[tokio::test]
async fn what_undoes_itself_is_not_written() {
    let disk = Disk::new();
    let (store, _) = disk.open(StoreBounds::default());
    let mut session = begin(&store);
    for number in 1..=10 {
        assert!(session.inbox_mut().put(stored(number, b"short-lived")));
        assert!(
            session
                .replay_mut()
                .reserve(stored(number, &[]), 5)
                .map(|place| place.fill(1))
                .is_some()
        );
        session.replay_mut().commit();
    }
    assert_eq!(store.bytes(), 10 * 16);
    session.inbox_mut().done_through(9);
    session.replay_mut().remove(10);
    session.replay_mut().remove_through(9);
    seal(&session);
    let book = session.inbox().book().clone();
    book.kept().await.expect("kept");
    assert_eq!((store.bytes(), book.bytes()), (11, 11));
    let read = store.read().expect("read");
    use redb::ReadableTableMetadata;
    assert_eq!(
        read.open_table(super::layout::INBOX)
            .expect("there")
            .len()
            .expect("read"),
        1
    );
    assert_eq!(
        read.open_table(super::layout::REPLAY)
            .expect("there")
            .len()
            .expect("read"),
        0
    );
    assert!(!store.is_crowded());
    assert_eq!(session.replay().kept(), 0, "the record says so");
}
