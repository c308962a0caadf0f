//! A client that comes back under another key, which it has announced (PROTOCOL N-8).

use core::time::Duration;
use std::sync::Arc;

use diset_std::tls::{Certificate, ClientTls};
use diset_std::{Client, Identity, NewReason, Outcome, Resumption};
use tokio::sync::Semaphore;

use super::hand::{Hand, IDENTITY, session};
use crate::common::*;

const HOUR: Duration = Duration::from_secs(3600);

struct Device {
    world: World,
    running: Running<PingPong>,
    tls: ClientTls,
    client: Client<PingPong>,
}

impl Device {
    async fn new() -> Result<Self, Box<dyn core::error::Error>> {
        let world = World::new()?;
        let running = world.serve(answering()).await?;
        let tls = world.tls("device")?;
        let client = client(&running, &tls).connect().await?;
        Ok(Self {
            world,
            running,
            tls,
            client,
        })
    }

    /// It has this certificate from now on, and comes again; how its session stands.
    async fn renew(&self, next: &Certificate) -> Result<Option<Resumption>, Box<dyn core::error::Error>> {
        self.tls.change(|tls| tls.certificate(next.clone()))?;
        let before = self.client.trid();
        self.client.cut();
        until(&self.client, "back", |_| {
            self.client.trid().is_some() && self.client.trid() != before
        })
        .await;
        Ok(self.client.resumption())
    }
}

fn client(running: &Running<PingPong>, tls: &ClientTls) -> diset_std::ClientBuilder<PingPong> {
    let client = Client::builder(PingPong, &running.address).tls(tls.clone());
    client
        .identity(IDENTITY)
        .reconnect(QUICK)
        .on(|_, _: Pong| async { Ok(()) })
}

