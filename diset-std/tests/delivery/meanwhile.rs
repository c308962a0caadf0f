//! A client comes back while handlers of its former connection still run: they may wait for what only
//! the next connection brings, and that handles nothing before they have finished (PROTOCOL D-2, Q-8).

use std::sync::Arc;

use diset_std::{Client, Outcome, Service};
use tokio::sync::Semaphore;

use crate::common::*;

/// A handler of a client waits for an outcome while the line breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_comes_back_while_a_handler_runs() -> TestResult {
    let world = World::new()?;
    let running = world
        .serve(Service::new(PingPong).on(|_, _: Ping| async { Ok(()) }))
        .await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .on(move |client: Client<PingPong>, _: Pong| async move {
            client.cut();
            let receipt = client.send_acked(&Ping { id: 2 }).await?;
            receipt.processed().await?;
            Ok(())
        })
        .connect()
        .await?;
    let session = conn_of(&running, &client).await.session();
    let sent = running.handle.send_acked(session, &Pong { id: 1 }).await?;
    let said = within("an outcome", sent.processed()).await;
    assert_eq!(said, Ok(Outcome::Ok), "the line broke once");
    client.close().await;
    Ok(())
}

/// However often the line breaks meanwhile, all callbacks run one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_handles_nothing_before_the_older_is_over() -> TestResult {
    let world = World::new()?;
    let running = world
        .serve(Service::new(PingPong).on(|_, _: Ping| async { Ok(()) }))
        .await?;
    let (handler_gate, drop_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (log, mut seen) = log();
    let (connected, handled, dropped) = (log.clone(), log.clone(), log);
    let (waits, holds) = (Arc::clone(&handler_gate), Arc::clone(&drop_gate));
    let client = world
        .client(PingPong, &running, "alice")?
        .on_connected(move |_| {
            connected.add("connected".to_owned());
            async { Ok(()) }
        })
        .on(move |_, pong: Pong| {
            let (log, gate) = (handled.clone(), Arc::clone(&waits));
            async move {
                log.add(format!("{} begins", pong.id));
                gate.acquire().await?.forget();
                log.add(format!("{} ends", pong.id));
                Ok(())
            }
        })
        .on_drop(move |_, _| {
            let (log, gate) = (dropped.clone(), Arc::clone(&holds));
            async move {
                log.add("drop begins".to_owned());
                let _held = gate.acquire().await;
                log.add("drop ends".to_owned());
            }
        })
        .connect()
        .await?;
    let session = conn_of(&running, &client).await.session();
    let first = running.handle.send_acked(session, &Pong { id: 1 }).await?;
    assert_eq!(seen.next().await, "connected");
    assert_eq!(seen.next().await, "1 begins");
    for _ in 0..2 {
        let before = client.trid();
        client.cut();
        until(&client, "back", |_| client.trid().is_some() && client.trid() != before).await;
    }
    // IO goes on: the service is told that it has come, though nothing handles it yet.
    let second = running.handle.send_acked(session, &Pong { id: 2 }).await?;
    assert_eq!(within("received", second.received()).await?, Outcome::Ok);
    assert_eq!(seen.now(), None, "PROTOCOL D-2");
    handler_gate.add_permits(2);
    assert_eq!(
        within("processed", first.processed()).await?,
        Outcome::Ok,
        "PROTOCOL Q-8"
    );
    assert_eq!(seen.next().await, "1 ends");
    assert_eq!(seen.next().await, "drop begins");
    let sent = client.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(within("sent meanwhile", sent.processed()).await?, Outcome::Ok);
    assert_eq!(seen.now(), None, "PROTOCOL D-2");
    drop_gate.add_permits(1);
    for expected in [
        "drop ends",
        "connected",
        "drop begins",
        "drop ends",
        "connected",
        "2 begins",
        "2 ends",
    ] {
        assert_eq!(seen.next().await, expected, "PROTOCOL D-2");
    }
    assert_eq!(within("processed", second.processed()).await?, Outcome::Ok);
    client.close().await;
    assert_eq!(seen.next().await, "drop begins");
    assert_eq!(seen.next().await, "drop ends");
    Ok(())
}

/// A close waits for the handler of a former connection, too, and its outcome is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_waits_for_handlers_of_a_former_connection() -> TestResult {
    let world = World::new()?;
    let running = world.serve(Service::new(PingPong)).await?;
    let gate = Arc::new(Semaphore::new(0));
    let (log, mut seen) = log();
    let waits = Arc::clone(&gate);
    let client = world
        .client(PingPong, &running, "alice")?
        .on(move |_, _: Pong| {
            let (log, gate) = (log.clone(), Arc::clone(&waits));
            async move {
                log.add("begins");
                gate.acquire().await?.forget();
                log.add("ends");
                Ok(())
            }
        })
        .connect()
        .await?;
    let session = conn_of(&running, &client).await.session();
    let sent = running.handle.send_acked(session, &Pong { id: 1 }).await?;
    assert_eq!(seen.next().await, "begins");
    let before = client.trid();
    client.cut();
    until(&client, "back", |_| client.trid().is_some() && client.trid() != before).await;
    client.stop();
    gate.add_permits(1);
    within("the end", client.close()).await;
    assert_eq!(seen.now(), Some("ends"));
    assert_eq!(
        within("processed", sent.processed()).await?,
        Outcome::Ok,
        "PROTOCOL Q-8"
    );
    Ok(())
}
