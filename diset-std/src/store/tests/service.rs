//! A service whose disk fails: nothing is told before it is kept, connections live on, and all goes on when the
//! disk is well again.

use core::error::Error;
use core::future::Future;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::sync::Arc;

use diset_proto::Limits;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{Disk, Meter, Reading, until};
use crate::store::{Place, StoreError};
use crate::tls::throwaway::ThrowawayCa;
use crate::tls::{ClientTls, ServerTls};
use crate::{Client, Outcome, ReconnectPolicy, Service, ServiceHandle};

type TestResult = Result<(), Box<dyn Error>>;

/// A second without a word, and one and a half: dead.
const LIMITS: Limits = Limits::SERVER.with_max_silence(Duration::from_secs(1));

/// A service on a disk that can fail, and what it handles when there is a permit.
struct World {
    ca: ThrowawayCa,
    disk: Disk,
    gate: Arc<Semaphore>,
    handled: mpsc::UnboundedReceiver<u32>,
    handle: ServiceHandle<Meter>,
    address: String,
    task: JoinHandle<()>,
}

impl World {
    async fn new(journal_bytes: usize) -> Result<Self, Box<dyn Error>> {
        let (ca, disk) = (ThrowawayCa::new()?, Disk::new());
        let gate = Arc::new(Semaphore::new(0));
        let (log, handled) = mpsc::unbounded_channel();
        let waits = Arc::clone(&gate);
        let service = Service::new(Meter)
            .durable_on(Place::Disk(disk.opener(), journal_bytes))
            .limits(LIMITS)
            .on(move |_, reading: Reading| {
                let (log, gate) = (log.clone(), Arc::clone(&waits));
                async move {
                    gate.acquire().await?.forget();
                    log.send(reading.value)?;
                    Ok(())
                }
            });
        let tls = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
        let bound = service.bind("127.0.0.1:0", tls).await?;
        let port = bound.local_addr().ok_or("a port")?.port();
        Ok(Self {
            ca,
            disk,
            gate,
            handled,
            handle: bound.handle(),
            address: format!("localhost:{port}"),
            task: tokio::spawn(bound.run()),
        })
    }

    /// A client that tells what it gets.
    fn start(&self, name: &str) -> Result<(Client<Meter>, mpsc::UnboundedReceiver<u32>), Box<dyn Error>> {
        let (log, got) = mpsc::unbounded_channel();
        let client = Client::builder(Meter, &self.address)
            .tls(ClientTls::new(self.ca.client(name)?, self.ca.authorities())?)
            .limits(LIMITS)
            .reconnect(ReconnectPolicy {
                base: Duration::from_millis(20),
                max: Duration::from_millis(100),
                ..ReconnectPolicy::DEFAULT
            })
            .on(move |_, reading: Reading| {
                let log = log.clone();
                async move {
                    log.send(reading.value)?;
                    Ok(())
                }
            })
            .start()?;
        Ok((client, got))
    }

    fn store(&self) -> &crate::store::DurableStore {
        self.handle.store().expect("a store")
    }
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not in time"),
    }
}

/// Whether it waits.
async fn waits(future: impl Future) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = tokio::task::yield_now() => true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_key_is_told_when_it_is_kept() -> TestResult {
    let mut world = World::new(1 << 20).await?;
    let (client, mut got) = world.start("device")?;
    within("connected", client.connected()).await?;
    let session = world.handle.connections()[0].session();
    world.gate.add_permits(10);
    world.disk.full.store(true, SeqCst);
    let next = world.ca.client("device")?;
    let hour = Duration::from_secs(3600);
    let mut told = Box::pin(client.announce_certificate(&next, hour));
    assert!(waits(&mut told).await);
    // There and back, behind the announcement and what might have been its answer.
    client.send(&Reading { value: 1 }).await?;
    assert_eq!(within("handled", world.handled.recv()).await, Some(1));
    world.handle.send_to_session(session, &Reading { value: 2 }).await?;
    assert_eq!(within("back", got.recv()).await, Some(2));
    within("the failure", until(world.store(), Some(StoreError::DiskFull))).await;
    assert!(waits(&mut told).await, "PROTOCOL N-8, Q-6: it is not in the file");
    world.disk.full.store(false, SeqCst);
    assert_eq!(within("told", told).await?, hour);
    world.task.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_on_when_its_disk_does() -> TestResult {
    let mut world = World::new(10_000).await?;
    let (client, mut got) = world.start("device")?;
    within("connected", client.connected()).await?;
    let (session, trid) = (world.handle.connections()[0].session(), client.trid());
    let first = client.send_acked(&Reading { value: 0 }).await?;
    assert_eq!(within("received", first.received()).await?, Outcome::Ok);

    world.disk.full.store(true, SeqCst);
    let mut receipts = vec![first];
    for value in 1..300 {
        receipts.push(client.send_acked(&Reading { value }).await?);
    }
    let crowded = async {
        while !world.store().is_crowded() {
            tokio::task::yield_now().await;
        }
    };
    within("crowded", crowded).await;
    within("the failure", until(world.store(), Some(StoreError::DiskFull))).await;
    let (newcomer, _) = world.start("newcomer")?;
    // Nobody is dead, though what is sent waits: longer than one and a half times the longest silence.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.handle.send_to_session(session, &Reading { value: 7 }).await?;
    assert_eq!(within("plain", got.recv()).await, Some(7));
    assert_eq!(client.trid(), trid, "PROTOCOL L-1");
    for receipt in receipts.iter().skip(1) {
        assert!(waits(receipt.received()).await, "PROTOCOL Q-6: it is not in the file");
    }
    assert_eq!(newcomer.trid(), None, "PROTOCOL N-4: its token is not in the file");

    world.disk.full.store(false, SeqCst);
    world.gate.add_permits(1000);
    for receipt in receipts {
        assert_eq!(within("dealt with", receipt.processed()).await?, Outcome::Ok);
    }
    for value in 0..300 {
        assert_eq!(world.handled.recv().await, Some(value), "once, in order");
    }
    assert_eq!(client.trid(), trid);
    within("let in", newcomer.connected()).await?;
    assert_eq!(world.store().failure(), None);
    world.task.abort();
    Ok(())
}
