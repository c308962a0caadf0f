//! A service that keeps its sessions in a file and is killed fifty times under load (PROTOCOL ).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use diset_std::store::Transaction;
use diset_std::tls::ServerTls;
use diset_std::{Client, Conn, Failure, Identity, NewReason, Outcome, Resumption, Service, SessionSettings};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::child::{Lives, Process, READY, draw, place, tell};
use crate::common::*;

const KILLS: usize = 50;
const CLIENTS: u8 = 4;
/// How often the effect of each message is there: by client and number.
const EFFECTS: TableDefinition<'_, (u8, u64), u64> = TableDefinition::new("effects");

fn number_of(conn: &Conn<PingPong>) -> u8 {
    conn.identity().as_bytes()[0]
}

/// Adds one to the effect, in the transaction with which the message counts as handled.
async fn once(conn: Conn<PingPong>, shout: Shout) -> diset_std::HandlerResult {
    let (client, id): (u8, u64) = (number_of(&conn), shout.text.parse()?);
    let run = move |transaction: &Transaction<'_>| {
        let mut effects = transaction.open_table(EFFECTS)?;
        let before = effects.get((client, id))?.map_or(0, |count| count.value());
        effects.insert((client, id), before + 1)?;
        Ok::<_, redb::Error>(())
    };
    conn.transact(run)
        .await
        .map_err(|error| Failure::new(error.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of another test"]
async fn child() -> TestResult {
    let Some(place) = place()? else { return Ok(()) };
    let tls = ServerTls::new(place.certificate, place.authorities)?;
    let service = Service::new(PingPong)
        .durable(place.file)
        .on(|conn: Conn<PingPong>, ping: Ping| async move {
            let repeated = conn.received().is_some_and(|received| received.maybe_repeated);
            tell(&format!("{} {} {repeated}", number_of(&conn), ping.id));
            conn.send_acked(&Pong { id: ping.id }).await?;
            Ok(())
        })
        .on(once);
    let bound = service.bind(place.address.as_str(), tls).await?;
    tell(READY);
    bound.run().await;
    Ok(())
}

/// What all lives of the service, and the clients, have seen.
#[derive(Default)]
struct Seen {
    /// Of each message whether it was marked, each time that it was handled.
    pings: BTreeMap<(u8, i64), Vec<bool>>,
    out_of_order: usize,
    last: BTreeMap<u8, i64>,
    /// In this life: there what comes again comes in order, too.
    here: BTreeMap<u8, i64>,
}

impl Seen {
    fn add(&mut self, line: &str) -> TestResult {
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or("client, number and mark");
        let (client, id, repeated): (u8, i64, bool) = (word()?.parse()?, word()?.parse()?, word()?.parse()?);
        let last = self.last.entry(client).or_insert(-1);
        let here = self.here.insert(client, id).is_some_and(|here| id <= here);
        self.out_of_order += usize::from(here || (id <= *last && !repeated));
        *last = (*last).max(id);
        self.pings.entry((client, id)).or_default().push(repeated);
        Ok(())
    }
}

/// Sends until it is enough, and waits for what became of it: how many pings and shouts were sent.
async fn talk(client: Client<PingPong>, enough: watch::Receiver<bool>) -> (i64, u64, usize) {
    let (mut pings, mut shouts, mut receipts, mut received) = (0, 0, Vec::new(), 0);
    while !*enough.borrow() {
        let receipt = client.send_acked(&Ping { id: pings }).await.expect("stored");
        pings += 1;
        receipts.push(receipt.clone());
        if pings % 4 == 0 {
            let text = shouts.to_string();
            receipts.push(client.send_acked(&Shout { text }).await.expect("stored"));
            shouts += 1;
        }
        if pings % 16 == 0 && receipt.received().await == Ok(Outcome::Ok) {
            received += 1;
        }
    }
    for receipt in receipts {
        let outcome = tokio::time::timeout(LIMIT * 3, receipt.processed()).await;
        assert_eq!(outcome, Ok(Ok(Outcome::Ok)), "PROTOCOL Q-5: {receipt:?}");
    }
    (pings, shouts, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_fifty_times_loses_nothing() -> TestResult {
    let world = World::new()?;
    let lives = Lives::new("processes::service::child", &world)?;
    let (enough, is_enough) = watch::channel(false);
    let (pongs, stood) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(Mutex::new(Vec::new())));
    let mut talking = JoinSet::new();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (log, stands) = (Arc::clone(&pongs), Arc::clone(&stood));
        let client = Client::builder(PingPong, &lives.address())
            .tls(world.tls("client")?)
            .identity(Identity::from_bytes([number; 16]))
            .session(SessionSettings::default().store(64, 1 << 16))
            .reconnect(QUICK)
            .on(move |_, pong: Pong| {
                *log.lock().expect("a log").entry((number, pong.id)).or_insert(0_usize) += 1;
                async { Ok(()) }
            })
            .on_connected(move |client| {
                stands.lock().expect("a log").push(client.resumption());
                async { Ok(()) }
            })
            .start()?;
        let (talker, enough) = (client.clone(), is_enough.clone());
        talking.spawn(async move { (number, talk(talker, enough).await) });
        clients.push(client);
    }
    let (mut seed, mut seen) = (0x5eed_u64, Seen::default());
    println!("seed {seed}");
    for kill in 0..=KILLS {
        let mut process = lives.begin().await?;
        seen.here.clear();
        for _ in 0..draw(&mut seed, 100) {
            seen.add(&process.line().await?.ok_or("a line")?)?;
        }
        if kill < KILLS {
            for line in process.kill().await? {
                seen.add(&line)?;
            }
            continue;
        }
        enough.send_replace(true);
        let finished = finish(&mut process, &mut talking, &mut seen);
        let sent = finished.await?;
        within("all answers", async {
            while pongs.lock().expect("a log").len() < seen.pings.len() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for client in &clients {
            client.close().await;
        }
        process.kill().await?;
        let pongs = pongs.lock().expect("a log");
        compare(&sent, &seen, &pongs, &stood.lock().expect("a log"), &lives.file())?;
    }
    Ok(())
}

type Sent = BTreeMap<u8, (i64, u64, usize)>;

/// All that was sent has its outcome; what the service writes meanwhile is read.
async fn finish(
    process: &mut Process,
    talking: &mut JoinSet<(u8, (i64, u64, usize))>,
    seen: &mut Seen,
) -> Result<Sent, Box<dyn core::error::Error>> {
    let mut sent = Sent::new();
    while sent.len() < usize::from(CLIENTS) {
        tokio::select! {
            done = talking.join_next() => {
                let (client, counts) = done.ok_or("a client")??;
                sent.insert(client, counts);
            }
            line = process.line() => seen.add(&line?.ok_or("it ended")?)?,
        }
    }
    let count: i64 = sent.values().map(|(pings, ..)| pings).sum();
    while seen.pings.len() < usize::try_from(count)? {
        seen.add(&process.line().await?.ok_or("it ended")?)?;
    }
    Ok(sent)
}

/// What was seen, against the guarantee.
fn compare(
    sent: &Sent,
    seen: &Seen,
    pongs: &BTreeMap<(u8, i64), usize>,
    stood: &[Option<Resumption>],
    file: &Path,
) -> TestResult {
    let (mut lost, mut doubled, mut unmarked, mut answers_doubled, mut answers_wrong) = (0, 0, 0, 0, 0);
    let mut total = 0;
    for (client, (pings, ..)) in sent {
        for id in 0..*pings {
            total += 1;
            let times = seen.pings.get(&(*client, id)).map_or(&[][..], Vec::as_slice);
            lost += usize::from(times.is_empty());
            doubled += usize::from(times.len() > 1);
            unmarked += times.iter().skip(1).filter(|repeated| !**repeated).count();
            let answers = pongs.get(&(*client, id)).copied().unwrap_or(0);
            answers_doubled += usize::from(answers > 1);
            // A handler that ran again has answered again, perhaps.
            answers_wrong += usize::from(answers == 0 || answers > times.len());
        }
    }
    let database = redb::Database::open(file)?;
    let effects = database.begin_read()?;
    let effects = effects.open_table(EFFECTS)?;
    let (mut exact, mut inexact) = (0_u64, 0_u64);
    for effect in effects.iter()? {
        if effect?.1.value() == 1 {
            exact += 1;
        } else {
            inexact += 1;
        }
    }
    let shouts: u64 = sent.values().map(|(_, shouts, _)| shouts).sum();
    let received: usize = sent.values().map(|(.., received)| received).sum();
    let news: Vec<_> = stood
        .iter()
        .filter(|stands| !matches!(stands, Some(Resumption::Resumed { .. })))
        .collect();
    println!(
        "{KILLS} kills of a service: {total} sent, {received} of those looked at told received, lost {lost}, \
         handled twice {doubled}, of these unmarked {unmarked}, out of order {}; answers missing or too many \
         {answers_wrong}, twice by a handler that ran twice {answers_doubled}; in transactions {shouts} sent, {exact} \
         with one effect, {inexact} with another number; {} connections, {} of them not resumed",
        seen.out_of_order,
        stood.len(),
        news.len(),
    );
    assert_eq!(
        (lost, unmarked, seen.out_of_order, answers_wrong),
        (0, 0, 0, 0),
        "PROTOCOL Q-3, Q-4, Q-6"
    );
    assert_eq!((exact, inexact), (shouts, 0), "exactly once");
    let is_first = |stands: &&Option<Resumption>| **stands == Some(Resumption::New { why: NewReason::First });
    assert!(news.iter().all(is_first), "PROTOCOL N-5: {news:?}");
    Ok(())
}
