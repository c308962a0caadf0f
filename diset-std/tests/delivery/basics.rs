//! What everybody relies on: once, in order, across cuts; and an outcome for each.

use std::sync::{Arc, Mutex};

use diset_std::{Code, Failure, Outcome, Service};
use tokio::sync::mpsc;

use crate::common::{Ping, PingPong, Pong, TestResult, World, within};

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_once_and_in_order_across_cuts() -> TestResult {
    let world = World::new()?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let service = Service::new(PingPong).on(move |conn, ping: Ping| {
        log.lock().expect("a log").push(ping.id);
        async move {
            conn.send_acked(&Pong { id: ping.id }).await?;
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let (answers, mut answered) = mpsc::unbounded_channel();
    let client = world
        .client(PingPong, &running, "alice")?
        .on(move |_, pong: Pong| {
            let sent = answers.send(pong.id);
            async move { sent.map_err(|_| Failure::new("nobody listens")) }
        })
        .connect()
        .await?;
    let mut last = None;
    for id in 0..300 {
        last = Some(client.send_acked(&Ping { id }).await?);
        if id % 50 == 49 {
            client.cut();
        }
    }
    let last = last.ok_or("sent")?;
    assert_eq!(within("the last", last.processed()).await?, Outcome::Ok, "PROTOCOL Q-5");
    assert_eq!(*seen.lock().expect("a log"), (0..300).collect::<Vec<_>>());
    let mut got = Vec::new();
    while got.len() < 300 {
        got.push(within("an answer", answered.recv()).await.ok_or("answers")?);
    }
    assert_eq!(got, (0..300).collect::<Vec<_>>());
    assert_eq!(client.stored(), 0);
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_is_told_and_not_sent_again() -> TestResult {
    let world = World::new()?;
    let service = Service::new(PingPong).on(move |_, ping: Ping| async move {
        if ping.id == 2 {
            Err(Failure::told("I do not like it"))
        } else {
            Ok(())
        }
    });
    let running = world.serve(service).await?;
    let (outcomes, mut told) = mpsc::unbounded_channel();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_outcome(move |_, number, outcome| {
            let _ = outcomes.send((number, outcome));
        })
        .connect()
        .await?;
    let mut receipts = Vec::new();
    for id in 1..=4 {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    let failed = Outcome::Failed(Code::HandlerFailed);
    for (receipt, expected) in receipts.iter().zip([Outcome::Ok, failed, Outcome::Ok, Outcome::Ok]) {
        assert_eq!(
            within("an outcome", receipt.processed()).await?,
            expected,
            "{receipt:?}"
        );
    }
    assert_eq!(within("an outcome", told.recv()).await, Some((2, failed)));
    Ok(())
}
