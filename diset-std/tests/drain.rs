//! An orderly end is orderly: what is under way at a go-away is finished and answered, on both sides, over real sockets
//! and TLS, and nothing goes on for ever (PROTOCOL G-1, G-2, G-7).

use core::time::Duration;
use std::sync::Arc;

use diset_std::{Cause, Client, ClientBuilder, Code, Conn, Counter, Dropped, Outcome, SendError, Service};
use tokio::sync::Semaphore;
use tracing::Level;

use crate::common::lines::lines;
use crate::common::*;

/// A shutdown that is not over by then has waited for its deadline.
const LONG: Duration = Duration::from_secs(3600);

/// Handlers that wait at the gate, and say when they have begun; the answer comes then.
fn gated(
    gate: &Arc<Semaphore>,
    began: Log<i64>,
) -> impl Fn(Conn<PingPong>, Ping) -> GatedFuture + Send + Sync + 'static {
    let gate = Arc::clone(gate);
    move |conn, ping| {
        let (gate, began) = (Arc::clone(&gate), began.clone());
        Box::pin(async move {
            began.add(ping.id);
            let _go = gate.acquire().await?;
            if conn.received().is_some() {
                conn.send_acked(&Pong { id: ping.id }).await?;
            } else {
                conn.send(&Pong { id: ping.id }).await?;
            }
            Ok(())
        })
    }
}

type GatedFuture = core::pin::Pin<Box<dyn Future<Output = diset_std::HandlerResult> + Send>>;

/// A client that notes the answers, and how its connections end.
fn noting(builder: ClientBuilder<PingPong>, pongs: Log<i64>, drops: Log<Dropped>) -> ClientBuilder<PingPong> {
    builder
        .on_ref::<News>(|_, _| Ok(()))
        .on(move |_, pong: Pong| {
            pongs.add(pong.id);
            async { Ok(()) }
        })
        .on_drop(move |_, why| {
            drops.add(why);
            async {}
        })
}

#[track_caller]
fn assert_in_order(why: &Dropped, code: Code) {
    assert!(
        matches!(why.cause(), Cause::WentAway(notice) if notice.code() == code),
        "PROTOCOL G-1, G-2: {why}"
    );
    assert_eq!(why.unconfirmed(), 0, "PROTOCOL G-4: {why}");
}

const MANY: i64 = 40;

