//! A side that has lost its sessions: what nobody knows is reported, or sent again and marked
//! (PROTOCOL N-6, Q-3).

use core::mem::ManuallyDrop;
use std::sync::Arc;

use diset_std::{NewReason, Outcome, Resumption, Service};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::common::*;

/// What a client runs in whose process is killed: nothing of it goes on, and nothing says so. Left alone when a
/// test fails: a runtime cannot be dropped within another.
struct Process(ManuallyDrop<Runtime>);

impl Process {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self(ManuallyDrop::new(runtime)))
    }

    fn kill(self) {
        ManuallyDrop::into_inner(self.0).shutdown_background();
    }
}

/// Handlers wait for a permit, and tell what they are called for.
fn gated(gate: &Arc<Semaphore>) -> (Service<PingPong>, Seen<(i64, bool)>) {
    let (log, seen) = log();
    let gate = Arc::clone(gate);
    let service = Service::new(PingPong).on(move |conn: diset_std::Conn<PingPong>, ping: Ping| {
        let repeated = conn.received().is_some_and(|received| received.maybe_repeated);
        log.add((ping.id, repeated));
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    (service, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lost_its_sessions_makes_reports_and_repeats() -> TestResult {
    let world = World::new()?;
    let (service, mut seen) = gated(&Arc::new(Semaphore::new(1)));
    let running = world.serve(service).await?;
    let (port, (log, mut told)) = (running.port(), log());
    let stood = log.clone();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_outcome(move |_, number, outcome| log.add(format!("{number} {outcome:?}")))
        .on_connected(move |client| {
            stood.add(format!("{:?}", client.resumption()));
            async { Ok(()) }
        })
        .connect()
        .await?;
    assert_eq!(
        told.next().await,
        format!("{:?}", Some(Resumption::New { why: NewReason::First }))
    );
    let done = client.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(within("the first", done.processed()).await?, Outcome::Ok);
    let report = client.send_acked(&Ping { id: 2 }).await?;
    let resend = client.send_acked_or_resend(&Ping { id: 3 }).await?;
    within("received", resend.received()).await?;
    assert_eq!((seen.next().await, seen.next().await), ((1, false), (2, false)));
    // It ends at once, as if killed, and takes its sessions with it.
    running.kill().await;
    until(&client, "away", |_| client.trid().is_none()).await;
    let never = client.send_acked(&Ping { id: 4 }).await?;
    let (service, mut seen) = gated(&Arc::new(Semaphore::new(10)));
    let running = run(service.bind(("127.0.0.1", port), world.server.clone()).await?);
    let unknown = within("the report", report.processed()).await?;
    assert_eq!(unknown, Outcome::Unknown, "PROTOCOL N-6");
    assert_eq!(
        within("the other", resend.processed()).await?,
        Outcome::Ok,
        "PROTOCOL N-6"
    );
    assert_eq!(within("the last", never.processed()).await?, Outcome::Ok);
    assert_eq!(done.processed().await?, Outcome::Ok, "it stays what it was");
    assert_eq!(
        told.next().await,
        "2 Unknown",
        "PROTOCOL N-6: before the application knows of the connection"
    );
    assert_eq!(
        told.next().await,
        format!(
            "{:?}",
            Some(Resumption::New {
                why: NewReason::Forgotten
            })
        )
    );
    assert_eq!(
        seen.next().await,
        (3, true),
        "PROTOCOL Q-3: it may have been handled before"
    );
    assert_eq!(seen.next().await, (4, false), "PROTOCOL N-6: it never left");
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_its_session_begins_anew_as_first() -> TestResult {
    let world = World::new()?;
    let (outcomes, mut told) = log();
    let service = answering().on_outcome(move |_, number, outcome| outcomes.add((number, outcome)));
    let running = world.serve(service).await?;
    let tls = world.tls("device")?;
    let device = || {
        let client = diset_std::Client::builder(PingPong, &running.address).tls(tls.clone());
        client.identity(super::hand::IDENTITY).reconnect(QUICK)
    };
    let gate = Arc::new(Semaphore::new(0));
    let (log, mut seen) = log();
    let handlers = log.clone();
    let process = Process::start()?;
    let before = device()
        .on(move |_, pong: Pong| {
            handlers.add((pong.id, false));
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        })
        .connect();
    let before = process.0.spawn(before).await??;
    let conn = conn_of(&running, &before).await;
    let session = conn.session();
    let report = conn.send_acked(&Pong { id: 1 }).await?;
    let resend = conn.send_acked_or_resend(&Pong { id: 2 }).await?;
    assert_eq!(seen.next().await, (1, false));
    within("received", resend.received()).await?;
    // Its process ends and starts again, under the same key and identity.
    process.kill();
    let after = device()
        .on(move |client: diset_std::Client<PingPong>, pong: Pong| {
            let repeated = client.received().is_some_and(|received| received.maybe_repeated);
            log.add((pong.id, repeated));
            async { Ok(()) }
        })
        .connect()
        .await?;
    assert_eq!(
        after.resumption(),
        Some(Resumption::New { why: NewReason::First }),
        "PROTOCOL N-4"
    );
    assert_eq!(
        within("the report", report.processed()).await?,
        Outcome::Unknown,
        "PROTOCOL N-6"
    );
    assert_eq!(told.next().await, (1, Outcome::Unknown));
    assert_eq!(seen.next().await, (2, true), "PROTOCOL Q-3");
    assert_eq!(within("the other", resend.processed()).await?, Outcome::Ok);
    assert_eq!(running.handle.stored(session), Some(0));
    Ok(())
}
