//! A service that keeps its sessions in a file goes on with them when it starts again.

mod common;

use core::time::Duration;
use std::sync::{Arc, Mutex};

use common::{LIMIT, Ping, PingPong, QUICK, TestResult, World, within};
use diset_std::{Client, Outcome, Resumption, Service};
use tokio::sync::{Semaphore, oneshot};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_after_a_restart() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.redb");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let starts = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Semaphore::new(3));
    let service = || {
        let (log, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        Service::new(PingPong)
            .durable(&file)
            .drain_time(Duration::ZERO)
            .on(move |_, ping: Ping| {
                let (log, gate) = (Arc::clone(&log), Arc::clone(&gate));
                async move {
                    gate.acquire().await?.forget();
                    log.lock().expect("a log").push(ping.id);
                    Ok(())
                }
            })
    };
    let bound = service().bind("127.0.0.1:0", world.server.clone()).await?;
    let port = bound.local_addr().ok_or("a port")?.port();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(bound.run_until(async {
        stopped.await.ok();
    }));
    let noted = Arc::clone(&starts);
    let client = Client::builder(PingPong, &format!("localhost:{port}"))
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .on_connected(move |client| {
            noted.lock().expect("a log").push(client.resumption());
            async move { Ok(()) }
        })
        .connect()
        .await?;
    let mut receipts = Vec::new();
    for id in 0..10 {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    // Received and kept, but not handled: the third handler is the last one that gets through.
    for receipt in &receipts {
        assert_eq!(
            within("received", receipt.received()).await?,
            Outcome::Ok,
            "PROTOCOL Q-4"
        );
    }
    let _ = stop.send(());
    within("the end", running).await?;
    gate.add_permits(100);
    let bound = tokio::time::timeout(LIMIT, async {
        loop {
            match service().bind(("127.0.0.1", port), world.server.clone()).await {
                Ok(bound) => return bound,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await?;
    let again = tokio::spawn(bound.run());
    for receipt in &receipts {
        assert_eq!(
            within("dealt with", receipt.processed()).await?,
            Outcome::Ok,
            "PROTOCOL Q-5"
        );
    }
    let starts = starts.lock().expect("a log").clone();
    assert!(
        matches!(starts.last(), Some(Some(Resumption::Resumed { .. }))),
        "{starts:?}"
    );
    assert_eq!(*seen.lock().expect("a log"), (0..10).collect::<Vec<_>>());
    client.close().await;
    again.abort();
    Ok(())
}