/// Until the client may begin nothing new: one of the two has said go-away.
async fn going_away(client: &Client<PingPong>) {
    within("the go-away", async {
        while client.try_send(&Note { text: "" }) != Err(SendError::GoingAway) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_shuts_down_answers_what_is_under_way() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (began, mut begun) = log();
    let (ends, mut ended) = log();
    let service = Service::new(PingPong)
        .drain_time(LONG)
        .on_ref::<Note<'static>>(|_, _| Ok(()))
        .on(gated(&gate, began))
        .on_drop(move |_, why| {
            ends.add(why);
            async {}
        });
    let running = world.serve(service).await?;
    let handle = running.handle.clone();
    let mut clients = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let (pongs, answers) = log();
        let (drops, dropped) = log();
        let client = noting(world.client(PingPong, &running, name)?, pongs, drops)
            .connect()
            .await?;
        for id in 0..MANY {
            client.send(&Ping { id }).await?;
        }
        begun.next().await;
        clients.push((client, answers, dropped));
    }
    let down = running.shut_down();
    for (client, ..) in &clients {
        // From the go-away on nothing new is begun.
        going_away(client).await;
    }
    gate.add_permits(1);
    for (_, answers, dropped) in &mut clients {
        for id in 0..MANY {
            assert_eq!(answers.next().await, id, "PROTOCOL G-1: each is answered");
        }
        assert_in_order(&dropped.next().await, Code::Shutdown);
        assert_in_order(&ended.next().await, Code::Shutdown);
    }
    within("the shutdown", down).await?;
    let counters = handle.counters();
    assert_eq!(counters.get(Counter::EndedByUs(Code::HandlerFailed)), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_gets_the_answers_under_way() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (began, mut begun) = log();
    let (ends, mut ended) = log();
    let service = Service::new(PingPong)
        .on_ref::<Note<'static>>(|_, _| Ok(()))
        .on(gated(&gate, began))
        .on_drop(move |_, why| {
            ends.add(why);
            async {}
        });
    let running = world.serve(service).await?;
    let (pongs, mut answers) = log();
    let (drops, mut dropped) = log();
    let builder = world.client(PingPong, &running, "alice")?.drain_time(LONG);
    let client = noting(builder, pongs, drops).connect().await?;
    for id in 0..MANY {
        client.send(&Ping { id }).await?;
    }
    begun.next().await;
    let other = client.clone();
    let closing = tokio::spawn(async move { other.close().await });
    going_away(&client).await;
    // Meanwhile the service reads it, too.
    let other = world.client(PingPong, &running, "bob")?.connect().await?;
    within("the close", other.close()).await;
    assert_in_order(&ended.next().await, Code::Done);
    gate.add_permits(1);
    for id in 0..MANY {
        assert_eq!(answers.next().await, id, "PROTOCOL G-2: each is answered");
    }
    within("the close", closing).await?;
    assert_in_order(&dropped.next().await, Code::Done);
    assert_in_order(&ended.next().await, Code::Done);
    running.stop().await;
    Ok(())
}

/// The handlers of a client whose service says go-away finish and answer.
#[tokio::test]
async fn a_client_answers_what_is_under_way_as_its_service_shuts_down() -> TestResult {
    let (_reading, mut lines) = lines(Level::DEBUG);
    let world = World::new()?;
    let (pings, mut answers) = log();
    let service = Service::new(PingPong).drain_time(LONG).on(move |_, ping: Ping| {
        pings.add(ping.id);
        async { Ok(()) }
    });
    let running = world.serve(service).await?;
    let gate = Arc::new(Semaphore::new(0));
    let (begun, mut began) = log();
    let held = Arc::clone(&gate);
    let _client = world
        .client(PingPong, &running, "alice")?
        .on(move |client: Client<PingPong>, pong: Pong| {
            let gate = Arc::clone(&held);
            begun.add(());
            async move {
                let _go = gate.acquire().await?;
                client.send(&Ping { id: pong.id }).await?;
                Ok(())
            }
        })
        .connect()
        .await?;
    let conn = running.handle.connections().pop().ok_or("a connection")?;
    for id in 0..MANY {
        conn.send(&Pong { id }).await?;
    }
    began.next().await;
    let down = running.shut_down();
    lines.find(|line| line.contains("the peer says go-away")).await;
    gate.add_permits(1);
    for id in 0..MANY {
        assert_eq!(answers.next().await, id, "PROTOCOL G-2: each is answered");
    }
    within("the shutdown", down).await?;
    Ok(())
}

/// The handlers of a client that closes, too, finish and answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_answers_what_is_under_way() -> TestResult {
    let world = World::new()?;
    let (pings, mut answers) = log();
    let (ends, mut ended) = log();
    let service = Service::new(PingPong)
        .on(move |_, ping: Ping| {
            pings.add(ping.id);
            async { Ok(()) }
        })
        .on_drop(move |_, why| {
            ends.add(why);
            async {}
        });
    let running = world.serve(service).await?;
    let gate = Arc::new(Semaphore::new(0));
    let (began, mut begun) = log();
    let held = Arc::clone(&gate);
    let client = world
        .client(PingPong, &running, "alice")?
        .drain_time(LONG)
        .on_ref::<News>(|_, _| Ok(()))
        .on(move |client: Client<PingPong>, pong: Pong| {
            let (gate, began) = (Arc::clone(&held), began.clone());
            async move {
                began.add(pong.id);
                let _go = gate.acquire().await?;
                if pong.id % 2 == 0 {
                    client.send(&Ping { id: pong.id }).await?;
                } else {
                    client.send_acked(&Ping { id: pong.id }).await?;
                }
                Ok(())
            }
        })
        .connect()
        .await?;
    let conn = conn_of(&running, &client).await;
    for id in 0..MANY {
        if id % 3 == 0 {
            conn.send_acked(&Pong { id }).await?;
        } else {
            conn.send(&Pong { id }).await?;
        }
    }
    begun.next().await;
    let closing = tokio::spawn(async move { client.close().await });
    within("the go-away", async {
        while conn.try_send(&News { text: String::new() }) != Err(SendError::GoingAway) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.add_permits(1);
    for id in 0..MANY {
        assert_eq!(answers.next().await, id, "PROTOCOL G-1: each is answered");
    }
    within("the close", closing).await?;
    assert_in_order(&ended.next().await, Code::Done);
    running.stop().await;
    Ok(())
}

/// Acked requests and acked answers: each request has been dealt with, each answer arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acked_requests_under_way_are_answered() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (began, mut begun) = log();
    let running = world
        .serve(
            Service::new(PingPong)
                .drain_time(LONG)
                .on_ref::<Note<'static>>(|_, _| Ok(()))
                .on(gated(&gate, began)),
        )
        .await?;
    let (pongs, mut answers) = log();
    let (drops, mut dropped) = log();
    let client = noting(world.client(PingPong, &running, "alice")?, pongs, drops)
        .connect()
        .await?;
    let mut receipts = Vec::new();
    for id in 0..MANY {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    begun.next().await;
    within("all have come", async {
        for receipt in &receipts {
            receipt.received().await.expect("received");
        }
    })
    .await;
    let down = running.shut_down();
    going_away(&client).await;
    gate.add_permits(1);
    for id in 0..MANY {
        assert_eq!(answers.next().await, id, "PROTOCOL G-1: each is answered");
    }
    for receipt in receipts {
        assert_eq!(
            within("an outcome", receipt.processed()).await?,
            Outcome::Ok,
            "PROTOCOL Q-5"
        );
    }
    assert_in_order(&dropped.next().await, Code::Shutdown);
    within("the shutdown", down).await?;
    Ok(())
}

/// The example of the README: each Pong asks for the next Ping. The service ends in order while that goes on, the
/// client sees why, and goes on when the service is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_exchange_ends_in_order_when_the_service_stops() -> TestResult {
    let world = World::new()?;
    for round in 0..4 {
        let (ends, mut ended) = log();
        let serving = |ends: Log<Dropped>| {
            answering().drain_time(LONG).on_drop(move |_, why| {
                ends.add(why);
                async {}
            })
        };
        let running = world.serve(serving(ends.clone())).await?;
        let port = running.port();
        let (pongs, mut answers) = log();
        let (drops, mut dropped) = log();
        let client = world
            .client(PingPong, &running, "alice")?
            .on(move |client: Client<PingPong>, pong: Pong| {
                pongs.add(pong.id);
                async move {
                    client.send(&Ping { id: pong.id + 1 }).await?;
                    Ok(())
                }
            })
            .on_drop(move |_, why| {
                drops.add(why);
                async {}
            })
            .connect()
            .await?;
        client.send(&Ping { id: 0 }).await?;
        answers.find(|id| *id > round).await;
        running.stop().await;
        assert_in_order(&dropped.next().await, Code::Shutdown);
        assert_in_order(&ended.next().await, Code::Shutdown);
        // There again, on the same port.
        let again = serving(ends).bind(("127.0.0.1", port), world.server.clone()).await?;
        let again = run(again);
        within("connected again", async {
            while client.send(&Ping { id: -1000 }).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        answers.find(|id| *id == -1000).await;
        // And the same when it is the client that ends.
        within("the close", client.close()).await;
        assert_in_order(&dropped.next().await, Code::Done);
        assert_in_order(&ended.next().await, Code::Done);
        again.stop().await;
    }
    Ok(())
}

/// A handler that fails for a reason of its own still says so; and one that could have answered.
#[tokio::test]
async fn a_failure_of_its_own_is_still_told() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (began, mut begun) = log();
    let (ends, mut ended) = log();
    let held = Arc::clone(&gate);
    let running = world
        .serve(
            Service::new(PingPong)
                .drain_time(LONG)
                .on_ref::<Note<'static>>(|_, _| Ok(()))
                .on(move |_: Conn<PingPong>, ping: Ping| {
                    let (gate, began) = (Arc::clone(&held), began.clone());
                    async move {
                        began.add(ping.id);
                        let _go = gate.acquire().await?;
                        // As when it is another connection that goes away: this message could have been answered.
                        Err(if ping.id == 0 {
                            SendError::GoingAway
                        } else {
                            SendError::NotOpen
                        }
                        .into())
                    }
                })
                .on_drop(move |_, why| {
                    ends.add(why);
                    async {}
                }),
        )
        .await?;
    let mut clients = Vec::new();
    for id in 0..2 {
        let client = world.client(PingPong, &running, "alice")?.connect().await?;
        client.send(&Ping { id }).await?;
        begun.next().await;
        clients.push(client);
    }
    let down = running.shut_down();
    for client in &clients {
        going_away(client).await;
    }
    gate.add_permits(1);
    for _ in 0..2 {
        assert_eq!(ended.next().await.code(), Some(Code::HandlerFailed), "PROTOCOL M-4");
    }
    within("the shutdown", down).await?;
    Ok(())
}
