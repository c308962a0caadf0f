//! One process: what a handler commits, what is forgotten, moved, and shared between commits, and what a full
//! journal does. Stores are filled by hand here, as an engine does it.

use core::time::Duration;

use diset_proto::store::{Inbox as _, Replay as _, Stored, Unsure};
use diset_proto::{Key, ServiceName, Session};
use diset_std::Trid;
use diset_std::store::redb::{self, MultimapTableDefinition, TableDefinition, TableHandle as _};
use diset_std::store::{
    DurableStore, KeptInbox, KeptReplay, RestoredSession, StoreBounds, StoreError, TableError, TransactError,
    Transaction,
};
use diset_std::tls::Principal;
use tempfile::TempDir;

use super::ends::{KeptSession, Meter, Reading, TestResult, id_of, unwrapped};
use diset_proto::{MessageOf, ServiceDef};

const EFFECTS: TableDefinition<'_, u64, u64> = TableDefinition::new("test.effects");

struct World {
    directory: TempDir,
}

impl World {
    fn new() -> TestResult<Self> {
        Ok(Self {
            directory: tempfile::tempdir()?,
        })
    }

    fn open(&self) -> TestResult<(DurableStore, Vec<RestoredSession>)> {
        self.open_with(StoreBounds::default())
    }

    fn open_with(&self, bounds: StoreBounds) -> TestResult<(DurableStore, Vec<RestoredSession>)> {
        let name = ServiceName::parse("Test/Meter").ok_or("a name")?;
        Ok(DurableStore::open(self.directory.path().join("store"), name, bounds)?)
    }
}

fn begin(store: &DurableStore, client: u8) -> KeptSession {
    let (replay, inbox) = store.begin(id_of(client));
    Session::new(replay, inbox)
}

fn put(inbox: &mut KeptInbox, number: u64, payload: &[u8]) -> bool {
    inbox.put(Stored {
        number,
        key: Key::from_bytes([7; 16]),
        unsure: Unsure::Report,
        repeated: false,
        payload,
    })
}

fn send(session: &mut KeptSession, value: u64) -> TestResult<u64> {
    Ok(session.store(Meter::CATALOG, Reading::NUMBER, &Reading::new(value), Unsure::Resend)?)
}

fn insert(transaction: &Transaction<'_>, key: u64) -> TestResult {
    transaction.open_table(EFFECTS)?.insert(key, 1)?;
    Ok(())
}