fn is_resumed(stands: Option<Resumption>) -> bool {
    matches!(stands, Some(Resumption::Resumed { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_under_the_key_that_was_announced_once() -> TestResult {
    let device = Device::new().await?;
    let (next, third) = (device.world.ca.client("device")?, device.world.ca.client("device")?);
    let lasts = within("remembered", device.client.announce_certificate(&next, HOUR)).await?;
    assert_eq!(lasts, HOUR);
    assert!(is_resumed(device.renew(&next).await?), "PROTOCOL N-8");
    let receipt = device.client.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(within("processed", receipt.processed()).await?, Outcome::Ok);
    assert_eq!(
        device.running.handle.sessions().0,
        1,
        "PROTOCOL N-8: it belongs to the new key"
    );
    // The former key opens nothing of it, and no third one does.
    assert!(!is_resumed(device.renew(&third).await?), "PROTOCOL N-8: once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_announced_for_too_short_a_time_opens_nothing() -> TestResult {
    let device = Device::new().await?;
    let next = device.world.ca.client("device")?;
    let lasts = within("remembered", device.client.announce_certificate(&next, Duration::ZERO)).await?;
    assert_eq!(lasts, Duration::ZERO);
    let why = NewReason::Forgotten;
    assert_eq!(
        device.renew(&next).await?,
        Some(Resumption::New { why }),
        "PROTOCOL N-8"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_the_key_of_somebody_else_gets_and_breaks_nothing() -> TestResult {
    let device = Device::new().await?;
    let victims = device.world.ca.client("victim")?;
    // An attacker with the identity of the victim announces its key before it ever comes.
    within("remembered", device.client.announce_certificate(&victims, HOUR)).await?;
    let tls = ClientTls::new(victims.clone(), device.world.ca.authorities())?;
    let victim = client(&device.running, &tls).connect().await?;
    let why = NewReason::First;
    assert_eq!(
        victim.resumption(),
        Some(Resumption::New { why }),
        "PROTOCOL N-8: it has no token"
    );
    for client in [&victim, &device.client] {
        let receipt = client.send_acked(&Ping { id: 1 }).await?;
        assert_eq!(within("processed", receipt.processed()).await?, Outcome::Ok);
    }
    let before = victim.trid();
    victim.cut();
    until(&victim, "back", |_| victim.trid().is_some() && victim.trid() != before).await;
    assert!(is_resumed(victim.resumption()), "PROTOCOL N-1: each has its own");
    assert_eq!(device.running.handle.sessions().0, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_the_service_does_not_take_is_answered() -> TestResult {
    let device = Device::new().await?;
    let others = device.world.ca.client("other")?;
    let tls = ClientTls::new(others.clone(), device.world.ca.authorities())?;
    let other = client(&device.running, &tls).connect().await?;
    let refused = within("an answer", device.client.announce_certificate(&others, HOUR)).await?;
    assert_eq!(refused, Duration::ZERO, "PROTOCOL N-8");
    assert!(
        other.trid().is_some() && device.client.trid().is_some(),
        "nobody lost a connection"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_connection_under_the_former_key_is_displaced() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (log, mut seen) = log();
    let handlers = Arc::clone(&gate);
    let service = diset_std::Service::new(PingPong).on(move |_, ping: Ping| {
        let (log, gate) = (log.clone(), Arc::clone(&handlers));
        async move {
            log.add(("begins", ping.id));
            gate.acquire().await?.forget();
            log.add(("ends", ping.id));
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let (certificate, next) = (world.ca.client("device")?, world.ca.client("device")?);
    let hash = {
        // The service knows the key of whoever connects.
        let tls = ClientTls::new(next.clone(), world.ca.authorities())?;
        let other = Client::builder(PingPong, &running.address).tls(tls).connect().await?;
        let conn = conn_of(&running, &other).await;
        *conn
            .credentials()
            .certificate()
            .ok_or("a certificate")?
            .public_key_sha256()
    };
    let mut first = Hand::open(&world, &running.address, &certificate, session()).await?;
    first.conn.announce_next_key(hash, HOUR)?;
    first.flush().await?;
    first.until(|hand| hand.is_remembered).await?;
    first.send(1)?;
    first.send(2)?;
    first.flush().await?;
    assert_eq!(seen.next().await, ("begins", 1));
    // It comes again under the other key; the first connection stays, half open.
    let taken = first.leave();
    let mut second = Hand::open(&world, &running.address, &next, taken).await?;
    assert_eq!(
        second.resumption(),
        Some(Resumption::Resumed { replayed: 1 }),
        "PROTOCOL N-8"
    );
    assert!(
        first.until(|_| false).await.is_err(),
        "PROTOCOL D-2: the older one is ended"
    );
    assert_eq!(seen.now(), None, "PROTOCOL D-2: one lane");
    gate.add_permits(2);
    second.until(|hand| hand.conn.delivered().processed == 2).await?;
    for expected in [("ends", 1), ("begins", 2), ("ends", 2)] {
        assert_eq!(seen.next().await, expected, "PROTOCOL D-2");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_callback_under_the_former_key_comes_before_messages_under_the_new_one() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (log, mut seen) = log();
    let (handled, waits) = (log.clone(), Arc::clone(&gate));
    let service = diset_std::Service::new(PingPong)
        .on(move |_, _: Ping| {
            handled.add("handles");
            async { Ok(()) }
        })
        .on_drop(move |_, _| {
            let (log, gate) = (log.clone(), Arc::clone(&waits));
            async move {
                log.add("drop begins");
                let _permit = gate.acquire().await;
                log.add("drop ends");
            }
        });
    let running = world.serve(service).await?;
    let tls = world.tls("device")?;
    let client = client(&running, &tls).connect().await?;
    let next = world.ca.client("device")?;
    within("remembered", client.announce_certificate(&next, HOUR)).await?;
    tls.change(|tls| tls.certificate(next.clone()))?;
    // The older connection is over before the newer one comes; its drop callback is not.
    let before = client.trid();
    client.cut();
    assert_eq!(seen.next().await, "drop begins");
    until(&client, "back", |_| client.trid().is_some() && client.trid() != before).await;
    assert!(is_resumed(client.resumption()), "PROTOCOL N-8");
    let receipt = client.send_acked(&Ping { id: 1 }).await?;
    within("received", receipt.received()).await?;
    gate.add_permits(2);
    for expected in ["drop ends", "handles"] {
        assert_eq!(seen.next().await, expected, "PROTOCOL D-2");
    }
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_gets_no_more_sessions_by_other_keys() -> TestResult {
    let world = World::new()?;
    let settings = diset_std::SessionSettings::default().sessions_per_principal(1);
    let running = world.serve(answering().sessions(settings)).await?;
    let theirs = world.ca.client("b")?;
    let owner = ClientTls::new(theirs.clone(), world.ca.authorities())?;
    let owner = client(&running, &owner)
        .identity(Identity::from_bytes([200; 16]))
        .connect()
        .await?;
    let tls = world.tls("a")?;
    let mover = client(&running, &tls).connect().await?;
    within("remembered", mover.announce_certificate(&theirs, HOUR)).await?;
    tls.change(|tls| tls.certificate(theirs.clone()))?;
    let before = mover.trid();
    mover.cut();
    until(&mover, "back", |_| mover.trid().is_some() && mover.trid() != before).await;
    let why = NewReason::NoRoom;
    assert_eq!(mover.resumption(), Some(Resumption::New { why }), "PROTOCOL N-7");
    assert_eq!(
        running.handle.sessions().0,
        2,
        "one of each key; that of the mover waits for its own"
    );
    owner.close().await;
    Ok(())
}
