//! A service that keeps its sessions in a file, whose handlers fail, panic and disconnect, and that is killed all the while:
//! what the handlers wrote is held against what the senders were told (PROTOCOL, docs/DELIVERY.md).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use diset_std::store::Transaction;
use diset_std::tls::ServerTls;
use diset_std::{
    Client, Code, Conn, Failure, HandlerResult, Identity, Outcome, Receipt, ReconnectPolicy, Service, SessionSettings,
};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::child::{Lives, READY, draw, place, tell};
use crate::common::*;

const KILLS: usize = 30;
const CLIENTS: u8 = 2;
const ON_PURPOSE: &str = "a handler panics on purpose";
/// How often the effect of each message is there: by client and number.
const EFFECTS: TableDefinition<'_, (u8, i64), u64> = TableDefinition::new("effects");

/// Each odd message costs a connection: they come back at once.
const AT_ONCE: ReconnectPolicy = ReconnectPolicy {
    base: Duration::from_millis(2),
    max: Duration::from_millis(20),
    useful: Duration::from_millis(50),
    ..QUICK
};

/// What the handler makes of a message: always the same, so each has one outcome that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Returns,
    Fails,
    Panics,
    Disconnects,
    /// Commits its effect with the message.
    Commits,
    /// Would have, but for an error amid the transaction.
    CommitFails,
}

/// And whether at once.
fn act(id: i64) -> (Act, bool) {
    let act = match id % 8 {
        2 | 5 => Act::Commits,
        7 => [Act::Fails, Act::Panics, Act::Disconnects, Act::CommitFails][(id / 8 % 4) as usize],
        _ => Act::Returns,
    };
    (act, id / 32 % 2 == 0)
}

const fn due(act: Act) -> Outcome {
    match act {
        Act::Returns | Act::Disconnects | Act::Commits => Outcome::Ok,
        Act::Fails | Act::Panics | Act::CommitFails => Outcome::Failed(Code::HandlerFailed),
    }
}

fn number_of(conn: &Conn<PingPong>) -> u8 {
    conn.identity().as_bytes()[0]
}

/// Adds one to the effect of the message, unless it fails after that.
async fn commit(conn: &Conn<PingPong>, id: i64, fails: bool) -> HandlerResult {
    let place = (number_of(conn), id);
    let add = move |transaction: &Transaction<'_>| {
        let mut effects = transaction.open_table(EFFECTS)?;
        let before = effects.get(place)?.map_or(0, |count| count.value());
        effects.insert(place, before + 1)?;
        if fails {
            return Err(redb::Error::Io(std::io::Error::other("on purpose")));
        }
        Ok(())
    };
    let committed = conn.transact(add).await;
    committed.map_err(|error| Failure::new(error.to_string()))
}

async fn handle(conn: Conn<PingPong>, ping: Ping) -> HandlerResult {
    let repeated = conn.received().is_some_and(|received| received.maybe_repeated);
    let (client, id) = (number_of(&conn), ping.id);
    tell(&format!("begins {client} {id} {repeated}"));
    let (act, at_once) = act(id);
    if !at_once {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let result = match act {
        Act::Returns => Ok(()),
        Act::Fails => Err(Failure::new("on purpose")),
        Act::Panics => {
            tell(&format!("fails {client} {id}"));
            std::panic::panic_any(ON_PURPOSE)
        }
        Act::Disconnects => {
            conn.disconnect("on purpose");
            Ok(())
        }
        Act::Commits | Act::CommitFails => commit(&conn, id, act == Act::CommitFails).await,
    };
    tell(&format!(
        "{} {client} {id}",
        if result.is_ok() { "returns" } else { "fails" }
    ));
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of another test"]
async fn child() -> TestResult {
    let Some(place) = place()? else { return Ok(()) };
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
            before(panic);
        }
    }));
    let tls = ServerTls::new(place.certificate, place.authorities)?;
    let service = Service::new(PingPong).durable(place.file).on(handle);
    let bound = service.bind(place.address.as_str(), tls).await?;
    tell(READY);
    bound.run().await;
    Ok(())
}

type Message = (u8, i64);

/// What all lives of the service have written.
#[derive(Default)]
struct Journal {
    /// Of each message whether it was marked, each time that its handler began.
    begun: BTreeMap<Message, Vec<bool>>,
    returned: BTreeSet<Message>,
    failed: BTreeSet<Message>,
    /// The last that began in this life, by client.
    last: BTreeMap<u8, i64>,
    /// Of which the sender knew what became of them when this life began.
    known: BTreeSet<Message>,
    wrong: Vec<String>,
}

impl Journal {
    fn add(&mut self, line: &str) -> TestResult {
        let words: Vec<_> = line.split(' ').collect();
        let ["begins" | "returns" | "fails", client, id, ..] = words[..] else {
            return Err(format!("no line of the journal: {line}").into());
        };
        let message = (client.parse()?, id.parse()?);
        match words[0] {
            "returns" => drop(self.returned.insert(message)),
            "fails" => drop(self.failed.insert(message)),
            _ => {
                let repeated = words.get(3) == Some(&"true");
                let times = self.begun.entry(message).or_default();
                if !times.is_empty() && !repeated {
                    self.wrong.push(format!("{message:?} again, and not marked"));
                }
                times.push(repeated);
                if self.known.contains(&message) {
                    self.wrong
                        .push(format!("{message:?} again, after its outcome was told"));
                }
                let last = self.last.insert(message.0, message.1);
                if last.is_some_and(|last| message.1 <= last) {
                    self.wrong.push(format!("{message:?} after {last:?}"));
                }
            }
        }
        Ok(())
    }
}

