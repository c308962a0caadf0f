//! Sending to whoever is not there: before the first connection, in between, and at the end.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use diset_std::{Client, NewReason, Outcome, Resumption, Rule, SendError, Service, ServiceHandle, Verdict};
use tokio::net::TcpListener;

use super::hand::{Hand, session};
use crate::common::*;

/// A service that tells which messages it handles, and how sessions stood before.
fn telling() -> (Service<PingPong>, Seen<String>) {
    let (log, seen) = log();
    let opened = log.clone();
    let service = Service::new(PingPong)
        .on_connected(move |conn: diset_std::Conn<PingPong>| {
            opened.add(format!("{:?}", conn.resumption()));
            async { Ok(()) }
        })
        .on(move |conn, ping: Ping| {
            log.add(format!(
                "{} {:?}",
                ping.id,
                conn.received().map(|received| received.number)
            ));
            async { Ok(()) }
        });
    (service, seen)
}

fn new(why: NewReason) -> String {
    format!("{:?}", Some(Resumption::New { why }))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_before_the_first_connection_arrives_after_on_connected() -> TestResult {
    let world = World::new()?;
    // Nobody listens yet at this address.
    let held = TcpListener::bind("127.0.0.1:0").await?;
    let port = held.local_addr()?.port();
    drop(held);
    let (log, mut stood) = log();
    let client = Client::builder(PingPong, &format!("localhost:{port}"))
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .on_connected(move |client| {
            log.add(format!("{:?}", client.resumption()));
            async { Ok(()) }
        })
        .start()?;
    let receipt = client.send_acked(&Ping { id: 7 }).await?;
    assert_eq!((client.stored(), client.resumption()), (1, None));
    let (service, mut seen) = telling();
    let running = run(service.bind(("127.0.0.1", port), world.server.clone()).await?);
    assert_eq!(within("processed", receipt.processed()).await?, Outcome::Ok);
    assert_eq!(stood.next().await, new(NewReason::First), "PROTOCOL N-6");
    assert_eq!(
        seen.next().await,
        new(NewReason::First),
        "PROTOCOL N-6: before any message"
    );
    assert_eq!(seen.next().await, "7 Some(1)");
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_sends_to_a_client_that_is_away() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let away = session();
    let certificate = world.ca.client("device")?;
    let mut hand = Hand::open(&world, &running.address, &certificate, away).await?;
    // A frame tells the service that its token has been read.
    hand.send(1)?;
    hand.flush().await?;
    hand.until(|hand| hand.conn.delivered().processed == 1).await?;
    let id = running.handle.connections()[0].session();
    let kept = hand.leave();
    drop(hand);
    within("away", async {
        while running.handle.sessions() != (1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sent = running.handle.send_acked(id, &Pong { id: 42 }).await?;
    assert_eq!(running.handle.stored(id), Some(1));
    let mut again = Hand::open(&world, &running.address, &certificate, kept).await?;
    assert!(
        matches!(again.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-6"
    );
    again.until(|hand| hand.pongs == [42]).await?;
    // Acknowledged when something leaves, at the latest after 20 ms of the hand's own clock.
    let acked = async {
        loop {
            again.send(2).expect("room");
            again.flush().await.expect("open");
            let processed = again.conn.delivered().processed;
            again
                .until(|hand| hand.conn.delivered().processed > processed)
                .await
                .expect("open");
            if running.handle.stored(id) == Some(0) {
                break;
            }
        }
    };
    within("acked", acked).await;
    assert_eq!(within("processed", sent.processed()).await?, Outcome::Ok);
    let nobody = diset_std::SessionId {
        identity: diset_std::Identity::from_bytes([1; 16]),
        ..id
    };
    let unknown = running.handle.send_acked(nobody, &Pong { id: 1 }).await;
    assert!(matches!(unknown, Err(SendError::NoSession)), "{unknown:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn close_flushes_what_is_stored_and_ends_what_is_left() -> TestResult {
    let world = World::new()?;
    let (service, seen) = telling();
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let mut receipts = Vec::new();
    for id in 0..500 {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    client.close().await;
    for receipt in &receipts {
        assert_eq!(receipt.processed().await, Ok(Outcome::Ok), "{receipt:?}");
    }
    running.stop().await;
    assert_eq!(seen.rest().await.len(), 501);
    // Of one that never got through the sender hears, too, and of one that comes too late.
    let client = Client::builder(PingPong, "localhost:1")
        .tls(world.tls("alice")?)
        .start()?;
    let receipt = client.send_acked(&Ping { id: 1 }).await?;
    client.close().await;
    assert_eq!(receipt.processed().await, Ok(Outcome::Skipped), "PROTOCOL Q-5");
    let late = client.send_acked(&Ping { id: 1 }).await;
    assert!(matches!(late, Err(SendError::NotOpen)), "{late:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_drains_outcomes_both_ways() -> TestResult {
    let world = World::new()?;
    let (log, mut told) = log();
    let service = Service::new(PingPong).on(move |conn: diset_std::Conn<PingPong>, ping: Ping| {
        let log = log.clone();
        async move {
            log.add(conn.send_acked(&Pong { id: ping.id }).await?);
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .on(|_, _: Pong| async { Ok(()) })
        .connect()
        .await?;
    let mut sent = Vec::new();
    for id in 0..50 {
        sent.push(client.send_acked(&Ping { id }).await?);
    }
    let (mut answers, last) = (Vec::new(), sent.last().ok_or("sent")?.clone());
    within("the last", last.received()).await?;
    for _ in 0..50 {
        answers.push(told.next().await);
    }
    running.stop().await;
    // The drain told the outcomes of what was on its way, before the end.
    for answer in answers {
        assert_eq!(
            within("an outcome", answer.processed()).await,
            Ok(Outcome::Ok),
            "PROTOCOL G-2"
        );
    }
    for receipt in sent {
        assert_eq!(
            within("an outcome", receipt.processed()).await,
            Ok(Outcome::Ok),
            "PROTOCOL G-2"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_stored_comes_to_an_end_when_it_ends() -> TestResult {
    let world = World::new()?;
    let (log, mut outcomes) = log();
    let service = answering().on_outcome(move |_, number, outcome| log.add((number, outcome)));
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let session = conn_of(&running, &client).await.session();
    client.close().await;
    let receipt = running.handle.send_acked(session, &Pong { id: 1 }).await?;
    running.stop().await;
    assert_eq!(
        within("an outcome", receipt.processed()).await,
        Ok(Outcome::Skipped),
        "PROTOCOL Q-5"
    );
    assert_eq!(outcomes.next().await, (1, Outcome::Skipped));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_on_one_side_plain_messages_go_on() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let (log, mut pongs) = log();
    let client = world
        .client(PingPong, &running, "alice")?
        .without_session()
        .on(move |_, pong: Pong| {
            log.add(pong.id);
            async { Ok(()) }
        })
        .connect()
        .await?;
    let refused = client.send_acked(&Ping { id: 1 }).await;
    assert!(
        matches!(refused, Err(SendError::NoSession)),
        "PROTOCOL N-1: {refused:?}"
    );
    let conn = conn_of(&running, &client).await;
    let refused = conn.send_acked(&Pong { id: 1 }).await;
    assert!(
        matches!(refused, Err(SendError::NoSession)),
        "PROTOCOL N-1: {refused:?}"
    );
    assert_eq!(
        (client.resumption(), conn.resumption(), running.handle.sessions()),
        (None, None, (0, 0))
    );
    client.send(&Ping { id: 5 }).await?;
    assert_eq!(pongs.next().await, 5);
    client.close().await;
    // A peer of before, whose proposal has no such field.
    let certificate = world.ca.client("old")?;
    let old = Hand::open_old(&world, &running.address, &certificate).await?;
    assert_eq!(old.resumption(), None);
    // And one that takes the catalog.
    let generic = Client::generic("Framework/PingPong", &running.address)
        .tls(world.tls("tool")?)
        .connect()
        .await?;
    assert!(generic.verdicts().contains(&(String::from("Ping"), Verdict::Same)));
    assert_eq!(generic.resumption(), None);
    generic.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_by_now_does_not_leave_and_its_outcome_may_be_looked_into() -> TestResult {
    let world = World::new()?;
    let (is_allowed, known) = (Arc::new(AtomicBool::new(true)), Arc::new(OnceLock::new()));
    let (allowed, handle) = (Arc::clone(&is_allowed), Arc::clone(&known));
    let (log, mut seen) = log();
    let service = answering()
        .allow::<Pong>(Rule::at_delivery(move |_| allowed.load(SeqCst)))
        // It asks the session that is being opened.
        .on_outcome(move |session, number, outcome| {
            let stored = handle
                .get()
                .and_then(|handle: &ServiceHandle<_>| handle.stored(session));
            log.add((number, outcome, stored));
        });
    let running = world.serve(service).await?;
    let _ = known.set(running.handle.clone());
    let certificate = world.ca.client("device")?;
    let mut hand = Hand::open(&world, &running.address, &certificate, session()).await?;
    let id = running.handle.connections().first().ok_or("a connection")?.session();
    let kept = hand.leave();
    drop(hand);
    within("away", async {
        while running.handle.sessions() != (1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let receipt = running.handle.send_acked(id, &Pong { id: 42 }).await?;
    is_allowed.store(false, SeqCst);
    let again = within("let in", Hand::open(&world, &running.address, &certificate, kept)).await?;
    let forbidden = Outcome::NotAgreed(Verdict::Forbidden);
    assert_eq!(seen.next().await, (1, forbidden, Some(0)), "PROTOCOL M-5, Q-5");
    assert_eq!(within("an outcome", receipt.processed()).await?, forbidden);
    assert_eq!(again.pongs, Vec::<i64>::new());
    Ok(())
}
