//! The service from anywhere in the program: sending, looking, sending away; and two
//! clients that claim one identity.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use diset_std::{Cause, Client, ClientState, Code, Conn, Identity, SendError, Service, SessionId, Trid};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::common::*;

/// A client that logs the texts of its news.
async fn reader(
    world: &World,
    running: &Running<PingPong>,
    name: &str,
) -> Result<(Client<PingPong>, Seen<String>), Box<dyn core::error::Error>> {
    let (log, seen) = log();
    let client = world
        .client(PingPong, running, name)?
        .on_ref::<News>(move |_, news| {
            log.add(news.text);
            Ok(())
        })
        .connect()
        .await?;
    Ok((client, seen))
}

/// The client may know of its connection a moment before the service's program does.
fn news(text: &str) -> News {
    News { text: text.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_can_be_sent_to() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let handle = &running.handle;
    assert_eq!(handle.broadcast(&news("nobody")).queued, 0);
    let (alice, mut to_alice) = reader(&world, &running, "alice").await?;
    let (bob, mut to_bob) = reader(&world, &running, "bob").await?;
    let (at_alice, at_bob) = (conn_of(&running, &alice).await, conn_of(&running, &bob).await);

    let trids: Vec<Trid> = handle.connections().iter().map(Conn::trid).collect();
    assert_eq!(
        trids,
        [at_alice.trid(), at_bob.trid()],
        "in the order in which they came"
    );

    handle.send(at_alice.trid(), &news("by trid")).await?;
    handle.send_to_session(at_alice.session(), &news("by session")).await?;
    at_alice.service().send(at_alice.trid(), &news("by way of bob")).await?;
    for text in ["by trid", "by session", "by way of bob"] {
        assert_eq!(to_alice.next().await, text);
    }
    let sent = handle.broadcast(&news("all"));
    assert_eq!((sent.queued, sent.full, sent.not_sent), (2, 0, 0));
    assert_eq!(
        (to_alice.next().await, to_bob.next().await),
        ("all".into(), "all".into())
    );

    alice.close().await;
    within("gone", async {
        while handle.connections().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        handle.send(at_alice.trid(), &news("late")).await,
        Err(SendError::NotOpen)
    );
    assert_eq!(at_alice.send(&news("late")).await, Err(SendError::NotOpen));
    let session = SessionId {
        principal: at_alice.session().principal,
        identity: Identity::from_bytes([0; 16]),
    };
    assert_eq!(
        handle.send_to_session(session, &news("nobody")).await,
        Err(SendError::NotOpen)
    );
    assert!(!handle.disconnect(at_alice.trid(), "twice"));
    assert!(!handle.disconnect_session(at_alice.session(), "twice"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_names_one_client_of_each_principal() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let handle = &running.handle;
    let identity = Identity::from_bytes([7; 16]);
    assert!(handle.find_identity(identity).is_empty());
    let mut clients = Vec::new();
    let (log, mut ends) = log();
    for name in ["alice", "bob"] {
        let log = log.clone();
        let client = world.client(PingPong, &running, name)?.identity(identity);
        let client = client.on_drop(move |_, dropped| {
            log.add((name, dropped.code()));
            async {}
        });
        clients.push(client.connect().await?);
    }
    let _other = world.client(PingPong, &running, "carol")?.connect().await?;
    let mut trids = Vec::new();
    for client in &clients {
        trids.push(conn_of(&running, client).await.trid());
    }
    let found = handle.find_identity(identity);
    assert_eq!(found.iter().map(Conn::trid).collect::<Vec<_>>(), trids, "PROTOCOL D-1");
    let (alice, bob) = (found[0].session(), found[1].session());
    assert!(alice != bob && alice.identity == bob.identity);

    // One of them is sent away, by who it is.
    assert!(handle.disconnect_session(alice, "maintenance"));
    assert_eq!(ends.next().await, ("alice", Some(Code::Disconnected)));
    assert_eq!(clients[1].trid(), Some(trids[1]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_why_it_is_sent_away() -> TestResult {
    let world = World::new()?;
    let (log, mut service_drops) = log();
    let running = world
        .serve(answering().on_drop(move |_, why| {
            log.add(why);
            async {}
        }))
        .await?;
    let (log, mut drops) = crate::common::log();
    let told = log.clone();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<News>(move |_, news| {
            told.add(news.text);
            Ok(())
        })
        .on_drop(move |_, why| {
            log.add(why.cause().to_string());
            async {}
        })
        .connect()
        .await?;
    let conn = conn_of(&running, &client).await;
    conn.send(&news("the last")).await?;
    assert!(running.handle.disconnect(conn.trid(), "maintenance"));
    assert_eq!(conn.send(&news("too late")).await, Err(SendError::NotOpen));
    assert_eq!(
        drops.next().await,
        "the last",
        "PROTOCOL E-3: what was queued before is sent"
    );
    assert_eq!(
        drops.next().await,
        "the peer reported: the application ended the connection (70): maintenance",
        "PROTOCOL E-3"
    );
    assert_eq!(code(&service_drops.next().await), Some(Code::Disconnected));
    connected(&client).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_of_a_client_takes_over_in_order() -> TestResult {
    let world = World::new()?;
    let (log, mut seen) = log();
    let (began, dropped, gate) = (log.clone(), log.clone(), Arc::new(Semaphore::new(0)));
    let held = Arc::clone(&gate);
    let running = world
        .serve(
            Service::new(PingPong)
                .on(move |conn: Conn<PingPong>, ping: Ping| {
                    let (log, gate) = (began.clone(), Arc::clone(&held));
                    log.add((conn.trid(), format!("begins {}", ping.id)));
                    async move {
                        if ping.id == 1 {
                            gate.acquire().await?.forget();
                        }
                        log.add((conn.trid(), format!("ends {}", ping.id)));
                        Ok(())
                    }
                })
                .on_drop(move |conn, why| {
                    let log = dropped.clone();
                    log.add((conn.trid(), format!("dropped {:?}", code(&why))));
                    async move {
                        tokio::task::yield_now().await;
                        log.add((conn.trid(), "forgotten".into()));
                    }
                }),
        )
        .await?;
    let tls = world.tls("alice")?;
    let same = |name: &str| {
        let client = world.client(PingPong, &running, name)?;
        Ok::<_, Box<dyn core::error::Error>>(client.identity(Identity::from_bytes([1; 16])))
    };
    let (ended, mut ends) = crate::common::log();
    let older = same("alice")?
        .tls(tls.clone())
        .on_drop(move |client: Client<PingPong>, why| {
            ended.add(why);
            client.stop();
            async {}
        })
        .connect()
        .await?;
    older.send(&Ping { id: 1 }).await?;
    older.send(&Ping { id: 2 }).await?;
    let one = older.trid().ok_or("not connected")?;
    assert_eq!(seen.next().await, (one, "begins 1".into()));

    // Another certificate is another client, whatever identity it claims.
    let stranger = same("mallory")?.connect().await?;
    stranger.send(&Ping { id: 9 }).await?;
    let other = stranger.trid().ok_or("not connected")?;
    assert_eq!(seen.next().await, (other, "begins 9".into()), "PROTOCOL D-1");
    assert_eq!(seen.next().await, (other, "ends 9".into()), "PROTOCOL D-1");
    assert_eq!(older.trid(), Some(one), "PROTOCOL D-1");

    let newer = same("alice")?.tls(tls).connect().await?;
    newer.send(&Ping { id: 3 }).await?;
    let two = newer.trid().ok_or("not connected")?;
    let why = ends.next().await;
    assert!(
        matches!(why.cause(), Cause::PeerError(notice) if notice.code() == Code::Displaced),
        "PROTOCOL D-2: {why}"
    );
    assert_eq!(seen.now(), None, "PROTOCOL D-2: the older's handler still runs");
    let session = conn_of(&running, &newer).await.session();
    let found = running.handle.find_session(session).ok_or("no session")?;
    assert_eq!(found.trid(), two, "sends go to the newer at once");
    gate.add_permits(1);
    for (trid, what) in [
        (one, "ends 1"),
        (one, "dropped Some(Displaced)"),
        (one, "forgotten"),
        (two, "begins 3"),
        (two, "ends 3"),
    ] {
        assert_eq!(seen.next().await, (trid, what.into()), "PROTOCOL D-2");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_fight_over_an_identity_slow_down() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let tls = world.tls("alice")?;
    let base = Duration::from_millis(10);
    let (log, mut waits) = log();
    let mut clients = Vec::new();
    for fighter in 0..2 {
        let log = log.clone();
        let ended = Arc::new(Mutex::new(Instant::now()));
        let drop_time = Arc::clone(&ended);
        let client = world.client(PingPong, &running, "alice")?.tls(tls.clone());
        clients.push(
            client
                .identity(Identity::from_bytes([1; 16]))
                .reconnect(diset_std::ReconnectPolicy {
                    base,
                    max: Duration::from_secs(60),
                    useful: Duration::ZERO,
                    ..diset_std::ReconnectPolicy::DEFAULT
                })
                .on_drop(move |_, _| {
                    *drop_time.lock().expect("no panic") = Instant::now();
                    async {}
                })
                .on_state(move |_, state| {
                    if let ClientState::Waiting { why, until } = state {
                        let wait = until.duration_since(*ended.lock().expect("no panic"));
                        log.add((fighter, code(dropped(why)), wait));
                    }
                })
                .start()?,
        );
    }
    // Each defeat of a client doubles its least wait, however useful it was in between.
    let mut defeats = [0u32; 2];
    while defeats.iter().sum::<u32>() < 8 {
        let (fighter, why, wait) = waits.next().await;
        assert_eq!(why, Some(Code::Displaced), "PROTOCOL R-5");
        let least = base * 2u32.pow(defeats[fighter]);
        defeats[fighter] += 1;
        assert!(
            wait >= least,
            "PROTOCOL R-5: {wait:?} after {} defeats",
            defeats[fighter]
        );
    }
    Ok(())
}
