//! One thousand faults under acked traffic both ways, against the guarantee (PROTOCOL, part Q).

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use core::time::Duration;
use std::env;
use std::sync::Arc;
use std::time::SystemTime;

use diset_std::{
    Client, Failure, HandlerResult, Limits, NewReason, Receipt, Resumption, Service, ServiceHandle, SessionId,
    SessionSettings,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::proxy::{Dice, FAULTS, Traffic, proxy};
use super::tally::{REFUSED, Tally};
use crate::common::*;

const CLIENTS: usize = 16;
/// How long all of it may take.
const MOST: Duration = Duration::from_secs(240);
const SOON: diset_std::ReconnectPolicy = diset_std::ReconnectPolicy {
    base: Duration::from_millis(5),
    max: Duration::from_millis(20),
    ..QUICK
};

/// How sessions stood when connections opened.
#[derive(Default)]
struct Resumptions {
    resumed: AtomicUsize,
    replayed: AtomicUsize,
    first: AtomicUsize,
    other: AtomicUsize,
}

impl Resumptions {
    fn add(&self, resumption: Option<Resumption>) {
        match resumption {
            Some(Resumption::Resumed { replayed }) => {
                self.resumed.fetch_add(1, SeqCst);
                self.replayed
                    .fetch_add(usize::try_from(replayed).unwrap_or(usize::MAX), SeqCst);
            }
            Some(Resumption::New { why: NewReason::First }) => {
                self.first.fetch_add(1, SeqCst);
            }
            _ => {
                self.other.fetch_add(1, SeqCst);
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// What a handler does: some take their time, some fail.
async fn handle(id: i64) -> HandlerResult {
    if id % 7 == 0 {
        tokio::task::yield_now().await;
    }
    if id % 50 == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if id % REFUSED == REFUSED - 1 {
        return Err(Failure::new("one of those that fail"));
    }
    Ok(())
}

/// Sends numbers until the faults are over; the outcome of each goes to the tally, in order.
async fn produce<F>(mut send: impl FnMut(i64) -> F, over: Arc<Traffic>, count: usize, tally: Tally, client: usize)
where
    F: Future<Output = Receipt>,
{
    let (receipts, mut sent) = mpsc::unbounded_channel::<Receipt>();
    let listen = async {
        while let Some(receipt) = sent.recv().await {
            let outcome = receipt.processed().await.expect("an outcome");
            tally.outcome(client, outcome);
        }
    };
    let talk = async move {
        let done = over.faulted(count);
        tokio::pin!(done);
        for id in 0.. {
            let receipt = tokio::select! {
                biased;
                () = &mut done => break,
                receipt = send(id) => receipt,
            };
            receipts.send(receipt).expect("somebody listens");
        }
    };
    tokio::join!(listen, talk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_faults_lose_and_double_nothing() -> TestResult {
    let by_time = || {
        SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.as_nanos() as u64)
    };
    let seed = setting("FAULT_SEED").unwrap_or_else(by_time);
    let count = setting("FAULT_COUNT").map_or(1000, |count| count as usize);
    println!("FAULT_SEED={seed} FAULT_COUNT={count}");
    tokio::time::timeout(MOST, run(seed, count)).await?
}

async fn run(seed: u64, count: usize) -> TestResult {
    let world = World::new()?;
    let (up, down) = (Tally::default(), Tally::default());
    let resumptions = Arc::new(Resumptions::default());
    // A handshake that stalls is given up soon: a few in a row must not take as long as a sender waits for room.
    let limits = Limits::SERVER
        .with_max_silence(Duration::from_millis(400))
        .with_handshake(Duration::from_secs(2));
    let settings = SessionSettings::default().store(128, 1 << 20);
    let handled = up.clone();
    let service = Service::new(PingPong).limits(limits).sessions(settings).on(
        move |conn: diset_std::Conn<PingPong>, ping: Ping| {
            let client = usize::from(conn.identity().as_bytes()[0]);
            handled.handled(client, ping.id);
            handle(ping.id)
        },
    );
    let running = world.serve(service).await?;
    let traffic = Arc::new(Traffic::default());
    let address = proxy(running.port(), seed, Arc::clone(&traffic)).await?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (handled, stood) = (down.clone(), Arc::clone(&resumptions));
        let client = Client::builder(PingPong, &address)
            .tls(world.tls("client")?)
            .identity(diset_std::Identity::from_bytes([u8::try_from(number)?; 16]))
            .limits(limits)
            .session(settings)
            .reconnect(SOON)
            .seed(Dice(seed ^ number as u64).below(u64::MAX))
            .on(move |_, pong: Pong| {
                handled.handled(number, pong.id);
                handle(pong.id)
            })
            .on_connected(move |client| {
                stood.add(client.resumption());
                async { Ok(()) }
            })
            .connect()
            .await?;
        let session = conn_of(&running, &client).await.session();
        clients.push((client, session));
    }
    traffic.is_rough.store(true, SeqCst);
    work(&clients, &running.handle, &traffic, count, [&up, &down]).await;
    let (up, down) = (up.counts(), down.counts());
    report(&traffic, &resumptions);
    println!("to the service: {up}\nto the clients: {down}");
    up.assert_exact("PROTOCOL Q-1, Q-5: to the service");
    down.assert_exact("PROTOCOL Q-1, Q-5: to the clients");
    assert_eq!(
        resumptions.first.load(SeqCst),
        CLIENTS,
        "PROTOCOL N-6: once for each client"
    );
    assert_eq!(
        resumptions.other.load(SeqCst),
        0,
        "PROTOCOL N-5: the counters agree after each fault"
    );
    for (client, _) in &clients {
        assert_eq!(client.stored(), 0);
        client.close().await;
    }
    running.stop().await;
    Ok(())
}

/// Both sides send until there were so many faults, and then wait for the rest in calm.
async fn work(
    clients: &[(Client<PingPong>, SessionId)],
    service: &ServiceHandle<PingPong>,
    traffic: &Arc<Traffic>,
    count: usize,
    [up, down]: [&Tally; 2],
) {
    let mut tasks = JoinSet::new();
    for (number, (client, session)) in clients.iter().enumerate() {
        let (client, session, service) = (client.clone(), *session, service.clone());
        let send = move |id| {
            let client = client.clone();
            async move { client.send_acked(&Ping { id }).await.expect("stored") }
        };
        tasks.spawn(produce(send, Arc::clone(traffic), count, up.clone(), number));
        let send = move |id| {
            let service = service.clone();
            async move { service.send_acked(session, &Pong { id }).await.expect("stored") }
        };
        tasks.spawn(produce(send, Arc::clone(traffic), count, down.clone(), number));
    }
    traffic.faulted(count).await;
    traffic.is_rough.store(false, SeqCst);
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
}

fn report(traffic: &Traffic, resumptions: &Resumptions) {
    let faults = traffic.faults();
    let total: usize = faults.iter().sum();
    let kinds: Vec<_> = FAULTS
        .iter()
        .zip(faults)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    println!("{total} faults: {}", kinds.join(", "));
    println!(
        "{} connections tried; {} resumed, {} messages transmitted again, {} bytes in all",
        traffic.connections(),
        resumptions.resumed.load(SeqCst),
        resumptions.replayed.load(SeqCst),
        traffic.passed(),
    );
}
