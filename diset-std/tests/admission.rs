//! Who gets in: what the program decides, and how many there may be.

use core::time::Duration;
use std::sync::Arc;

use diset_std::{Cause, Client, ClientState, Code, Conn, Counter, Identity, Refusal, SendError, Service};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::common::*;

#[tokio::test]
async fn an_admission_can_fail_for_good_or_for_now() -> TestResult {
    let world = World::new()?;
    let calls = Count::default();
    let running = world
        .serve(answering().on_connect(move |conn: Conn<PingPong>| {
            let first = calls.add() == 0;
            let good = conn.args().value("good").is_some();
            async move {
                if !good {
                    return Err(Refusal::not_admitted("no business here").permanently());
                }
                let later = Refusal::not_admitted("later").retry_after(Duration::from_millis(30));
                if first { Err(later) } else { Ok(()) }
            }
        }))
        .await?;

    let (log, mut states) = log();
    let later = world
        .client(PingPong, &running, "alice")?
        .arg("good", true)
        .on_state(move |_, state| log.add(state.clone()))
        .start()?;
    let waiting = states.find(|state| matches!(state, ClientState::Waiting { .. })).await;
    let ClientState::Waiting { why, .. } = waiting else {
        return Err("not waiting".into());
    };
    let Cause::Refused(notice) = dropped(&why).cause() else {
        return Err(why.into());
    };
    assert_eq!((notice.code(), notice.text()), (Code::NotAdmitted, "later"));
    assert!(notice.retry().is_some(), "PROTOCOL R-3: {notice}");
    connected(&later).await;

    let never = world.client(PingPong, &running, "mallory")?.start()?;
    let stopped = until(&never, "stopped", |state| matches!(state, ClientState::Stopped(_))).await;
    let ClientState::Stopped(why) = stopped else {
        return Err("not stopped".into());
    };
    let ended = never.connected().await.expect_err("it has stopped");
    assert_eq!(ended.code(), Some(Code::NotAdmitted));
    let Cause::Refused(notice) = dropped(&why).cause() else {
        return Err(why.into());
    };
    assert_eq!(
        (notice.code(), notice.text()),
        (Code::NotAdmitted, "no business here"),
        "PROTOCOL R-4"
    );
    assert_eq!(within("why", never.stopped()).await.code(), Some(Code::NotAdmitted));
    // The same, told by `connect`.
    let refused = world.client(PingPong, &running, "mallory")?.connect().await;
    assert_eq!(
        refused.err().map(|why| code(dropped(&why))),
        Some(Some(Code::NotAdmitted))
    );
    Ok(())
}

