//! Rules that are asked at each delivery, because rights change: a right that ends while the client is connected, in both
//! directions, and within what came together. And what a client gets that sends what it was told not to send. The
//! neighbours never notice.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use diset_std::diset_proto::MessageOf;
use diset_std::{
    Cause, Client, ClientState, Code, Conn, Dropped, Identity, Notice, Rule, SendError, Service, SlowPolicy, Verdict,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::*;

const ALICE: Identity = Identity::from_bytes([0xa1; 16]);
const FORBIDDEN: Result<(), SendError> = Err(SendError::NotAgreed(Verdict::Forbidden));

fn shout(text: &str) -> Shout {
    Shout { text: text.to_owned() }
}

fn news() -> News {
    News { text: String::new() }
}

/// Who has a right now.
#[derive(Clone, Default)]
struct Rights(Arc<Mutex<HashSet<Identity>>>);

impl Rights {
    fn change(&self, change: impl FnOnce(&mut HashSet<Identity>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn rule(&self) -> Rule<PingPong> {
        let rights = self.clone();
        Rule::at_delivery(move |conn| rights.0.lock().is_ok_and(|rights| rights.contains(&conn.identity())))
    }
}

/// Logs what it is told, and how connections end.
fn shouted(service: Service<PingPong>, shouts: Log<String>, drops: Log<Dropped>) -> Service<PingPong> {
    service
        .on(move |_, shout: Shout| {
            shouts.add(shout.text);
            async { Ok(()) }
        })
        .on_drop(move |_, why| {
            drops.add(why);
            async {}
        })
}

/// It was disconnected for sending a Shout.
fn assert_forbidden(notice: &Notice, text: &str) {
    assert_eq!(
        (notice.code(), notice.message(), notice.text()),
        (Code::Forbidden, Some(<Shout as MessageOf<PingPong>>::NUMBER), text),
        "PROTOCOL M-5, M-4"
    );
}

#[tokio::test]
async fn a_right_that_ends_while_connected() -> TestResult {
    let world = World::new()?;
    let rights = Rights::default();
    let ((shouts, mut heard), (ends, ended)) = (log(), log());
    let service = answering().allow::<Shout>(rights.rule().or_tell("on duty only"));
    let running = world.serve(shouted(service, shouts, ends)).await?;
    let mut bob = Neighbour::new(world.client(PingPong, &running, "bob")?).await?;
    rights.change(|rights| rights.extend([ALICE, bob.client.identity()]));
    let (log, mut drops) = log();
    let alice = world
        .client(PingPong, &running, "alice")?
        .identity(ALICE)
        .on_drop(move |_, why| {
            log.add(why);
            async {}
        })
        .connect()
        .await?;
    let first = alice.trid();
    assert_eq!(
        alice.verdict::<Shout>(),
        Some(Verdict::Same),
        "PROTOCOL M-5: the verdicts say nothing"
    );
    alice.send(&shout("with right")).await?;
    assert_eq!(heard.next().await, "with right");

    rights.change(|rights| rights.retain(|identity| *identity != ALICE));
    alice.send(&shout("without")).await?;
    assert_forbidden(told(&drops.next().await), "on duty only");
    // Whoever has the right keeps it.
    bob.client.send(&shout("from bob")).await?;
    assert_eq!(
        heard.next().await,
        "from bob",
        "the handler has not seen the one before"
    );
    bob.is_served().await;

    // It comes back by itself, and the right may, too.
    until(
        &alice,
        "connected again",
        |state| matches!(state, ClientState::Connected(trid) if Some(*trid) != first),
    )
    .await;
    rights.change(|rights| rights.extend([ALICE]));
    alice.send(&shout("again")).await?;
    assert_eq!(heard.next().await, "again");
    bob.is_served().await;
    alice.close().await;
    bob.client.close().await;
    running.stop().await;
    let ended = ended.rest().await;
    assert!(
        matches!(ended[0].cause(), Cause::OurError(notice) if notice.code() == Code::Forbidden),
        "{ended:?}"
    );
    assert_eq!(ended.len(), 3, "one drop for each connection: {ended:?}");
    Ok(())
}

#[tokio::test]
async fn the_service_is_held_to_the_same_right() -> TestResult {
    let world = World::new()?;
    let rights = Rights::default();
    let running = world.serve(answering().allow::<News>(rights.rule())).await?;
    let bob = Neighbour::new(world.client(PingPong, &running, "bob")?).await?;
    let mut alice = Neighbour::new(world.client(PingPong, &running, "alice")?.identity(ALICE)).await?;
    rights.change(|rights| rights.extend([bob.client.identity()]));
    let conn = conn_of(&running, &alice.client).await;
    conn_of(&running, &bob.client).await;

    let handle = &running.handle;
    let two = [news(), news()];
    for right in [false, true] {
        let expected = if right { Ok(()) } else { FORBIDDEN };
        assert_eq!(conn.send(&news()).await, expected, "PROTOCOL M-5");
        assert_eq!(conn.try_send(&news()), expected, "PROTOCOL M-5");
        let mut left = two.as_slice();
        assert_eq!(conn.send_all(&mut left).await, expected, "PROTOCOL M-5");
        assert_eq!(left.len(), if right { 0 } else { 2 });
        assert_eq!(handle.send(conn.trid(), &news()).await, expected);
        assert_eq!(handle.send_to_session(conn.session(), &news()).await, expected);
        let sent = handle.broadcast(&news());
        assert_eq!((sent.queued, sent.forbidden), if right { (2, 0) } else { (1, 1) });
        // Nobody was disconnected: the client has done nothing.
        alice.is_served().await;
        rights.change(|rights| rights.extend([ALICE]));
    }
    Ok(())
}

#[tokio::test]
async fn a_right_that_ends_between_two_messages_that_are_sent_together() -> TestResult {
    let world = World::new()?;
    let asked = Count::default();
    let count = asked.clone();
    let service = answering()
        .slow_policy(SlowPolicy::Fail)
        .allow::<News>(Rule::at_delivery(move |_| count.add() < 3));
    let running = world.serve(service).await?;
    let alice = Neighbour::new(world.client(PingPong, &running, "alice")?).await?;
    let all = [news(), news(), news(), news(), news()];
    let mut left = all.as_slice();
    let sent = conn_of(&running, &alice.client).await.send_all(&mut left).await;
    assert_eq!((sent, left.len()), (FORBIDDEN, 2), "PROTOCOL M-5");
    Ok(())
}

/// A service on plain TCP that forbids Shout as soon as the right has ended.
fn plain(right: &Arc<AtomicBool>) -> Service<PingPong> {
    let right = Arc::clone(right);
    Service::new(PingPong)
        .allow_connect(Rule::everyone())
        .allow::<Shout>(Rule::at_delivery(move |_| right.load(Ordering::SeqCst)).or_tell("not any more"))
}

#[tokio::test]
async fn a_right_that_ends_between_two_messages_that_came_together() -> TestResult {
    for waits in [false, true] {
        let right = Arc::new(AtomicBool::new(true));
        let (log, seen) = log();
        let service = plain(&right);
        // The third one takes the right away.
        let handle = move |shout: &str| {
            log.add(shout.to_owned());
            if shout == "2" {
                right.store(false, Ordering::SeqCst);
            }
            Ok(())
        };
        let service = if waits {
            // Meanwhile the others lie in the lane.
            let handle = Arc::new(handle);
            service.on(move |_, shout: Shout| {
                let handle = Arc::clone(&handle);
                async move {
                    tokio::task::yield_now().await;
                    handle(&shout.text)
                }
            })
        } else {
            service.on_ref::<Shout>(move |_, shout| handle(&shout.text))
        };
        let running = run(service.bind_plain_tcp("127.0.0.1:0").await?);
        let mut stream = TcpStream::connect(&running.address).await?;
        let mut engine = Engine::new()?;
        engine.open(&mut stream).await?;
        for number in 0..6 {
            engine
                .conn
                .send(<Shout as MessageOf<PingPong>>::NUMBER, &shout(&number.to_string()))?;
        }
        stream.write_all(&engine.says()).await?;
        let (answer, end) = read_all(&mut stream).await;
        end?;
        match engine.fate(&answer) {
            Some(Cause::PeerError(notice)) => assert_forbidden(&notice, "not any more"),
            other => return Err(format!("PROTOCOL M-5: {other:?}").into()),
        }
        drop(stream);
        running.stop().await;
        assert_eq!(
            seen.rest().await,
            ["0", "1", "2"],
            "PROTOCOL M-5: in its turn, waits: {waits}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_forbidden_is_not_looked_into() -> TestResult {
    let fixed = Service::new(PingPong)
        .allow_connect(Rule::everyone())
        .allow::<Shout>(Rule::at_connect(|conn: &Conn<PingPong>| {
            conn.args().value("any").is_some()
        }));
    let ended = plain(&Arc::new(AtomicBool::new(false)));
    // Of what was told at connect the peer knows: no text.
    for (service, text) in [(fixed, ""), (ended, "not any more")] {
        let ((shouts, heard), (ends, ended)) = (log(), log());
        let running = run(shouted(service.on(answer), shouts, ends)
            .bind_plain_tcp("127.0.0.1:0")
            .await?);
        let neighbour = Client::builder(PingPong, &running.address).plain_tcp();
        let mut neighbour = Neighbour::new(neighbour).await?;
        let mut stream = TcpStream::connect(&running.address).await?;
        let mut engine = Engine::new()?;
        engine.open(&mut stream).await?;
        // A Shout whose text is said to be longer than the message: it would be Invalid.
        let frame = [3, 0, <Shout as MessageOf<PingPong>>::NUMBER, 0x7f];
        stream.write_all(&frame).await?;
        let (answer, end) = read_all(&mut stream).await;
        end?;
        match engine.fate(&answer) {
            Some(Cause::PeerError(notice)) => assert_forbidden(&notice, text),
            other => return Err(format!("PROTOCOL M-5, S-5: {other:?}").into()),
        }
        drop(stream);
        neighbour.is_served().await;
        neighbour.client.close().await;
        running.stop().await;
        assert!(heard.rest().await.is_empty(), "PROTOCOL M-5: no handler sees it");
        let ended: Vec<_> = ended.rest().await.iter().map(Dropped::code).collect();
        assert_eq!(ended.first(), Some(&Some(Code::Forbidden)), "{ended:?}");
        assert_eq!(ended.len(), 2, "one drop for each connection: {ended:?}");
    }
    Ok(())
}
