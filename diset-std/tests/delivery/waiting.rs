//! Waiting for a message, or not: received, processed, given up at any point, and in a handler.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use diset_std::{Client, Outcome, Service, SessionSettings, WaitError, WhenFull};
use tokio::sync::Semaphore;

use crate::common::*;

fn poll_once<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(flavor = "multi_thread")]
async fn received_comes_before_processed() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = Arc::clone(&gate);
    let service = Service::new(PingPong).on(move |_, _: Ping| {
        let gate = Arc::clone(&handler_gate);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let receipt = client.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(
        within("received", receipt.received()).await?,
        Outcome::Ok,
        "PROTOCOL Q-2"
    );
    let mut processed = pin!(receipt.processed());
    assert!(poll_once(processed.as_mut()).is_pending(), "PROTOCOL Q-2");
    gate.add_permits(1);
    assert_eq!(within("processed", processed).await?, Outcome::Ok);
    // Asked later, by anybody, again.
    assert_eq!(receipt.clone().processed().await?, Outcome::Ok);
    assert_eq!((receipt.number(), client.stored()), (1, 0));
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_at_any_await_loses_and_doubles_nothing() -> TestResult {
    const MESSAGES: i64 = 400;
    let world = World::new()?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let service = Service::new(PingPong).on(move |_, ping: Ping| {
        log.lock().expect("a log").push(ping.id);
        async {
            tokio::task::yield_now().await;
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    // Four messages fit, so that many sends wait, and are given up there.
    let few = SessionSettings::default().store(4, 1 << 16);
    let client = world
        .client(PingPong, &running, "alice")?
        .session(few)
        .connect()
        .await?;
    let mut taken = Vec::new();
    let mut id = 0;
    let mut last = None;
    while id < MESSAGES {
        let ping = Ping { id };
        // So many polls, then it is dropped.
        let polls = id % 5 + 1;
        let sent = {
            let mut sending = pin!(client.send_acked(&ping));
            let mut sent = None;
            for _ in 0..polls {
                if let Poll::Ready(result) = poll_once(sending.as_mut()) {
                    sent = Some(result?);
                    break;
                }
                tokio::task::yield_now().await;
            }
            sent
        };
        if let Some(receipt) = sent {
            taken.push(id);
            for all in [false, true] {
                // Waited for, and given up.
                let mut received = pin!(receipt.received());
                let mut processed = pin!(receipt.processed());
                let _ = if all {
                    poll_once(processed.as_mut())
                } else {
                    poll_once(received.as_mut())
                };
            }
            last = Some(receipt);
        }
        if id % 97 == 96 {
            client.cut();
        }
        id += 1;
    }
    let last = last.ok_or("one was taken")?;
    assert_eq!(within("the last", last.processed()).await?, Outcome::Ok);
    assert_eq!(
        *seen.lock().expect("a log"),
        taken,
        "PROTOCOL Q-1: what was taken, and nothing else"
    );
    assert!(taken.len() < MESSAGES as usize, "some were given up");
    client.close().await;
    Ok(())
}

#[tokio::test]
async fn a_handler_does_not_wait_for_the_peer_for_ever() -> TestResult {
    let world = World::new()?;
    let (log, mut seen) = log();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let service = Service::new(PingPong).on(move |conn: diset_std::Conn<PingPong>, _: Ping| {
        let log = log.clone();
        async move {
            // The client handles this only when its own handler is done, which waits for this one.
            let receipt = conn.send_acked(&Pong { id: 2 }).await?;
            log.add(Ok(Outcome::Skipped));
            log.add(receipt.processed().await);
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .on(move |_: Client<PingPong>, _: Pong| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        })
        .connect()
        .await?;
    let receipt = client.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(seen.next().await, Ok(Outcome::Skipped));
    within("received", receipt.received()).await?;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    // The handler goes on by itself.
    let waited = tokio::time::timeout(Duration::from_secs(60), receipt.processed()).await;
    assert_eq!(waited??, Outcome::Ok);
    assert_eq!(seen.next().await, Err(WaitError::InHandler));
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(12)).contains(&took),
        "10 s, as documented: {took:?}"
    );
    opened.add_permits(1);
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_room_ends_when_it_was_said() -> TestResult {
    let world = World::new()?;
    let settings = SessionSettings::default()
        .store(1, 1000)
        .when_full(WhenFull::Wait(Duration::from_millis(20)));
    let address = "localhost:1";
    let client = Client::builder(PingPong, address)
        .tls(world.tls("alice")?)
        .session(settings)
        .start()?;
    client.send_acked(&Ping { id: 1 }).await?;
    let full = within("given up", client.send_acked(&Ping { id: 2 })).await;
    assert!(matches!(full, Err(diset_std::SendError::Full(_))), "{full:?}");
    assert_eq!(client.stored(), 1);
    Ok(())
}
