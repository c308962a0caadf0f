//! A client that is killed again and again: the service goes on, and knows of each message what can be
//! known (PROTOCOL N-4, N-6, Q-3).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use diset_std::tls::ClientTls;
use diset_std::{Client, Conn, Identity, Outcome, Receipt, Service, SessionId, SessionSettings};
use tokio::sync::mpsc;

use super::child::{Process, draw, place, tell};
use crate::common::*;

const KILLS: u64 = 20;
const IDENTITY: Identity = Identity::from_bytes([5; 16]);

#[tokio::test]
#[ignore = "a part of another test"]
async fn child() -> TestResult {
    let Some(place) = place()? else { return Ok(()) };
    let client = Client::builder(PingPong, &place.address)
        .tls(ClientTls::new(place.certificate, place.authorities)?)
        .identity(IDENTITY)
        .reconnect(QUICK)
        .on(|client: Client<PingPong>, pong: Pong| async move {
            let repeated = client.received().is_some_and(|received| received.maybe_repeated);
            tell(&format!("{} {repeated}", pong.id));
            tokio::task::yield_now().await;
            Ok(())
        })
        .connect()
        .await?;
    for id in 0.. {
        client.send_acked(&Ping { id }).await?;
    }
    Ok(())
}

/// What the client wrote before it was killed: how often each was handled, and whether it was marked.
#[derive(Default)]
struct Handled {
    times: BTreeMap<i64, Vec<bool>>,
    out_of_order: usize,
    last: i64,
}

impl Handled {
    fn add(&mut self, line: &str) -> TestResult {
        let (id, repeated) = line.split_once(' ').ok_or("id and mark")?;
        let (id, repeated): (i64, bool) = (id.parse()?, repeated.parse()?);
        self.out_of_order += usize::from(id <= self.last && !repeated);
        self.last = self.last.max(id);
        self.times.entry(id).or_default().push(repeated);
        Ok(())
    }
}

/// Sends to the client, every other message again when nobody knows; the receipts, in order.
async fn produce(
    service: diset_std::ServiceHandle<PingPong>,
    session: SessionId,
    sent: mpsc::UnboundedSender<(i64, Receipt)>,
) {
    for id in 1.. {
        let receipt = if id % 2 == 0 {
            service.send_acked_or_resend(session, &Pong { id }).await
        } else {
            service.send_acked(session, &Pong { id }).await
        };
        let Ok(receipt) = receipt else { return };
        if sent.send((id, receipt)).is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_killed_and_its_service_knows_what_can_be_known() -> TestResult {
    let world = World::new()?;
    // What the service handled of each life of the client: lives are told apart by their beginning.
    let pings: Arc<Mutex<BTreeMap<u64, Vec<i64>>>> = Arc::default();
    let log = Arc::clone(&pings);
    let service = Service::new(PingPong)
        .sessions(SessionSettings::default().store(64, 1 << 16))
        .on(move |conn: Conn<PingPong>, ping: Ping| {
            let received = conn.received();
            if let Some(received) = received {
                let mut log = log.lock().expect("a log");
                log.entry(received.began.number()).or_default().push(ping.id);
            }
            async move {
                match received {
                    Some(_) => Ok(()),
                    // Of the neighbour.
                    None => answer(conn, ping).await,
                }
            }
        });
    let running = world.serve(service).await?;
    let mut neighbour = Neighbour::new(world.client(PingPong, &running, "neighbour")?).await?;
    let certificate = world.ca.client("device")?;
    let (mut seed, mut handled) = (0x5eed_u64, Handled::default());
    println!("seed {seed}");
    let (sent, mut receipts) = mpsc::unbounded_channel();
    let (mut producer, mut session) = (None, None);
    for kill in 0..=KILLS {
        let mut process = Process::start("processes::client::child", &world, &certificate, &running.address)?;
        let id = within("connected", async {
            loop {
                let found = running.handle.find_identity(IDENTITY).into_iter().next();
                if let Some(conn) = found {
                    break conn.session();
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        session = Some(id);
        producer.get_or_insert_with(|| tokio::spawn(produce(running.handle.clone(), id, sent.clone())));
        for _ in 0..=draw(&mut seed, 400) {
            handled.add(&process.line().await?.ok_or("a line")?)?;
        }
        if kill == KILLS {
            // The last one lives until all is dealt with.
            producer.take().ok_or("a producer")?.abort();
            // The last line may come long before the acknowledgement of its message does.
            let mut dealt_with = core::pin::pin!(within("all dealt with", async {
                while running.handle.stored(id) != Some(0) {
                    tokio::task::yield_now().await;
                }
            }));
            loop {
                tokio::select! {
                    line = process.line() => handled.add(&line?.ok_or("a line")?)?,
                    () = &mut dealt_with => break,
                }
            }
        }
        for line in process.kill().await? {
            handled.add(&line)?;
        }
    }
    drop(sent);
    let (mut ok, mut unknown, mut wrong, mut doubled) = (0, 0, 0, 0);
    while let Some((id, receipt)) = receipts.recv().await {
        let times = handled.times.get(&id).map_or(&[][..], Vec::as_slice);
        doubled += usize::from(times.len() > 1);
        // Each further time is marked.
        wrong += times.iter().skip(1).filter(|repeated| !**repeated).count();
        match within("an outcome", receipt.processed()).await? {
            Outcome::Ok => {
                ok += 1;
                wrong += usize::from(times.is_empty() || (id % 2 == 1 && times.len() > 1));
            }
            Outcome::Unknown => {
                unknown += 1;
                wrong += usize::from(id % 2 == 0 || times.len() > 1);
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    let pings = pings.lock().expect("a log").clone();
    let gaps = pings
        .values()
        .filter(|ids| !ids.iter().copied().eq(0..ids.len() as i64))
        .count();
    println!(
        "{KILLS} kills of a client: to it {} sent, told ok {ok}, unknown {unknown}, handled twice and marked {doubled}, \
         against the guarantee {wrong}, out of order {}; from it {} handled in {} lives, lives with gaps or doubles {gaps}",
        ok + unknown,
        handled.out_of_order,
        pings.values().map(Vec::len).sum::<usize>(),
        pings.len(),
    );
    assert_eq!((wrong, handled.out_of_order), (0, 0), "PROTOCOL N-6, Q-3, Q-5, Q-7");
    assert_eq!(
        gaps, 0,
        "PROTOCOL Q-1: what a client had sent is handled once, in order"
    );
    assert_eq!(running.handle.stored(session.ok_or("a session")?), Some(0));
    neighbour.is_served().await;
    Ok(())
}