type Told = Arc<Mutex<BTreeMap<Message, Outcome>>>;

/// Sends until it is enough, and waits for what becomes of each.
async fn talk(client: Client<PingPong>, number: u8, told: Told, enough: watch::Receiver<bool>) -> Result<i64, String> {
    let (waits, mut receipts) = tokio::sync::mpsc::channel::<(i64, Receipt)>(256);
    let waiter = async move {
        while let Some((id, receipt)) = receipts.recv().await {
            let outcome = tokio::time::timeout(LIMIT * 6, receipt.processed()).await;
            let outcome = outcome
                .map_err(|_| format!("{number} {id}: no outcome"))?
                .map_err(|error| format!("{number} {id}: {error}"))?;
            told.lock().expect("what was told").insert((number, id), outcome);
        }
        Ok(())
    };
    let sender = async move {
        let mut id = 0;
        while !*enough.borrow() {
            let receipt = client.send_acked(&Ping { id }).await;
            let receipt = receipt.map_err(|error| error.to_string())?;
            // Nobody waits any more when it has gone wrong.
            let Ok(()) = waits.send((id, receipt)).await else { break };
            id += 1;
        }
        Ok(id)
    };
    let (sent, waited) = tokio::join!(sender, waiter);
    waited.and(sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_handlers_fail_is_killed_and_each_message_has_its_outcome() -> TestResult {
    let world = World::new()?;
    let lives = Lives::new("processes::failing::child", &world)?;
    let (enough, is_enough) = watch::channel(false);
    let told = Told::default();
    let (mut talking, mut clients) = (JoinSet::new(), Vec::new());
    for number in 0..CLIENTS {
        let client = Client::builder(PingPong, &lives.address())
            .tls(world.tls("client")?)
            .identity(Identity::from_bytes([number; 16]))
            .session(SessionSettings::default().store(64, 1 << 16))
            .reconnect(AT_ONCE)
            .start()?;
        let talks = talk(client.clone(), number, Arc::clone(&told), is_enough.clone());
        talking.spawn(async move { (number, talks.await) });
        clients.push(client);
    }
    let (mut seed, mut journal) = (0x0dd_5eed_u64, Journal::default());
    println!("seed {seed}");
    for _ in 0..KILLS {
        journal.last.clear();
        journal.known = told.lock().expect("what was told").keys().copied().collect();
        let mut process = lives.begin().await?;
        for _ in 0..draw(&mut seed, 120) {
            journal.add(&process.line().await?.ok_or("a line")?)?;
        }
        for line in process.kill().await? {
            journal.add(&line)?;
        }
    }
    enough.send_replace(true);
    // The last life deals with all that is left.
    journal.last.clear();
    let mut process = lives.begin().await?;
    let mut sent = BTreeMap::new();
    while sent.len() < usize::from(CLIENTS) {
        tokio::select! {
            done = talking.join_next() => {
                let (client, count) = done.ok_or("a client")??;
                sent.insert(client, count?);
            }
            line = process.line() => journal.add(&line?.ok_or("it ended")?)?,
        }
    }
    for client in &clients {
        client.close().await;
    }
    for line in process.kill().await? {
        journal.add(&line)?;
    }
    let told = told.lock().expect("what was told").clone();
    compare(&sent, journal, &told, &lives.file())
}

/// What was written, against what was told.
fn compare(
    sent: &BTreeMap<u8, i64>,
    mut journal: Journal,
    told: &BTreeMap<Message, Outcome>,
    file: &Path,
) -> TestResult {
    let database = redb::Database::open(file)?;
    let effects = database.begin_read()?.open_table(EFFECTS)?;
    let (mut total, mut failed, mut again) = (0, 0, 0);
    for message in sent
        .iter()
        .flat_map(|(&client, &count)| (0..count).map(move |id| (client, id)))
    {
        let (act, _) = act(message.1);
        let effect = effects.get(message)?.map_or(0, |count| count.value());
        let (is_returned, is_failed) = (journal.returned.contains(&message), journal.failed.contains(&message));
        let is_right = match told.get(&message) {
            // Its process may have ended between the commit and the line.
            Some(Outcome::Ok) => is_returned || effect == 1,
            Some(Outcome::Failed(_)) => is_failed,
            _ => false,
        };
        let is_due = told.get(&message) == Some(&due(act)) && effect == u64::from(act == Act::Commits);
        if !is_right || !is_due {
            let outcome = told.get(&message);
            journal.wrong.push(format!(
                "{message:?} {act:?}: told {outcome:?}, returned {is_returned}, failed {is_failed}, effects {effect}"
            ));
        }
        total += 1;
        failed += usize::from(is_failed);
        again += usize::from(journal.begun.get(&message).is_some_and(|times| times.len() > 1));
    }
    println!(
        "{KILLS} kills of a service whose handlers fail: {total} sent, {failed} failed, {again} handled again and marked, \
         against the guarantee {}",
        journal.wrong.len()
    );
    assert!(journal.wrong.is_empty(), "PROTOCOL Q-3 to Q-6: {:#?}", journal.wrong);
    assert!(
        failed > 0 && again > 0,
        "too little has happened: {failed} failed, {again} again"
    );
    Ok(())
}
