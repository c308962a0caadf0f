//! Which outcome comes of what, and that what has one is never sent again (PROTOCOL Q-5).

use std::sync::{Arc, Mutex};

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use diset_std::{Client, Code, Conn, Failure, Outcome, Rule, Schema, Service, Verdict, define_service};
use serde::{Deserialize, Serialize};

use crate::common::*;

/// As the client has it: a character where the service wants a number of letters.
#[derive(Debug, Serialize, Deserialize, Schema)]
struct Only {
    id: i64,
}

define_service! {
    /// Shares Ping with [`PingPong`], and has one that the other does not know.
    Other = "Framework/PingPong";
    from_client: [Ping, Only],
    from_service: [Pong],
}

/// What each of these messages came to, and which handlers were called, in order.
async fn outcomes(service: Service<PingPong>, ids: &[i64]) -> Result<Vec<Outcome>, Box<dyn core::error::Error>> {
    let world = World::new()?;
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let mut receipts = Vec::new();
    for id in ids {
        receipts.push(client.send_acked(&Ping { id: *id }).await?);
    }
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.push(within("an outcome", receipt.processed()).await?);
    }
    client.close().await;
    running.stop().await;
    Ok(outcomes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_is_handled_once_and_those_behind_it_on_the_next_connection() -> TestResult {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let service = Service::new(PingPong).on(move |_, ping: Ping| {
        log.lock().expect("a log").push(ping.id);
        async move {
            match ping.id {
                2 => Err(Failure::new("no")),
                4 => panic!("at once"),
                6 => {
                    tokio::task::yield_now().await;
                    panic!("later")
                }
                _ => Ok(()),
            }
        }
    });
    let (ok, failed) = (Outcome::Ok, Outcome::Failed(Code::HandlerFailed));
    let outcomes = outcomes(service, &[1, 2, 3, 4, 5, 6, 7]).await?;
    assert_eq!(outcomes, [ok, failed, ok, failed, ok, failed, ok], "PROTOCOL Q-5");
    assert_eq!(
        *seen.lock().expect("a log"),
        [1, 2, 3, 4, 5, 6, 7],
        "PROTOCOL Q-5: each once, in order"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_handler_is_an_outcome() -> TestResult {
    let failed = Outcome::Failed(Code::NoHandler);
    assert_eq!(
        outcomes(Service::new(PingPong), &[1, 2]).await?,
        [failed, failed],
        "PROTOCOL Q-5"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_holds_for_what_is_sent_again() -> TestResult {
    let world = World::new()?;
    let is_allowed = Arc::new(AtomicBool::new(true));
    let allowed = Arc::clone(&is_allowed);
    let (log, mut seen) = log();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let service = Service::new(PingPong)
        .allow::<Ping>(Rule::at_delivery(move |_: &Conn<PingPong>| allowed.load(SeqCst)))
        .on(move |_, ping: Ping| {
            log.add(ping.id);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        });
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let first = client.send_acked(&Ping { id: 1 }).await?;
    let second = client.send_acked(&Ping { id: 2 }).await?;
    assert_eq!(seen.next().await, 1);
    within("received", second.received()).await?;
    // It was received, waits behind the first, and comes again on another connection; rights change meanwhile.
    let before = client.trid();
    client.cut();
    until(&client, "back", |_| client.trid().is_some() && client.trid() != before).await;
    is_allowed.store(false, SeqCst);
    opened.add_permits(10);
    assert_eq!(within("the first", first.processed()).await?, Outcome::Ok);
    let forbidden = Outcome::Failed(Code::Forbidden);
    assert_eq!(
        within("the second", second.processed()).await?,
        forbidden,
        "PROTOCOL M-5, Q-5"
    );
    assert_eq!(seen.now(), None);
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_peer_does_not_share_never_leaves_and_is_told() -> TestResult {
    let world = World::new()?;
    let (service, seen) = {
        let (log, seen) = log();
        let service = Service::new(PingPong).on(move |_, ping: Ping| {
            log.add(ping.id);
            async { Ok(()) }
        });
        (service, seen)
    };
    let running = world.serve(service).await?;
    let (log, mut told) = log();
    let client = Client::builder(Other, &running.address)
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .on_outcome(move |_, number, outcome| log.add((number, outcome)))
        .start()?;
    // Stored before it is known what the service shares.
    let mut receipts = Vec::new();
    for id in 0..40 {
        receipts.push(match id % 2 {
            0 => client.send_acked(&Ping { id }).await?,
            _ => client.send_acked(&Only { id }).await?,
        });
    }
    for (receipt, id) in receipts.iter().zip(0..) {
        let outcome = within("an outcome", receipt.processed()).await?;
        let expected = if id % 2 == 0 {
            Outcome::Ok
        } else {
            Outcome::NotAgreed(Verdict::Unknown)
        };
        assert_eq!(outcome, expected, "PROTOCOL Q-5: {receipt:?}");
    }
    for number in (2..=40).step_by(2) {
        assert_eq!(told.next().await, (number, Outcome::NotAgreed(Verdict::Unknown)));
    }
    client.close().await;
    running.stop().await;
    assert_eq!(seen.rest().await, (0..40).step_by(2).collect::<Vec<i64>>());
    Ok(())
}

#[tokio::test]
async fn a_handler_that_never_ends_is_a_failure_after_its_grace() -> TestResult {
    let world = World::new()?;
    let (log, mut seen) = log();
    let service = Service::new(PingPong).on(move |_, ping: Ping| {
        log.add(ping.id);
        async move {
            if ping.id == 1 {
                core::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let stuck = client.send_acked(&Ping { id: 1 }).await?;
    let behind = client.send_acked(&Ping { id: 2 }).await?;
    assert_eq!(seen.next().await, 1);
    client.cut();
    tokio::time::pause();
    // 30 s on a clock that goes on when nothing else does.
    let failed = Outcome::Failed(Code::HandlerFailed);
    let waited = tokio::time::timeout(core::time::Duration::from_secs(60), stuck.processed()).await;
    assert_eq!(waited??, failed, "PROTOCOL Q-5");
    assert_eq!(
        tokio::time::timeout(core::time::Duration::from_secs(60), behind.processed()).await??,
        Outcome::Ok
    );
    assert_eq!(seen.next().await, 2);
    Ok(())
}
