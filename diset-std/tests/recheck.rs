//! Rules that are asked again of those that are connected, when the program says that something has changed.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use diset_std::{
    Cause, Client, ClientState, Code, Conn, Counter, Dropped, Identity, Rule, SendError, Service, ServiceHandle,
    Verdict,
};
use tokio::sync::Semaphore;

use crate::common::*;

const ALICE: Identity = Identity::from_bytes([0xa1; 16]);
const BOB: Identity = Identity::from_bytes([0xb0; 16]);
const FORBIDDEN: Result<(), SendError> = Err(SendError::NotAgreed(Verdict::Forbidden));

/// Who may do something, as a file or a database would say.
#[derive(Clone)]
struct List(Arc<Mutex<HashSet<Identity>>>, Count);

impl List {
    fn of(all: impl IntoIterator<Item = Identity>) -> Self {
        Self(Arc::new(Mutex::new(all.into_iter().collect())), Count::default())
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<Identity>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Asked when a client connects; counts how often.
    fn rule(&self) -> Rule<PingPong> {
        let list = self.clone();
        Rule::at_connect(move |conn: &Conn<PingPong>| {
            list.1.add();
            list.0.lock().is_ok_and(|list| list.contains(&conn.identity()))
        })
    }
}

fn shout() -> Shout {
    Shout { text: "hey".to_owned() }
}

fn news() -> News {
    News { text: String::new() }
}

async fn recheck(handle: &ServiceHandle<PingPong>) -> usize {
    within("asked", handle.recheck_rules()).await
}

/// A client that logs how its connections end.
async fn watched(
    world: &World,
    running: &Running<PingPong>,
    identity: Identity,
) -> Result<(Neighbour, Seen<Dropped>), Box<dyn core::error::Error>> {
    let (log, drops) = log();
    let client = world.client(PingPong, running, "alice")?.identity(identity);
    let client = client.on_drop(move |_, why| {
        log.add(why);
        async {}
    });
    let neighbour = Neighbour::new(client).await?;
    conn_of(running, &neighbour.client).await;
    Ok((neighbour, drops))
}

#[tokio::test]
async fn whoever_is_taken_off_the_list_is_ended_and_comes_back_with_it() -> TestResult {
    let world = World::new()?;
    // In either form the rule is on who may connect.
    let list = List::of([ALICE, BOB]);
    let at_connect = list.rule();
    let other = list.clone();
    let at_delivery = Rule::at_delivery(move |conn: &Conn<PingPong>| {
        other.0.lock().is_ok_and(|list| list.contains(&conn.identity()))
    });
    for rule in [at_connect, at_delivery] {
        list.change(|list| list.extend([ALICE, BOB]));
        let running = world
            .serve(answering().allow_connect(rule.or_tell("not in the list")))
            .await?;
        let (alice, mut drops) = watched(&world, &running, ALICE).await?;
        let (mut bob, mut others) = watched(&world, &running, BOB).await?;
        assert_eq!(recheck(&running.handle).await, 0, "nothing has changed");
        list.change(|list| list.retain(|identity| *identity != ALICE));
        assert_eq!(recheck(&running.handle).await, 1, "PROTOCOL H-12");
        let told = drops.next().await;
        let Cause::PeerError(notice) = told.cause() else {
            return Err(told.to_string().into());
        };
        assert_eq!(
            (notice.code(), notice.text()),
            (Code::NotAdmitted, "not in the list"),
            "PROTOCOL H-12"
        );
        assert_eq!(recheck(&running.handle).await, 0, "it is gone");
        // It comes back, slowly, and is refused until it is on the list again.
        let waiting = until(&alice.client, "it is refused", |state| {
            matches!(state, ClientState::Waiting { why, .. }
                if matches!(why, diset_std::Ended::Dropped(dropped) if matches!(dropped.cause(), Cause::Refused(_))))
        });
        waiting.await;
        list.change(|list| list.extend([ALICE]));
        connected(&alice.client).await;
        bob.is_served().await;
        assert!(others.now().is_none());
        let counters = running.handle.counters();
        assert_eq!(counters.get(Counter::EndedByUs(Code::NotAdmitted)), 1);
        assert!(counters.get(Counter::Refused(Code::NotAdmitted)) >= 1);
        alice.client.close().await;
        bob.client.close().await;
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_is_about_to_come_in_meanwhile_does_not_slip_through() -> TestResult {
    let (world, list) = (World::new()?, List::of([ALICE]));
    let gate = Arc::new(Semaphore::new(0));
    let (held, (log, mut asks)) = (Arc::clone(&gate), log());
    let service = answering()
        .allow_connect(list.rule().or_tell("not in the list"))
        .on_connect(move |_| {
            let gate = Arc::clone(&held);
            log.add(());
            async move {
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
                Ok(())
            }
        });
    let running = world.serve(service).await?;
    let (ends, mut drops) = crate::common::log();
    let alice = world
        .client(PingPong, &running, "alice")?
        .identity(ALICE)
        .on_drop(move |_, why| {
            ends.add(why);
            async {}
        })
        .start()?;
    // It was allowed, and is not open yet.
    asks.next().await;
    list.change(HashSet::clear);
    assert_eq!(recheck(&running.handle).await, 0, "nobody is connected");
    gate.add_permits(1);
    let told = drops.next().await;
    assert_eq!(told.code(), Some(Code::NotAdmitted), "{told}");
    alice.close().await;
    Ok(())
}

/// Logs what is shouted.
fn heard(service: Service<PingPong>, log: Log<Identity>) -> Service<PingPong> {
    service.on(move |conn: Conn<PingPong>, _: Shout| {
        log.add(conn.identity());
        async { Ok(()) }
    })
}

#[tokio::test]
async fn messages_that_are_forbidden_since_are_not_taken_and_not_sent() -> TestResult {
    for own in [true, false] {
        let (world, list) = (World::new()?, List::of([ALICE, BOB]));
        let (log, mut shouts) = log();
        let service = heard(answering(), log);
        let service = if own {
            let rule = list.rule().or_tell("operators only");
            service.allow::<Shout>(rule.clone()).allow::<News>(rule)
        } else {
            service
                .allow_messages(list.rule().or_tell("operators only"))
                .allow::<Ping>(Rule::everyone())
                .allow::<Pong>(Rule::everyone())
        };
        let running = world.serve(service).await?;
        let (mut alice, mut drops) = watched(&world, &running, ALICE).await?;
        let (mut bob, _) = watched(&world, &running, BOB).await?;
        let (conn, other) = (
            conn_of(&running, &alice.client).await,
            conn_of(&running, &bob.client).await,
        );
        conn.send(&news()).await?;
        list.change(|list| list.retain(|identity| *identity != ALICE));
        assert_eq!(recheck(&running.handle).await, 0, "it has done nothing");
        // Neither is sent to it, in any way.
        assert_eq!(conn.send(&news()).await, FORBIDDEN, "PROTOCOL M-5");
        assert_eq!(conn.try_send(&news()), FORBIDDEN, "PROTOCOL M-5");
        let two = [news(), news()];
        assert_eq!(conn.send_all(&mut two.as_slice()).await, FORBIDDEN, "PROTOCOL M-5");
        let stored = running.handle.send_acked(conn.session(), &news()).await;
        assert_eq!(stored.err(), FORBIDDEN.err(), "PROTOCOL M-5");
        let sent = running.handle.broadcast(&news());
        assert_eq!((sent.queued, sent.forbidden), (1, 1));
        assert_eq!(other.send(&news()).await, Ok(()));
        // The rest goes on, and so does everything when the right is back in time.
        alice.is_served().await;
        list.change(|list| list.extend([ALICE]));
        assert_eq!(recheck(&running.handle).await, 0);
        conn.send(&news()).await?;
        alice.client.send(&shout()).await?;
        assert_eq!(shouts.next().await, ALICE);
        alice.is_served().await;
        // Without it who sends is ended.
        list.change(|list| list.retain(|identity| *identity != ALICE));
        recheck(&running.handle).await;
        alice.client.send(&shout()).await?;
        let why = drops.next().await;
        assert_eq!(
            (told(&why).code(), told(&why).text()),
            (Code::Forbidden, "operators only"),
            "PROTOCOL M-5"
        );
        bob.client.send(&shout()).await?;
        assert_eq!(shouts.next().await, BOB, "the other one was not heard");
        bob.is_served().await;
        // It learns of it when it comes back.
        within("its verdict", async {
            while alice.client.verdict::<Shout>() != Some(Verdict::Forbidden) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        running.stop().await;
    }
    Ok(())
}

/// Rules are asked twice at a time: whoever has looked at the older list, and takes longer, does not undo what the other
/// one has found.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_asks_with_an_older_list_and_ends_later_changes_nothing() -> TestResult {
    let (world, list) = (World::new()?, List::of([ALICE]));
    let (asked, asks) = std::sync::mpsc::channel();
    let (go, gate) = std::sync::mpsc::channel();
    let gate = Mutex::new(Some((asked, gate)));
    let is_slow = Arc::new(AtomicBool::new(false));
    let (slow, own) = (Arc::clone(&is_slow), list.clone());
    let rule = Rule::at_connect(move |conn: &Conn<PingPong>| {
        let is_on_it = own.0.lock().is_ok_and(|list| list.contains(&conn.identity()));
        if slow.swap(false, SeqCst)
            && let Some((asked, gate)) = gate.lock().ok().and_then(|mut gate| gate.take())
        {
            let _ = asked.send(());
            let _ = gate.recv();
        }
        is_on_it
    });
    let running = world.serve(answering().allow::<News>(rule)).await?;
    let (mut alice, _) = watched(&world, &running, ALICE).await?;
    let conn = conn_of(&running, &alice.client).await;
    list.change(HashSet::clear);
    is_slow.store(true, SeqCst);
    let handle = running.handle.clone();
    let slow = tokio::spawn(async move { handle.recheck_rules().await });
    tokio::task::spawn_blocking(move || asks.recv()).await??;
    list.change(|list| list.extend([ALICE]));
    assert_eq!(recheck(&running.handle).await, 0);
    conn.send(&news()).await?;
    go.send(())?;
    assert_eq!(within("asked", slow).await?, 0);
    assert_eq!(
        conn.send(&news()).await,
        Ok(()),
        "PROTOCOL M-5: the list that counts is the last one"
    );
    alice.is_served().await;
    Ok(())
}

#[tokio::test]
async fn whoever_may_do_more_comes_back_in_order_and_does() -> TestResult {
    let (world, list) = (World::new()?, List::of([BOB]));
    let (log, mut shouts) = log();
    let running = world.serve(heard(answering(), log).allow::<Shout>(list.rule())).await?;
    let (alice, mut drops) = watched(&world, &running, ALICE).await?;
    let (mut bob, mut others) = watched(&world, &running, BOB).await?;
    assert_eq!(alice.client.send(&shout()).await, FORBIDDEN, "PROTOCOL S-6");
    let first = alice.client.trid();
    list.change(|list| list.extend([ALICE]));
    assert_eq!(recheck(&running.handle).await, 0, "nobody is ended");
    let why = drops.next().await;
    let Cause::WentAway(notice) = why.cause() else {
        return Err(why.to_string().into());
    };
    assert_eq!((notice.code(), why.unconfirmed()), (Code::Disconnected, 0), "{why}");
    assert!(notice.retry().is_some(), "PROTOCOL G-1: {why}");
    until(
        &alice.client,
        "connected again",
        |state| matches!(state, ClientState::Connected(trid) if Some(*trid) != first),
    )
    .await;
    alice.client.send(&shout()).await?;
    assert_eq!(shouts.next().await, ALICE);
    bob.is_served().await;
    assert!(others.now().is_none());
    Ok(())
}

#[tokio::test]
async fn others_have_their_turn_while_many_are_asked_about() -> TestResult {
    const MANY: usize = 300;
    let list = List::of([ALICE]);
    let service = answering().allow_connect(list.rule()).max_connections(MANY + 1);
    let running = run(service.bind_plain_tcp("127.0.0.1:0").await?);
    let mut all = Vec::new();
    for number in 0..MANY {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let identity = Identity::from_bytes(bytes);
        list.change(|list| list.extend([identity]));
        let client = Client::builder(PingPong, &running.address).plain_tcp();
        let client = client.identity(identity).reconnect(QUICK).connect().await?;
        conn_of(&running, &client).await;
        all.push(client);
    }
    // One thread: whoever has a turn has it between two of those that ask.
    let (turns, asked) = (Count::default(), list.1.clone());
    let (turn, before) = (turns.clone(), asked.value());
    let other = tokio::spawn(async move {
        let mut seen = asked.value();
        loop {
            tokio::task::yield_now().await;
            let now = asked.value();
            assert!(now - seen <= 64 + 8, "{} were asked about at a time", now - seen);
            seen = now;
            turn.add();
        }
    });
    assert_eq!(recheck(&running.handle).await, 0);
    assert!(list.1.value() - before >= MANY);
    assert!(turns.value() >= MANY / 64, "{} turns", turns.value());
    assert!(!other.is_finished(), "too many were asked about at a time");
    other.abort();
    list.change(HashSet::clear);
    assert_eq!(recheck(&running.handle).await, MANY, "each of them");
    for client in &all {
        client.stop();
    }
    running.stop().await;
    Ok(())
}
