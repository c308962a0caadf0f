//! A service that keeps its sessions in a file goes on with them when it starts again.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::{
    LIMIT, Ping, PingPong, Pong, QUICK, Running, TestResult, World, answering, conn_of, log, run, until, within,
};
use diset_std::store::TransactError;
use diset_std::{
    Client, ClientState, Code, Conn, Limits, Outcome, Resumption, Rule, Service, SessionSettings, SlowPolicy,
};
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

/// A service that lets its first messages through `gate` alone.
fn gated(file: &Path, seen: &Arc<Mutex<Vec<i64>>>, began: &Arc<Semaphore>, gate: &Arc<Semaphore>) -> Service<PingPong> {
    let (log, began, gate) = (Arc::clone(seen), Arc::clone(began), Arc::clone(gate));
    Service::new(PingPong)
        .durable(file)
        .drain_time(Duration::ZERO)
        .on(move |_, ping: Ping| {
            let (log, began, gate) = (Arc::clone(&log), Arc::clone(&began), Arc::clone(&gate));
            async move {
                began.add_permits(1);
                gate.acquire().await?.forget();
                log.lock().expect("a log").push(ping.id);
                Ok(())
            }
        })
}

/// A message that the last process had received, and whose handler runs when this one is stopped, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_an_old_message_is_handled_is_not_its_failure() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.redb");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (began, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let service = || gated(&file, &seen, &began, &gate);
    let running = world.serve(service()).await?;
    let port = running.port();
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let mut receipts = Vec::new();
    for id in 0..3 {
        let receipt = client.send_acked(&Ping { id }).await?;
        assert_eq!(within("received", receipt.received()).await?, Outcome::Ok);
        receipts.push(receipt);
    }
    within("its handler", began.acquire()).await?.forget();
    running.stop().await;
    for permits in [0, 3] {
        gate.add_permits(permits);
        let bound = tokio::time::timeout(LIMIT, async {
            loop {
                match service().bind(("127.0.0.1", port), world.server.clone()).await {
                    Ok(bound) => return bound,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await?;
        let running = run(bound);
        within("its handler", began.acquire()).await?.forget();
        if permits == 0 {
            running.stop().await;
            continue;
        }
        for receipt in &receipts {
            assert_eq!(
                within("dealt with", receipt.processed()).await?,
                Outcome::Ok,
                "PROTOCOL Q-5"
            );
        }
        running.stop().await;
    }
    assert_eq!(*seen.lock().expect("a log"), [0, 1, 2]);
    Ok(())
}

/// A message that came on an earlier connection meets the rules of the one that handles it, also those that are asked at
/// connect.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_before_is_not_handled_when_it_is_forbidden_since() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (began, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let allowed = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&allowed);
    let rule = Rule::at_connect(move |_| asked.load(Relaxed)).or_tell("not any more");
    let service = gated(&folder.path().join("sessions.redb"), &seen, &began, &gate).allow::<Ping>(rule);
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let first = client.trid();
    let mut receipts = Vec::new();
    for id in 1..=2 {
        let receipt = client.send_acked(&Ping { id }).await?;
        assert_eq!(within("received", receipt.received()).await?, Outcome::Ok);
        receipts.push(receipt);
    }
    within("its handler", began.acquire()).await?.forget();
    allowed.store(false, Relaxed);
    client.cut();
    until(
        &client,
        "another connection",
        |state| matches!(state, ClientState::Connected(trid) if Some(*trid) != first),
    )
    .await;
    gate.add_permits(2);
    let mut outcomes = Vec::new();
    for receipt in &receipts {
        outcomes.push(within("an outcome", receipt.processed()).await?);
    }
    assert_eq!(
        outcomes,
        [Outcome::Ok, Outcome::Failed(Code::Forbidden)],
        "PROTOCOL M-5, Q-8: its handler had begun before"
    );
    assert_eq!(*seen.lock().expect("a log"), [1]);
    client.close().await;
    running.stop().await;
    Ok(())
}

/// What it takes to commit with a message: a file, an acked message, and that it was not done before.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_with_a_message_says_what_it_lacks() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    for durable in [false, true] {
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&said);
        let mut service = Service::new(PingPong).on(move |conn: Conn<PingPong>, _: Ping| {
            let log = Arc::clone(&log);
            async move {
                for _ in 0..2 {
                    let result = conn.transact(|_| Ok::<_, String>(())).await;
                    log.lock().expect("a log").push(result);
                }
                Ok(())
            }
        });
        if durable {
            service = service.durable(folder.path().join("sessions.redb"));
        }
        let running = world.serve(service).await?;
        let client = world.client(PingPong, &running, "alice")?.connect().await?;
        client.send(&Ping { id: 1 }).await?;
        let receipt = client.send_acked(&Ping { id: 2 }).await?;
        assert_eq!(within("dealt with", receipt.processed()).await?, Outcome::Ok);
        let said = core::mem::take(&mut *said.lock().expect("a log"));
        if durable {
            use TransactError::{NotAcked, NotThere};
            let fits = matches!(said[..], [Err(NotAcked), Err(NotAcked), Ok(()), Err(NotThere)]);
            assert!(fits, "{said:?}");
        } else {
            assert_eq!(said.len(), 4);
            assert!(
                said.iter().all(|result| matches!(result, Err(TransactError::NoStore))),
                "{said:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_has_no_outcome_before_it_is_handled() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let service = Service::new(PingPong)
        .durable(folder.path().join("sessions.redb"))
        .on(move |_, _: Ping| {
            let gate = Arc::clone(&opened);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        });
    let bound = service.bind("127.0.0.1:0", world.server.clone()).await?;
    let port = bound.local_addr().ok_or("a port")?.port();
    let client = Client::builder(PingPong, &format!("localhost:{port}"))
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .drain_time(Duration::ZERO)
        .start()?;
    // Stored before there is a session; they move into it.
    let (first, second) = (
        client.send_acked(&Ping { id: 1 }).await?,
        client.send_acked(&Ping { id: 2 }).await?,
    );
    let running = tokio::spawn(bound.run());
    assert_eq!(
        within("received", second.received()).await?,
        Outcome::Ok,
        "PROTOCOL Q-4"
    );
    assert_eq!(client.stored(), 2, "PROTOCOL Q-5");
    let mut processed = Box::pin(first.processed());
    tokio::select! {
        biased;
        outcome = &mut processed => panic!("PROTOCOL Q-5: {outcome:?}"),
        () = core::future::ready(()) => {}
    }
    gate.add_permits(1);
    assert_eq!(within("handled", processed).await?, Outcome::Ok, "PROTOCOL Q-5");
    // The second has no time to be handled: nobody knows.
    within("the end", client.close()).await;
    assert_eq!(
        within("told", second.processed()).await?,
        Outcome::Unknown,
        "PROTOCOL Q-5"
    );
    assert_eq!(client.stored(), 0);
    running.abort();
    Ok(())
}

/// The same service again, when the one before has let go of its file.
async fn again(world: &World, service: impl Fn() -> Service<PingPong>) -> Running<PingPong> {
    let served = async {
        loop {
            if let Ok(running) = world.serve(service()).await {
                return running;
            }
            tokio::task::yield_now().await;
        }
    };
    within("served again", served).await
}

/// A client that has left as much as a connection may send, and comes back: its messages wait, nothing else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_are_read_while_the_inbox_is_crowded() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let gate = Arc::new(Semaphore::new(0));
    let (handled, mut seen) = log();
    let waits = Arc::clone(&gate);
    let silence = Duration::from_secs(1);
    let service = Service::new(PingPong)
        .durable(folder.path().join("sessions.redb"))
        .limits(Limits::SERVER.with_credit(1 << 16, 4).with_max_silence(silence))
        .on(move |_, ping: Ping| {
            let (log, gate) = (handled.clone(), Arc::clone(&waits));
            async move {
                gate.acquire().await?.forget();
                log.add(ping.id);
                Ok(())
            }
        });
    let running = world.serve(service).await?;
    let (got, mut pongs) = log();
    let client = world
        .client(PingPong, &running, "alice")?
        .on(move |_, pong: Pong| {
            got.add(pong.id);
            async { Ok(()) }
        })
        .connect()
        .await?;
    let session = conn_of(&running, &client).await.session();
    let mut receipts = Vec::new();
    for id in 0..20 {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    within("received", receipts[3].received()).await?;
    let before = client.trid();
    client.cut();
    until(&client, "back", |_| client.trid().is_some() && client.trid() != before).await;
    let back = client.trid();
    within("received", receipts[4].received()).await?;
    // The crowd stays for longer than one and a half times the longest silence.
    tokio::time::sleep(silence * 3).await;
    running.handle.send_acked(session, &Pong { id: 1 }).await?;
    assert_eq!(pongs.next().await, 1);
    within("PROTOCOL L-1: the ack is read", async {
        while running.handle.stored(session) != Some(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.trid(), back, "PROTOCOL L-1: keep-alives are read");
    gate.add_permits(100);
    for receipt in &receipts {
        assert_eq!(within("dealt with", receipt.processed()).await?, Outcome::Ok);
    }
    for id in 0..20 {
        assert_eq!(seen.next().await, id, "once, in order");
    }
    assert_eq!(client.trid(), back);
    client.close().await;
    running.stop().await;
    Ok(())
}

/// Each service runs for less than the retention time, all of them for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_counts_across_restarts() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.redb");
    let settings = SessionSettings::default().retention(Duration::from_secs(2));
    let service = || {
        let service = answering().sessions(settings).durable(&file);
        service.drain_time(Duration::ZERO)
    };
    let running = world.serve(service()).await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .on(|_, _: Pong| async { Ok(()) })
        .connect()
        .await?;
    let receipt = client.send_acked(&Ping { id: 1 }).await?;
    within("dealt with", receipt.processed()).await?;
    client.close().await;
    running.stop().await;
    let mut there = Vec::new();
    for _ in 0..4 {
        let running = again(&world, service).await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        there.push(running.handle.sessions().0);
        running.stop().await;
    }
    assert_eq!((there[0], there[3]), (1, 0), "{there:?}: PROTOCOL N-7");
    Ok(())
}

/// A client that never comes back for what it has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_forgotten_on_demand() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.redb");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (began, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let service = || gated(&file, &seen, &began, &gate);
    let running = world.serve(service()).await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .drain_time(Duration::ZERO)
        .connect()
        .await?;
    let session = conn_of(&running, &client).await.session();
    for id in 0..3 {
        let receipt = client.send_acked(&Ping { id }).await?;
        assert_eq!(within("received", receipt.received()).await?, Outcome::Ok);
    }
    assert_eq!(running.handle.left_behind(), [], "it is connected");
    client.close().await;
    running.stop().await;

    let running = again(&world, service).await;
    let left = running.handle.left_behind();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].session, left[0].messages, left[0].bytes), (session, 3, 3));
    assert!(!running.handle.forget_session(session), "something is to be handled");
    assert!(running.handle.forget_session_and_received(session));
    assert_eq!(running.handle.left_behind(), []);
    assert_eq!(running.handle.sessions(), (0, 0));
    running.stop().await;

    let running = again(&world, service).await;
    assert_eq!(running.handle.sessions(), (0, 0), "nor in the file");
    running.stop().await;
    assert!(seen.lock().expect("a log").is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_too_slow_as_long_as_the_file_of_the_service_is() -> TestResult {
    for policy in [SlowPolicy::Disconnect, SlowPolicy::Fail] {
        let world = World::new()?;
        let folder = tempfile::tempdir()?;
        let (log, mut got) = log();
        let drops = log.clone();
        let service = Service::new(PingPong)
            .durable(folder.path().join("sessions.redb"))
            .slow_policy(policy)
            // Its session is not in the file yet, so it has not been told that it is in.
            .on_connected(|conn: Conn<PingPong>| async move {
                conn.service().broadcast(&Pong { id: 1 });
                conn.send(&Pong { id: 2 }).await?;
                // And here the first message is not, behind which the second one waits.
                conn.send_acked(&Pong { id: 3 }).await?;
                conn.send(&Pong { id: 4 }).await?;
                Ok(())
            });
        let running = world.serve(service).await?;
        let client = world.client(PingPong, &running, "alice")?;
        let _client = client
            .on(move |_, pong: Pong| {
                log.add(Ok(pong.id));
                async { Ok(()) }
            })
            .on_drop(move |_, why| {
                drops.add(Err(why.to_string()));
                async {}
            })
            .start()?;
        // The broadcast waits for nobody, and may have left it out.
        let first = got.find(|got| *got != Ok(1)).await;
        let all = (first, got.next().await, got.next().await);
        assert_eq!(all, (Ok(2), Ok(3), Ok(4)), "{policy:?}");
    }
    Ok(())
}
