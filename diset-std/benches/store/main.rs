//! What the durable store costs: commits and messages per second, memory and file of sessions that are away.
//! The figures are those of the disk below the directory for temporary files (`TMPDIR`).

use core::error::Error;
use core::time::Duration;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use diset_proto::store::{Inbox as _, Stored, Unsure};
use diset_proto::{Key, MessageOf, ServiceDef, ServiceName, Session, define_service};
use diset_std::store::redb::TableDefinition;
use diset_std::store::{DurableStore, KeptInbox, KeptReplay, RestoredSession, StoreBounds};
use diset_std::{Identity, Schema, SessionId, Trid};
use serde::{Deserialize, Serialize};

type Result<T = ()> = core::result::Result<T, Box<dyn Error>>;
type KeptSession = Session<KeptReplay, KeptInbox>;

/// How long each rate is measured.
const SPAN: Duration = Duration::from_secs(3);
/// Sessions that are away.
const AWAY: u64 = 10_000;
const EFFECTS: TableDefinition<'_, u64, u64> = TableDefinition::new("bench.effects");

#[derive(Serialize, Deserialize, Schema)]
struct Note {
    text: String,
}

define_service! { Notes = "Bench/Notes"; both: [Note] }

fn open(path: &Path) -> Result<(DurableStore, Vec<RestoredSession>)> {
    let name = ServiceName::parse("Bench/Notes").ok_or("a name")?;
    let bounds = StoreBounds {
        cache_bytes: 1 << 20,
        ..StoreBounds::default()
    };
    Ok(DurableStore::open(path, name, bounds)?)
}

fn begin(store: &DurableStore, client: u64) -> KeptSession {
    let mut principal = [0; 32];
    principal[..8].copy_from_slice(&client.to_be_bytes());
    let id = SessionId {
        principal: principal.into(),
        identity: Identity::from_bytes([7; 16]),
    };
    let (replay, inbox) = store.begin(id);
    let mut session = Session::new(replay, inbox);
    session.inbox_mut().begin_anew(Trid::new(1));
    session
}

fn note() -> Note {
    Note { text: "x".repeat(99) }
}

fn send(session: &mut KeptSession) -> Result {
    session.store(Notes::CATALOG, Note::NUMBER, &note(), Unsure::Report)?;
    session.inbox().book().keep(session.record());
    Ok(())
}

fn receive(session: &mut KeptSession, number: u64) -> bool {
    let message = Stored {
        number,
        key: Key::from_bytes([1; 16]),
        unsure: Unsure::Report,
        repeated: false,
        payload: &[7; 100],
    };
    session.inbox_mut().put(message)
}

/// One session after the other waits for its message; each is a commit.
async fn one_by_one(path: &Path) -> Result {
    let (store, _) = open(path)?;
    let mut session = begin(&store, 1);
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < SPAN {
        count += 1;
        receive(&mut session, count);
        session.inbox_mut().done_through(count.saturating_sub(1));
        session.inbox().book().keep(session.record());
        session.inbox().book().kept().await?;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("one message at a time, kept each:                {rate:9.0} commits/s");
    Ok(())
}

async fn handlers(path: &Path) -> Result {
    let (store, _) = open(path)?;
    let mut session = begin(&store, 1);
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < SPAN {
        count += 1;
        receive(&mut session, count);
        let book = session.inbox().book();
        book.keep(session.record());
        let number = count;
        let done = book.transact(Trid::new(1), number, move |transaction| {
            let mut table = transaction.open_table(EFFECTS).map_err(|error| error.to_string())?;
            table.insert(number % 1000, number).map_err(|error| error.to_string())?;
            Ok::<(), String>(())
        });
        done.await?;
        session.inbox_mut().handled_before(Trid::new(9), 0);
        session.inbox_mut().done_through(count);
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("one handler's transaction at a time:             {rate:9.0} messages/s");
    Ok(())
}

/// Many sessions, each of which waits for its batch of messages before the next.
async fn together(path: &Path, sessions: u64, batch: u64) -> Result {
    let (store, _) = open(path)?;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..sessions {
        let mut session = begin(&store, client);
        tasks.push(tokio::spawn(async move {
            let mut count = 0;
            while start.elapsed() < SPAN {
                for _ in 0..batch {
                    count += 1;
                    if !receive(&mut session, count) {
                        return count;
                    }
                }
                session.inbox().book().keep(session.record());
                if session.inbox().book().kept().await.is_err() {
                    return count;
                }
                session.inbox_mut().done_through(count);
            }
            count
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let commits = store.counters().transactions as f64 / seconds;
    let rate = count as f64 / seconds;
    println!(
        "{sessions:5} sessions, {batch:3} messages of 100 bytes at once: {rate:9.0} messages/s, {commits:.0} commits/s"
    );
    Ok(())
}

/// Pages of memory that are in use by this process.
fn resident() -> Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}

async fn away(directory: &Path, messages: u64) -> Result {
    let path = directory.join(format!("away{messages}"));
    let (store, _) = open(&path)?;
    for client in 0..AWAY {
        let mut session = begin(&store, client);
        for _ in 0..messages {
            send(&mut session)?;
        }
        let book = session.inbox().book();
        book.connected(Trid::new(client));
        book.keep(session.record());
        if client + 1 == AWAY {
            book.kept().await?;
        }
    }
    drop(store);
    let size = std::fs::metadata(&path)?.len();
    println!("{AWAY} sessions, {messages} messages of 100 bytes each: a file of {size} bytes");
    // In a process that has done nothing else.
    let load = Command::new(std::env::current_exe()?).arg("load").arg(&path).status()?;
    if load.success() { Ok(()) } else { Err("load".into()) }
}

/// Loads a store and says how much memory its sessions take.
fn load(path: &Path) -> Result {
    // What a store takes that has no sessions is not theirs.
    let other = tempfile::tempdir()?;
    let empty = open(&other.path().join("empty"))?;
    let before = resident()?;
    let start = Instant::now();
    let (store, restored) = open(path)?;
    let sessions: Vec<_> = restored
        .into_iter()
        .map(|session| session.into_session(|replay, inbox| (replay, inbox)).map(Box::new))
        .collect::<core::result::Result<_, _>>()?;
    let took = start.elapsed();
    let each = (resident()? - before) / sessions.len() as u64;
    println!("  loaded in {took:?}: {each} bytes resident for each session");
    drop((store, sessions, empty));
    Ok(())
}

#[tokio::main]
async fn main() -> Result {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, what, path] = arguments.as_slice()
        && what == "load"
    {
        return load(Path::new(path));
    }
    let directory = tempfile::tempdir()?;
    one_by_one(&directory.path().join("one")).await?;
    handlers(&directory.path().join("handlers")).await?;
    for (number, (sessions, batch)) in [(100, 1), (1000, 1), (100, 64)].into_iter().enumerate() {
        together(&directory.path().join(format!("together{number}")), sessions, batch).await?;
    }
    away(directory.path(), 0).await?;
    away(directory.path(), 1).await
}