fn effects(store: &DurableStore) -> TestResult<Vec<u64>> {
    use diset_std::store::redb::ReadableTable as _;
    let transaction = store.read()?;
    let table = transaction.open_table(EFFECTS)?;
    let keys = table.iter()?.map(|row| row.map(|(key, _)| key.value()));
    Ok(keys.collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() -> TestResult {
    let world = World::new()?;
    let (store, sessions) = world.open()?;
    assert!(sessions.is_empty() && store.is_empty());
    let mut session = begin(&store, 1);
    for value in 0..5 {
        assert_eq!(send(&mut session, value)?, value + 1);
    }
    session.replay_mut().remove(2);
    session.replay_mut().mark_repeated(3);
    let book = session.inbox().book().clone();
    assert_eq!(session.replay().kept(), 0, "nothing is sealed");
    book.connected(Trid::new(17));
    book.keep(session.record());
    book.kept().await?;
    assert_eq!(session.replay().kept(), 5);
    session.replay_mut().remove_through(1);
    session.replay_mut().mark_repeated(5);
    book.keep(session.record());
    // Not sealed: as if it had not happened.
    send(&mut session, 9)?;
    let bytes = store.bytes();
    drop((store, session));
    let (store, mut sessions) = world.open()?;
    let restored = sessions.pop().ok_or("a session")?;
    assert_eq!((store.len(), store.newest_trid()), (1, Trid::new(17)));
    assert_eq!(
        (restored.id, restored.trid, restored.away),
        (id_of(1), Trid::new(17), Duration::ZERO)
    );
    let session = unwrapped(restored)?;
    let mut found = Vec::new();
    let mut last = 0;
    while let Some(stored) = session.replay().after(last) {
        last = stored.number;
        found.push((last, stored.repeated));
        assert_eq!(stored.unsure, Unsure::Resend);
    }
    assert_eq!(found, [(3, true), (4, false), (5, true)]);
    assert_eq!(session.next_number(), 6);
    assert_eq!(session.replay().kept(), 5);
    assert!(store.bytes() > 0 && store.bytes() < bytes);
    Ok(())
}

#[tokio::test]
async fn a_handler_commits_with_its_message_or_not_at_all() -> TestResult {
    let world = World::new()?;
    let (store, _) = world.open()?;
    let (mut replay, mut inbox): (KeptReplay, KeptInbox) = store.begin(id_of(1));
    // The record of a session that begins after: all messages are of before.
    let began = Trid::new(1);
    inbox.begin_anew(began);
    for number in 1..=3 {
        assert!(put(&mut inbox, number, b"some"));
    }
    let record = begin(&store, 9).record();
    let book = inbox.book().clone();
    book.keep(record);

    let failed = book
        .transact(began, 1, |transaction| {
            insert(transaction, 100).map_err(|_| "store")?;
            Err::<(), _>("no")
        })
        .await;
    assert!(matches!(failed, Err(TransactError::Handler("no"))), "{failed:?}");
    let panicked = book
        .transact(began, 1, |transaction| {
            let _ = insert(transaction, 101);
            if true {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            Ok::<(), String>(())
        })
        .await;
    assert!(matches!(panicked, Err(TransactError::GivenUp)), "{panicked:?}");
    let done = book.transact(began, 1, |transaction| {
        insert(transaction, 1).map_err(|error| error.to_string())
    });
    done.await?;
    let again = book.transact(began, 1, |transaction| {
        insert(transaction, 102).map_err(|error| error.to_string())
    });
    assert!(matches!(again.await, Err(TransactError::NotThere)));
    let other = book.transact(Trid::new(5), 2, |transaction| {
        insert(transaction, 103).map_err(|error| error.to_string())
    });
    assert!(matches!(other.await, Err(TransactError::NotThere)));
    assert_eq!(effects(&store)?, [1]);
    // The process ends before the session is told.
    replay.remove_through(0);
    drop((store, replay, inbox, book));
    let (store, mut sessions) = world.open()?;
    let left = sessions.pop().ok_or("a session")?.unhandled();
    assert_eq!(left.iter().map(|message| message.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(effects(&store)?, [1]);
    Ok(())
}

#[tokio::test]
async fn messages_of_an_earlier_beginning_stay_apart() -> TestResult {
    let world = World::new()?;
    let (store, _) = world.open()?;
    let (_, mut inbox) = store.begin(id_of(1));
    let record = begin(&store, 9).record();
    inbox.begin_anew(Trid::new(1));
    assert!(put(&mut inbox, 1, b"old") && put(&mut inbox, 2, b"older"));
    inbox.begin_anew(Trid::new(2));
    assert_eq!(inbox.kept(), (0, 0));
    assert!(put(&mut inbox, 1, b"new"));
    inbox.done_through(1);
    assert_eq!(inbox.len(), 2, "those of before are not what is done");
    inbox.handled_before(Trid::new(1), 1);
    inbox.handled_before(Trid::new(2), 9);
    assert_eq!((inbox.len(), inbox.bytes()), (1, 5));
    let book = inbox.book().clone();
    book.keep(record);
    book.kept().await?;
    drop((store, inbox, book));
    let (_store, mut sessions) = world.open()?;
    let left: Vec<_> = sessions.pop().ok_or("a session")?.unhandled();
    let left: Vec<_> = left
        .iter()
        .map(|message| (message.began, message.number, &*message.payload))
        .collect();
    assert_eq!(left, [(Trid::new(1), 2, &b"older"[..])]);
    Ok(())
}

#[tokio::test]
async fn a_session_is_moved_and_forgotten() -> TestResult {
    let world = World::new()?;
    let (store, _) = world.open()?;
    let next = Principal::from([77; 32]);
    for client in 1..=3 {
        let mut session = begin(&store, client);
        send(&mut session, 1)?;
        let book = session.inbox().book();
        book.expect(Some((next, 123)));
        book.keep(session.record());
        if client == 2 {
            book.move_to(next);
            book.keep(session.record());
        }
        if client == 3 {
            book.forget();
            book.keep(session.record());
            assert!(put(session.inbox_mut(), 1, b"into nothing"));
        }
    }
    assert_eq!(store.len(), 2);
    drop(store);
    let (store, mut sessions) = world.open()?;
    sessions.sort_by_key(|session| session.id.identity);
    let expected: Vec<_> = sessions
        .iter()
        .map(|session| (session.id.principal, session.book().expected()))
        .collect();
    assert_eq!(expected, [(id_of(1).principal, Some((next, 123))), (next, None)]);
    for session in &sessions {
        session.book().forget();
    }
    assert_eq!((store.len(), store.bytes()), (0, 0));
    drop((store, sessions));
    assert_eq!(world.open()?.1.len(), 0);
    Ok(())
}

/// Nobody waits for the disk, and many share a commit.
#[tokio::test]
async fn commits_are_shared() -> TestResult {
    let world = World::new()?;
    let (store, _) = world.open()?;
    let mut sessions: Vec<_> = (0..100).map(|client| begin(&store, client)).collect();
    for round in 0..20 {
        for session in &mut sessions {
            send(session, round)?;
            session.inbox().book().keep(session.record());
        }
    }
    for session in &sessions {
        session.inbox().book().kept().await?;
        assert_eq!(session.replay().kept(), 20);
    }
    let counters = store.counters();
    assert_eq!(counters.changes, 2000);
    assert!(counters.transactions <= 200, "{counters:?}");
    // What has not changed is not written again.
    for session in &sessions {
        session.inbox().book().keep(session.record());
        session.inbox().book().kept().await?;
    }
    assert_eq!(store.counters(), counters);
    Ok(())
}

#[tokio::test]
async fn bounds_refuse_what_does_not_fit() -> TestResult {
    let world = World::new()?;
    let bounds = StoreBounds {
        replay_messages: 3,
        inbox_messages: 2,
        inbox_bytes: 10,
        journal_bytes: 1000,
        ..StoreBounds::default()
    };
    let (store, _) = world.open_with(bounds)?;
    let mut session = begin(&store, 1);
    for value in 0..3 {
        send(&mut session, value)?;
    }
    assert!(send(&mut session, 3).is_err(), "messages of the replay store");
    let inbox = session.inbox_mut();
    inbox.begin_anew(Trid::new(1));
    assert!(!put(inbox, 1, &[0; 11]), "bytes of the inbox");
    assert!(
        put(inbox, 1, b"1") && put(inbox, 2, b"2") && !put(inbox, 3, b"3"),
        "messages of the inbox"
    );
    // Nothing is sealed, so nothing is written: the journal fills up.
    let mut other = begin(&store, 2);
    assert!(store.is_crowded());
    assert!(send(&mut other, 1).is_ok() && send(&mut other, 2).is_ok() && send(&mut other, 3).is_ok());
    let mut third = begin(&store, 3);
    assert!(
        send(&mut third, 1).is_err() && !put(third.inbox_mut(), 1, b"1"),
        "the journal"
    );
    let book = session.inbox().book();
    book.keep(session.record());
    book.kept().await?;
    store.room().await?;
    assert!(!store.is_crowded());
    send(&mut third, 1)?;
    // A session that goes gives its room back.
    drop((other, third));
    let mut last = begin(&store, 4);
    assert!(put(last.inbox_mut(), 1, b"1"));
    // Lower bounds lose nothing.
    drop((session, last, store));
    let lower = StoreBounds {
        replay_messages: 1,
        inbox_messages: 1,
        ..bounds
    };
    let restored = world.open_with(lower)?.1.pop().ok_or("a session")?;
    assert_eq!(restored.unhandled().len(), 2);
    assert_eq!(unwrapped(restored)?.replay().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_closed_keeps_nothing_more() -> TestResult {
    let world = World::new()?;
    let (store, _) = world.open()?;
    let mut session = begin(&store, 1);
    let book = session.inbox().book().clone();
    send(&mut session, 1)?;
    book.keep(session.record());
    drop(store);
    assert_eq!(session.replay().kept(), 1, "it was written at the end");
    send(&mut session, 2)?;
    book.keep(session.record());
    assert_eq!(book.kept().await, Err(StoreError::Closed));
    assert_eq!(session.replay().kept(), 1);
    let refused = book.transact(Trid::new(0), 1, |_| Ok::<(), String>(())).await;
    assert!(matches!(refused, Err(TransactError::Store(StoreError::Closed))));
    Ok(())
}

/// The tables of the store are not there for closures, however they ask for them; all others are.
#[tokio::test]
async fn tables_of_the_store_are_out_of_reach() -> TestResult {
    let world = World::new()?;
    let (store, _) = world.open()?;
    let session = begin(&store, 1);
    let book = session.inbox().book().clone();
    book.connected(Trid::new(17));
    book.keep(session.record());
    book.kept().await?;
    for name in [
        "diset.sessions",
        "diset.inbox",
        "diset.replay",
        "diset.meta",
        "diset.",
        "diset.mine",
    ] {
        let refused = store.write(move |transaction| {
            let own: TableDefinition<'_, u64, u64> = TableDefinition::new("mine");
            let table: TableDefinition<'_, u64, &[u8]> = TableDefinition::new(name);
            let several: MultimapTableDefinition<'_, u64, u64> = MultimapTableDefinition::new(name);
            let own_several: MultimapTableDefinition<'_, u64, u64> = MultimapTableDefinition::new("several");
            drop(transaction.open_table(own)?);
            drop(transaction.open_multimap_table(own_several)?);
            let said = [
                transaction.open_table(table).map(drop).err(),
                transaction.open_multimap_table(several).map(drop).err(),
                transaction.delete_table(table).map(drop).err(),
                transaction.delete_multimap_table(several).map(drop).err(),
                transaction.rename_table(table, own).err(),
                transaction.rename_table(own, table).err(),
                transaction.rename_multimap_table(several, own_several).err(),
                transaction.rename_multimap_table(own_several, several).err(),
            ];
            let listed: Vec<String> = transaction
                .list_tables()?
                .map(|table| table.name().to_owned())
                .collect();
            let listed = (listed, transaction.list_multimap_tables()?.count());
            Ok::<_, redb::Error>((said, listed))
        });
        let (said, listed) = refused.await?;
        for error in said {
            assert!(
                matches!(&error, Some(TableError::Reserved(refused)) if refused == name),
                "{name}: {error:?}"
            );
        }
        assert_eq!(listed, (vec!["mine".to_owned()], 1), "{name}");
    }
    // With `?` it is told what is wrong, too.
    let told = store.write(|transaction| {
        transaction.open_table(TableDefinition::<u64, u64>::new("diset.own"))?;
        Ok::<_, redb::Error>(())
    });
    let told = told.await.expect_err("it is reserved").to_string();
    assert!(told.contains("diset.own") && told.contains("another name"), "{told}");
    // And what is the service's own can go, and get another name.
    let done = store.write(|transaction| {
        let (own, other) = (
            TableDefinition::<u64, u64>::new("mine"),
            TableDefinition::<u64, u64>::new("dise"),
        );
        transaction.rename_table(own, other)?;
        Ok::<_, redb::Error>((transaction.delete_table(other)?, transaction.delete_table(own)?))
    });
    assert_eq!(done.await?, (true, false));
    // The sessions are as they were.
    drop((store, session, book));
    assert_eq!(world.open()?.1.len(), 1);
    Ok(())
}