#[tokio::test]
async fn an_admission_has_a_time_limit_and_nothing_comes_before_it() -> TestResult {
    let world = World::new()?;
    let short = diset_std::Limits::SERVER.with_handshake(Duration::from_millis(500));
    let handled = Count::default();
    let count = handled.clone();
    let running = world
        .serve(
            Service::new(PingPong)
                .limits(short)
                .on_connect(|_| core::future::pending())
                .on(move |_, _: Ping| {
                    count.add();
                    async { Ok(()) }
                }),
        )
        .await?;
    let client = world.client(PingPong, &running, "alice")?.start()?;
    assert_eq!(client.send(&Ping { id: 1 }).await, Err(SendError::NotOpen));
    let waiting = until(&client, "waiting", |state| matches!(state, ClientState::Waiting { .. })).await;
    let ClientState::Waiting { why, .. } = waiting else {
        return Err("not waiting".into());
    };
    assert_eq!(code(dropped(&why)), Some(Code::AdmissionTimeout), "PROTOCOL H-4");
    assert!(
        dropped(&why).cause().retry().is_some(),
        "PROTOCOL H-4: with a time to retry"
    );
    assert_eq!(handled.value(), 0, "PROTOCOL H-4: no message before the admission");
    assert!(running.handle.connections().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_too_many_is_told_when_to_come_back() -> TestResult {
    let world = World::new()?;
    // The first admission takes until the gate opens: nobody slips in meanwhile.
    let gate = Arc::new(Semaphore::new(0));
    let (held, (log, mut asked)) = (Arc::clone(&gate), log());
    let running = world
        .serve(answering().max_connections(1).on_connect(move |_| {
            let gate = Arc::clone(&held);
            log.add(());
            async move {
                let _go = gate.acquire().await;
                Ok(())
            }
        }))
        .await?;
    let identity = Identity::from_bytes([9; 16]);
    let tls = world.tls("alice")?;
    let alice = world
        .client(PingPong, &running, "alice")?
        .tls(tls.clone())
        .identity(identity)
        .start()?;
    asked.next().await;
    let bob = world.client(PingPong, &running, "bob")?.start()?;
    let waiting = until(&bob, "waiting", |state| matches!(state, ClientState::Waiting { .. })).await;
    let ClientState::Waiting { why, .. } = waiting else {
        return Err("not waiting".into());
    };
    assert_eq!(code(dropped(&why)), Some(Code::Busy));
    assert!(dropped(&why).cause().retry().is_some());
    gate.add_permits(1);
    connected(&alice).await;
    assert_eq!(running.handle.connections().len(), 1);

    // Who has a place comes back to it, although there is no other.
    let again = world
        .client(PingPong, &running, "alice")?
        .tls(tls)
        .identity(identity)
        .connect()
        .await?;
    again.close().await;
    alice.close().await;
    // Places are given back.
    let policy = diset_std::ReconnectPolicy {
        max_asked: Duration::from_millis(20),
        ..QUICK
    };
    let dave = world.client(PingPong, &running, "dave")?.reconnect(policy).start()?;
    connected(&dave).await;
    Ok(())
}

/// Waits until a client is refused for now, and says with what words.
async fn told_busy(client: &Client<PingPong>) -> Result<String, Box<dyn core::error::Error>> {
    let waiting = until(client, "waiting", |state| matches!(state, ClientState::Waiting { .. })).await;
    let ClientState::Waiting { why, .. } = waiting else {
        return Err("not waiting".into());
    };
    let cause = dropped(&why).cause();
    assert!(
        cause.retry().is_some() && !cause.is_permanent(),
        "PROTOCOL R-4: it comes back: {why}"
    );
    assert_eq!(cause.code(), Some(Code::Busy));
    Ok(cause
        .notice()
        .map(|notice| notice.text().to_owned())
        .unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_principal_does_not_take_all_places() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering().max_connections_per_principal(2)).await?;
    let tls = world.tls("alice")?;
    let alice = || Ok::<_, Box<dyn core::error::Error>>(world.client(PingPong, &running, "alice")?.tls(tls.clone()));
    let identity = Identity::from_bytes([9; 16]);
    let one = alice()?.identity(identity).connect().await?;
    let two = alice()?.connect().await?;
    let three = alice()?.start()?;
    assert_eq!(told_busy(&three).await?, "too many connections of this principal");
    three.close().await;
    // Others are not concerned.
    world.client(PingPong, &running, "bob")?.connect().await?.close().await;
    // Who comes back finds the place of its older connection.
    let again = alice()?.identity(identity).connect().await?;
    again.close().await;
    one.close().await;
    two.close().await;
    let policy = diset_std::ReconnectPolicy {
        max_asked: Duration::from_millis(20),
        ..QUICK
    };
    let four = alice()?.reconnect(policy).start()?;
    connected(&four).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_takes_one_place_more_and_not_two() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(1));
    let (held, (log, mut asked)) = (Arc::clone(&gate), log());
    let running = world
        .serve(answering().max_connections(1).on_connect(move |_| {
            let gate = Arc::clone(&held);
            log.add(());
            async move {
                gate.acquire()
                    .await
                    .map_err(|_| Refusal::not_admitted("closed"))?
                    .forget();
                Ok(())
            }
        }))
        .await?;
    let (identity, tls) = (Identity::from_bytes([9; 16]), world.tls("alice")?);
    let alice = || {
        let client = world.client(PingPong, &running, "alice")?.tls(tls.clone());
        Ok::<_, Box<dyn core::error::Error>>(client.identity(identity))
    };
    let one = alice()?.connect().await?;
    asked.next().await;
    // The second is being decided on while the first is still there: no third.
    let two = alice()?.start()?;
    asked.next().await;
    let three = alice()?.start()?;
    assert_eq!(told_busy(&three).await?, "too many connections");
    three.close().await;
    one.stop();
    gate.add_permits(1);
    connected(&two).await;
    Ok(())
}

#[tokio::test]
async fn a_place_that_is_taken_while_the_listener_waits_is_not_given_twice() -> TestResult {
    let world = World::new()?;
    let (release, ended) = (Arc::new(Semaphore::new(0)), Count::default());
    let (gate, count) = (Arc::clone(&release), ended.clone());
    let service = answering().max_handshakes(1).on_drop(move |_, _| {
        let (gate, count) = (Arc::clone(&gate), count.clone());
        async move {
            count.add();
            gate.acquire().await.expect("not closed").forget();
        }
    });
    let running = world.serve(service).await?;
    let counter = |counter| running.handle.counters().get(counter);
    let mut neighbour = Neighbour::new(world.client(PingPong, &running, "neighbour")?).await?;
    // Admitted, so it holds no such place until it ends: then it takes the only one.
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    neighbour.is_served().await;
    client.close().await;
    within("the drop callback", async {
        while ended.value() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(counter(Counter::InHandshake), 1);
    let accepted = counter(Counter::Accepted);
    // The listener sees this one before it sees the pings, which come later.
    let socket = TcpStream::connect(("127.0.0.1", running.port())).await?;
    for _ in 0..3 {
        neighbour.is_served().await;
    }
    assert_eq!(counter(Counter::InHandshake), 1, "one place");
    assert_eq!(counter(Counter::Accepted), accepted);
    // It is served when there is room.
    release.add_permits(1);
    within("served", async {
        while counter(Counter::Accepted) == accepted {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(socket);
    release.add_permits(1);
    neighbour.client.close().await;
    running.stop().await;
    Ok(())
}
