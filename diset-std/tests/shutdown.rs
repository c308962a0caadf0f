//! The end of a service: everybody is told, what was sent is handled, nothing waits for
//! ever.

use core::time::Duration;
use std::sync::Arc;

use diset_std::{Cause, ClientState, Code, Counter, Limits, SendError, Service};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::common::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_drains() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (held, (log, mut seen)) = (Arc::clone(&gate), log());
    let drops = log.clone();
    let running = world
        .serve(
            Service::new(PingPong)
                .on(move |_, ping: Ping| {
                    let (gate, log) = (Arc::clone(&held), log.clone());
                    async move {
                        let _go = gate.acquire().await?;
                        log.add(ping.id);
                        Ok(())
                    }
                })
                .on_drop(move |_, why| {
                    drops.add(if matches!(why.cause(), Cause::WentAway(_)) {
                        -1
                    } else {
                        -2
                    });
                    async {}
                }),
        )
        .await?;
    let (log, mut ends) = crate::common::log();
    let states = log.clone();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_drop(move |client, why| {
            log.add(format!("dropped, state {}", client.trid().is_some()));
            assert!(
                matches!(why.cause(), Cause::WentAway(notice)
                if notice.code() == Code::Shutdown && notice.retry().is_some()),
                "PROTOCOL G-1: {why}"
            );
            async {}
        })
        .on_state(move |_, state| {
            states.add(match state {
                ClientState::Connecting => "connecting".into(),
                ClientState::Connected(_) => "connected".into(),
                ClientState::Waiting { .. } => "waiting".into(),
                _ => "other".into(),
            });
        })
        .connect()
        .await?;
    for id in 0..100 {
        client.send(&Ping { id }).await?;
    }
    let ended = running.shut_down();
    // From the go-away on nothing new is taken.
    let refused = within("the go-away", async {
        loop {
            match client.try_send(&Ping { id: 1000 }) {
                Ok(()) | Err(SendError::Full(_)) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(
        matches!(refused, SendError::GoingAway | SendError::NotOpen),
        "PROTOCOL G-2: {refused}"
    );
    gate.add_permits(1);
    within("the shutdown", ended).await?;
    let mut all = Vec::new();
    while let Some(entry) = seen.now() {
        all.push(entry);
    }
    let last = all.pop();
    assert_eq!(last, Some(-1), "the drop callback comes last");
    let before: Vec<_> = all.iter().copied().take_while(|id| *id != 1000).collect();
    assert_eq!(
        before,
        (0..100).collect::<Vec<_>>(),
        "PROTOCOL G-1: what was sent before is handled"
    );
    // The connection ended, only then came the wait for the next.
    for what in ["connected", "dropped, state true", "waiting"] {
        assert_eq!(ends.next().await, what, "PROTOCOL G-3");
    }
    Ok(())
}

#[tokio::test]
async fn a_handler_that_never_returns_does_not_stop_a_shutdown() -> TestResult {
    let world = World::new()?;
    let (log, mut began) = log();
    let drops = log.clone();
    let running = world
        .serve(
            Service::new(PingPong)
                .drain_time(Duration::from_millis(100))
                .on(move |_, ping: Ping| {
                    log.add(ping.id);
                    core::future::pending()
                })
                .on_drop(move |_, _| {
                    drops.add(-1);
                    async {}
                }),
        )
        .await?;
    let stuck = world.client(PingPong, &running, "alice")?.connect().await?;
    stuck.send(&Ping { id: 1 }).await?;
    assert_eq!(began.next().await, 1);
    let handle = running.handle.clone();
    let conn = handle.connections().pop().ok_or("no connection")?;
    running.stop().await;
    assert!(handle.connections().is_empty());
    assert_eq!(conn.try_send(&Pong { id: 1 }), Err(SendError::NotOpen));
    assert_eq!(
        began.now(),
        Some(-1),
        "the drop callback runs when the handler is dropped"
    );
    assert_eq!(began.now(), None, "a handler that was dropped did not finish");
    let counters = handle.counters();
    let count = |counter| counters.get(counter);
    assert_eq!(count(Counter::WentAway(Code::Shutdown)), 1, "it is counted as any end");
    assert_eq!(
        (
            count(Counter::Live),
            count(Counter::InHandshake),
            count(Counter::Dropped)
        ),
        (0, 0, 1)
    );
    Ok(())
}

#[tokio::test]
async fn a_client_that_ignores_the_go_away_is_dropped_at_the_deadline() -> TestResult {
    let world = World::new()?;
    let (log, mut drops) = log();
    let running = world
        .serve(
            answering()
                .drain_time(Duration::from_millis(200))
                .on_drop(move |_, why| {
                    log.add(why);
                    async {}
                }),
        )
        .await?;
    // Its task does not run any more: another runtime that nobody drives.
    let address = running.address.clone();
    let tls = world.tls("alice")?;
    let (frozen, _client) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(diset_std::Client::builder(PingPong, &address).tls(tls).connect())?;
        Ok::<_, Box<dyn core::error::Error + Send + Sync>>((runtime, client))
    })
    .await?
    .map_err(|error| error.to_string())?;
    running.stop().await;
    let why = drops.next().await;
    assert!(
        matches!(why.cause(), Cause::WentAway(notice) if notice.code() == Code::Shutdown),
        "PROTOCOL G-2: {why}"
    );
    frozen.shutdown_background();
    Ok(())
}

#[tokio::test]
async fn a_handshake_does_not_hold_up_a_shutdown() -> TestResult {
    let world = World::new()?;
    let forever = Duration::from_secs(3600);
    let (log, mut asked) = log();
    let running = world
        .serve(
            answering()
                .limits(Limits::SERVER.with_handshake(forever))
                .drain_time(forever)
                .on_connect(move |_| {
                    log.add(());
                    core::future::pending()
                }),
        )
        .await?;
    // One that never speaks, and one that is being decided on.
    let mut silent = TcpStream::connect(&running.address).await?;
    let (log, mut ends) = crate::common::log();
    let _asking = world
        .client(PingPong, &running, "alice")?
        .on_state(move |_, state| {
            if let ClientState::Waiting { why, .. } = state {
                log.add(why.clone());
            }
        })
        .start()?;
    asked.next().await;
    running.stop().await;
    let why = ends.next().await;
    let cause = dropped(&why).cause();
    assert_eq!(cause.code(), Some(Code::Shutdown));
    assert!(cause.retry().is_some() && !cause.is_permanent(), "it comes back: {why}");
    within("the end", silent.read_to_end(&mut Vec::new())).await?;
    Ok(())
}
