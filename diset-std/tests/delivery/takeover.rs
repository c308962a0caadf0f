//! One lane of handlers for each session, also when a second connection takes it over while the first
//! one's handler runs (PROTOCOL D-2, Q-8); and clients that fight over one session.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

use diset_std::{Failure, Outcome, Resumption, Service, SessionSettings};
use tokio::sync::Semaphore;

use super::hand::{Hand, IDENTITY, session};
use crate::common::*;

/// A service whose handlers each wait for a permit; it says when each begins and ends.
fn gated(gate: &Arc<Semaphore>) -> (Service<PingPong>, Seen<(&'static str, i64)>) {
    let (log, seen) = log();
    let gate = Arc::clone(gate);
    let service = Service::new(PingPong).on(move |_, ping: Ping| {
        let (log, gate) = (log.clone(), Arc::clone(&gate));
        async move {
            log.add(("begins", ping.id));
            gate.acquire().await?.forget();
            log.add(("ends", ping.id));
            if ping.id == 13 {
                Err(Failure::new("unlucky"))
            } else {
                Ok(())
            }
        }
    });
    (service, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_a_handler_that_outlives_its_connection_counts() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (service, mut seen) = gated(&gate);
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let receipt = client.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(seen.next().await, ("begins", 1));
    let before = client.trid();
    client.cut();
    until(&client, "another connection", |_| {
        client.trid().is_some() && client.trid() != before
    })
    .await;
    gate.add_permits(1);
    // Nothing else is sent that would tell of it.
    assert_eq!(
        within("the outcome", receipt.processed()).await?,
        Outcome::Ok,
        "PROTOCOL Q-8"
    );
    assert_eq!(seen.next().await, ("ends", 1));
    assert_eq!(seen.now(), None, "PROTOCOL Q-1: once");
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_while_a_handler_runs_keeps_one_lane_and_the_order() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (service, mut seen) = gated(&gate);
    let running = world.serve(service).await?;
    let certificate = world.ca.client("device")?;
    let mut first = Hand::open(&world, &running.address, &certificate, session()).await?;
    for id in [11, 12, 13, 14] {
        first.send(id)?;
    }
    first.flush().await?;
    assert_eq!(seen.next().await, ("begins", 11));
    // The first connection stays, half open; its handler still runs.
    let taken = first.leave();
    let mut second = Hand::open(&world, &running.address, &certificate, taken).await?;
    assert_eq!(
        second.resumption(),
        Some(Resumption::Resumed { replayed: 3 }),
        "PROTOCOL N-6"
    );
    assert_eq!(
        seen.now(),
        None,
        "PROTOCOL D-2: nothing of the newer one is handled before"
    );
    gate.add_permits(16);
    assert!(
        second.until(|_| false).await.is_err(),
        "PROTOCOL M-4: the connection ends with 13"
    );
    for expected in [("ends", 11), ("begins", 12), ("ends", 12), ("begins", 13), ("ends", 13)] {
        assert_eq!(seen.next().await, expected, "PROTOCOL D-2, Q-7");
    }
    assert_eq!(second.conn.delivered().processed, 3);
    assert_eq!(second.outcome().map(|(number, _)| number), Some(3), "PROTOCOL Q-5");
    let taken = second.leave();
    let mut third = Hand::open(&world, &running.address, &certificate, taken).await?;
    third.until(|hand| hand.conn.delivered().processed >= 4).await?;
    assert_eq!(seen.next().await, ("begins", 14), "PROTOCOL Q-5: 13 is not sent again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_after_the_takeover_has_its_outcome_told_by_the_newer_connection() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (service, mut seen) = gated(&gate);
    let running = world.serve(service).await?;
    let certificate = world.ca.client("device")?;
    let mut first = Hand::open(&world, &running.address, &certificate, session()).await?;
    first.send(13)?;
    first.flush().await?;
    assert_eq!(seen.next().await, ("begins", 13));
    let taken = first.leave();
    let mut second = Hand::open(&world, &running.address, &certificate, taken).await?;
    gate.add_permits(1);
    second.until(|hand| hand.conn.delivered().processed >= 1).await?;
    let told = second.outcome();
    assert!(matches!(told, Some((1, Outcome::Failed(_)))), "PROTOCOL Q-8: {told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_that_fight_over_one_identity_do_not_spin() -> TestResult {
    let world = World::new()?;
    let connects = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connects);
    let service = answering().sessions(SessionSettings::default()).on_connected(move |_| {
        count.fetch_add(1, SeqCst);
        async { Ok(()) }
    });
    let running = world.serve(service).await?;
    let tls = world.tls("twins")?;
    let twin = || {
        let client = diset_std::Client::builder(PingPong, &running.address);
        client.tls(tls.clone()).identity(IDENTITY).start()
    };
    let (one, other) = (twin()?, twin()?);
    // Each sends one; both get through although they displace one another.
    let (a, b) = (
        one.send_acked(&Ping { id: 1 }).await?,
        other.send_acked(&Ping { id: 2 }).await?,
    );
    let both = async { tokio::join!(a.processed(), b.processed()) };
    // Nobody knows, or it was dealt with; each has an end. One that comes while the other is let in is sent away for as
    // long as 11 s, and longer each time.
    let (a, b) = tokio::time::timeout(core::time::Duration::from_secs(60), both).await?;
    assert!(a.is_ok() && b.is_ok(), "PROTOCOL Q-5: {a:?}, {b:?}");
    tokio::time::sleep(core::time::Duration::from_secs(3)).await;
    // Waits are half a second long at first and get longer with each displacement.
    let connects = connects.load(SeqCst);
    assert!(connects <= 40, "PROTOCOL R-5: {connects} connections in 3 s");
    drop((one, other));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_may_be_looked_at_while_it_is_taken_over() -> TestResult {
    const TAKEOVERS: usize = 300;
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let certificate = world.ca.client("device")?;
    let mut hand = Hand::open(&world, &running.address, &certificate, session()).await?;
    let id = running.handle.connections().first().ok_or("a connection")?.session();
    let mut kept = hand.leave();
    let over = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (handle, over) = (running.handle.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                while over.load(SeqCst) == 0 {
                    core::hint::black_box(handle.stored(id));
                }
            })
        })
        .collect();
    // Each comes while the one before is open.
    for _ in 0..TAKEOVERS {
        kept = within("let in", Hand::open(&world, &running.address, &certificate, kept))
            .await?
            .leave();
    }
    over.store(1, SeqCst);
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    Ok(())
}
