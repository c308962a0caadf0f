//! A disk that fails: nothing counts as kept, it is told, and all of it is written when the disk is well again.

#[cfg(feature = "throwaway")]
mod service;

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::io;
use std::sync::Arc;

use diset_proto::store::{HeapReplay, Inbox, Replay, Stored, Unsure, Volatile};
use diset_proto::{
    Admission, ClientConfig, Connection, Deframer, Delivered, Event, GrowBuf, Identity, Instant, Key, Limits,
    MessageOf, NewReason, Schema, ServiceDef, ServiceName, Session, Token, Trid,
};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::file::{Opener, open_backend};
use super::{
    DurableStore, KeptInbox, KeptReplay, RestoredSession, SessionBook, StoreBounds, StoreError, TransactError, restore,
};
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

    fn opener(&self) -> Opener {
        let disk = self.clone();
        Opener::by(move |make| {
            let is_new = disk.memory.len()? == 0;
            let database = open_backend(disk.clone(), 1 << 20)?;
            if is_new && make {
                restore::make_tables(&database)?;
            }
            Ok(database)
        })
    }

    fn open(&self, bounds: StoreBounds) -> (DurableStore, Vec<RestoredSession>) {
        let name = ServiceName::parse("Test/Disk").expect("a name");
        DurableStore::open_by(self.opener(), name, bounds).expect("opened")
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
    let handled = book.transact(Trid::new(1), 1, |_| Ok::<(), String>(()));
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
    let unhandled = sessions.pop().expect("a session").unhandled();
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

/// What could not be written is tried once more when the store is closed, before what came later.
#[tokio::test]
async fn closing_leaves_no_gap() {
    let disk = Disk::new();
    let (store, _) = disk.open(StoreBounds::default());
    let mut session = begin(&store);
    disk.full.store(true, SeqCst);
    assert!(session.inbox_mut().put(stored(1, b"one")));
    seal(&session);
    until(&store, Some(StoreError::DiskFull)).await;
    assert!(session.inbox_mut().put(stored(2, b"two")));
    seal(&session);
    disk.full.store(false, SeqCst);
    drop((store, session));
    let (_store, mut sessions) = disk.open(StoreBounds::default());
    let unhandled = sessions.pop().expect("a session").unhandled();
    let numbers: Vec<_> = unhandled.iter().map(|message| message.number).collect();
    assert_eq!(numbers, [1, 2]);
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

// ── two engines ─────────────────────────────────────────────────────────────────────

#[derive(serde::Serialize, serde::Deserialize, Schema)]
struct Reading {
    value: u32,
}

diset_proto::define_service! { Meter = "Test/Disk"; both: [Reading] }

/// A client and a service on one wire, and the time that both are told.
struct Pair {
    client: Connection<GrowBuf, Session<HeapReplay, Volatile>>,
    service: Connection<GrowBuf, Option<Box<Session<KeptReplay, KeptInbox>>>>,
    to_client: Deframer<GrowBuf>,
    to_service: Deframer<GrowBuf>,
    /// The service's, until a client comes.
    session: Option<Box<Session<KeptReplay, KeptInbox>>>,
    book: SessionBook,
    got: usize,
    now: u64,
}

impl Pair {
    fn new(session: Session<KeptReplay, KeptInbox>) -> Self {
        let config = ClientConfig {
            catalog: Meter::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        let replay = Session::new(HeapReplay::new(100, 10_000), Volatile);
        let (start, room) = (Instant::from_millis(0), || GrowBuf::new(1 << 20));
        let service = Connection::service(start, Meter::CATALOG, Limits::SERVER, room()).expect("settings");
        Self {
            client: Connection::client_in_session(start, &config, room(), replay).expect("settings"),
            service: service.with_sessions(None),
            to_client: Deframer::new(room()),
            to_service: Deframer::new(room()),
            book: session.inbox().book().clone(),
            session: Some(Box::new(session)),
            got: 0,
            now: 0,
        }
    }

    fn seal(&self) {
        if let Some(session) = self.service.session() {
            self.book.keep(session.record());
        }
    }

    /// Both sides write and read, and 30 ms go by.
    fn turn(&mut self) {
        self.now += 30;
        let now = Instant::from_millis(self.now);
        let _ = (self.client.handle_time(now), self.service.handle_time(now));
        let bytes = self.client.transmit().to_vec();
        self.client.transmitted(bytes.len());
        let mut input = bytes.as_slice();
        while let Some(frame) = self.to_service.next(&mut input, self.service.max_frame()) {
            match self.service.handle_frame(now, frame) {
                Some(Event::Proposed(_)) => {
                    let mut session = self.session.take().expect("proposed once");
                    let request = self.service.resume_request().expect("with a session");
                    let token = Token::from_bytes([9; 16]);
                    session.begin_with(request, Trid::new(1), NewReason::First, Some(token));
                    let admission = Admission::new(Trid::new(1));
                    let accepted = self.service.accept_in_session(now, admission, Some(session));
                    assert!(accepted.is_ok());
                }
                Some(Event::Message(message)) => drop(self.service.decode::<Reading>(message).expect("a reading")),
                Some(Event::Dropped(cause)) => panic!("{cause}"),
                _ => {}
            }
        }
        self.seal();
        let bytes = self.service.transmit().to_vec();
        self.service.transmitted(bytes.len());
        let mut input = bytes.as_slice();
        while let Some(frame) = self.to_client.next(&mut input, self.client.max_frame()) {
            match self.client.handle_frame(now, frame) {
                Some(Event::Message(message)) => {
                    self.client.decode::<Reading>(message).expect("a reading");
                    self.got += 1;
                }
                Some(Event::Dropped(cause)) => panic!("{cause}"),
                _ => {}
            }
        }
    }
}

/// PROTOCOL Q-6: what is not in the file is not told, and does not leave.
#[tokio::test]
async fn nothing_is_told_and_nothing_leaves_before_it_is_kept() {
    let disk = Disk::new();
    let (store, _) = disk.open(StoreBounds::default());
    let (replay, inbox) = store.begin(SessionId {
        principal: [1; 32].into(),
        identity: Identity::from_bytes([1; 16]),
    });
    let mut pair = Pair::new(Session::new(replay, inbox));
    for _ in 0..3 {
        pair.turn();
    }
    pair.book.kept().await.expect("kept");
    disk.full.store(true, SeqCst);
    for value in 0..70 {
        let reading = Reading { value };
        pair.client
            .send_acked(Reading::NUMBER, &reading, Unsure::Report)
            .expect("room");
        if value < 5 {
            pair.service
                .send_acked(Reading::NUMBER, &reading, Unsure::Report)
                .expect("room");
        }
    }
    for _ in 0..10 {
        pair.turn();
    }
    until(&store, Some(StoreError::DiskFull)).await;
    assert_eq!(pair.service.session().expect("open").processed(), 70, "all has come");
    assert_eq!((pair.client.delivered(), pair.got), (Delivered::default(), 0));
    disk.full.store(false, SeqCst);
    pair.book.kept().await.expect("kept");
    for _ in 0..3 {
        pair.turn();
    }
    let all = Delivered {
        received: 70,
        processed: 70,
    };
    assert_eq!((pair.client.delivered(), pair.got), (all, 5));
}
