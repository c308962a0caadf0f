//! Who waits for an outcome learns it when the task of a service or client is dropped instead of
//! ended in order, as when its runtime is.

use core::time::Duration;

use diset_std::{Client, ClientState, Outcome, WaitError};

use crate::common::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_learns_that_the_service_was_dropped() -> TestResult {
    let world = World::new()?;
    let (log, mut told) = log();
    let service = answering().on_outcome(move |_, number, outcome| log.add((number, outcome)));
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let session = conn_of(&running, &client).await.session();
    client.close().await;
    let handle = running.handle.clone();
    let receipt = handle.send_acked(session, &Pong { id: 1 }).await?;
    running.kill().await;
    assert_eq!(within("an answer", receipt.processed()).await?, Outcome::Skipped);
    assert_eq!(told.next().await, (1, Outcome::Skipped));
    let late = tokio::time::timeout(Duration::from_secs(10), handle.send_acked(session, &Pong { id: 2 })).await?;
    assert!(late.is_err(), "nobody would ever send it: {late:?}");
    Ok(())
}

/// The same while its client is connected: what it has may have been transmitted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_connected_client_learns_it_too() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .on(|_, _: Pong| async {
            core::future::pending::<()>().await;
            Ok(())
        })
        .connect()
        .await?;
    let session = conn_of(&running, &client).await.session();
    let receipt = running.handle.send_acked(session, &Pong { id: 1 }).await?;
    assert_eq!(within("received", receipt.received()).await?, Outcome::Ok);
    running.kill().await;
    let said = within("an answer", receipt.processed()).await;
    assert_eq!(said, Ok(Outcome::Unknown));
    Ok(())
}

#[test]
fn who_waits_learns_that_the_runtime_of_a_client_ended() -> TestResult {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
    };
    let (its_own, ours) = (runtime()?, runtime()?);
    let (log, mut told) = log();
    let client = its_own.block_on(async {
        // Nobody listens there.
        Client::builder(PingPong, "127.0.0.1:1")
            .plain_tcp()
            .on_outcome(move |_, number, outcome| log.add((number, outcome)))
            .start()
    })?;
    let receipt = ours.block_on(client.send_acked(&Ping { id: 1 }))?;
    its_own.shutdown_timeout(Duration::from_secs(5));
    ours.block_on(async {
        assert_eq!(within("an answer", receipt.processed()).await, Ok(Outcome::Skipped));
        assert_eq!(told.next().await, (1, Outcome::Skipped));
        // Nothing waits for a task that is gone.
        within("the end", client.close()).await;
        assert!(
            matches!(client.state(), ClientState::Stopped(_)),
            "{:?}",
            client.state()
        );
        assert!(within("an answer", client.connected()).await.is_err());
        let late = client.send_acked(&Ping { id: 2 }).await;
        assert!(late.is_err(), "nobody would ever send it: {late:?}");
        let said: Result<Outcome, WaitError> = receipt.processed().await;
        assert_eq!(said, Ok(Outcome::Skipped), "asked again");
    });
    Ok(())
}
