//! Ping and Pong over mutual TLS: what a service and a client see of each other, in good
//! days and when a line or a service breaks.

use diset_std::{Cause, ClientEvent, ClientState, Code, Conn, Identity, SendError, Service, Value, Verdict};

use crate::common::*;

#[derive(Debug, PartialEq)]
enum Event {
    Pushed(String),
    Pong(i64),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_learns_who_the_other_is() -> TestResult {
    let world = World::new()?;
    let (log, mut asked) = log();
    let running = world
        .serve(
            answering()
                .on_connect(move |conn: Conn<PingPong>| {
                    log.add(conn);
                    async { Ok(()) }
                })
                .on_connected(|conn| async move {
                    conn.send(&News { text: "welcome".into() }).await?;
                    Ok(())
                }),
        )
        .await?;
    let (log, mut seen) = crate::common::log();
    let pongs = log.clone();
    let identity = Identity::from_bytes([7; 16]);
    let client = world
        .client(PingPong, &running, "alice")?
        .identity(identity)
        .arg("site", "CERN")
        .arg("slots", 12)
        .on_ref::<News>(move |_, news| {
            log.add(Event::Pushed(news.text));
            Ok(())
        })
        .on_ref::<Pong>(move |_, pong| {
            pongs.add(Event::Pong(pong.id));
            Ok(())
        })
        .connect()
        .await?;

    let conn = asked.next().await;
    let certificate = conn.credentials().certificate().ok_or("no certificate")?;
    assert_eq!(certificate.subject(), "CN=alice,O=diset throwaway");
    assert_eq!(
        conn.session().principal.as_bytes(),
        certificate.public_key_sha256(),
        "PROTOCOL D-1: the principal is the hash of the public key"
    );
    assert_eq!((conn.identity(), Some(conn.trid())), (identity, client.trid()));
    assert_eq!(conn.args().text("site"), Some("CERN"));
    assert_eq!(conn.args().value("slots"), Some(&Value::Int(12)));
    assert!(client.verdicts().iter().all(|(_, verdict)| *verdict == Verdict::Same));

    client.send(&Ping { id: 42 }).await?;
    assert_eq!(seen.next().await, Event::Pushed("welcome".into()), "PROTOCOL M-3");
    assert_eq!(seen.next().await, Event::Pong(42));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_is_told_once_and_a_client_comes_back_as_itself() -> TestResult {
    let world = World::new()?;
    let (log, mut drops) = log();
    let running = world
        .serve(answering().on_drop(move |conn, why| {
            log.add((conn.trid(), conn.identity(), why));
            async {}
        }))
        .await?;
    let (log, mut states) = crate::common::log();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<Pong>(|_, _| Ok(()))
        .on_state(move |_, state| log.add(state.clone()))
        .connect()
        .await?;
    let mut trids = Vec::new();
    for _ in 0..5 {
        let ClientState::Connected(trid) = states.find(|state| matches!(state, ClientState::Connected(_))).await else {
            return Err("not connected".into());
        };
        assert!(!trids.contains(&trid), "PROTOCOL R-6: every connection has a new trid");
        trids.push(trid);
        client.cut();
        let (gone, identity, why) = drops.next().await;
        assert_eq!((gone, identity), (trid, client.identity()), "PROTOCOL R-6");
        assert!(
            matches!(why.cause(), Cause::Lost),
            "PROTOCOL X-4: a cut is a loss: {why}"
        );
    }
    states.find(|state| matches!(state, ClientState::Connected(_))).await;
    client.close().await;
    let (_, _, why) = drops.next().await;
    assert!(matches!(why.cause(), Cause::WentAway(notice) if notice.code() == Code::Done));
    running.stop().await;
    assert!(drops.rest().await.is_empty(), "each connection was dropped once");
    Ok(())
}

#[tokio::test]
async fn a_client_survives_the_restart_of_its_service() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let port = running.port();
    let (log, mut pongs) = log();
    let client = world
        .client(PingPong, &running, "alice")?
        // A service that restarts says when to come back, within two seconds.
        .reconnect(diset_std::ReconnectPolicy {
            max_asked: core::time::Duration::from_millis(50),
            ..QUICK
        })
        .on_ref::<Pong>(move |_, pong| {
            log.add(pong.id);
            Ok(())
        })
        .connect()
        .await?;
    let before = client.trid();
    running.stop().await;
    until(&client, "lost", |state| !matches!(state, ClientState::Connected(_))).await;
    let again = run(answering().bind(("127.0.0.1", port), world.server.clone()).await?);
    connected(&client).await;
    client.send(&Ping { id: 3 }).await?;
    assert_eq!(pongs.next().await, 3);
    assert!(
        client.trid() > before,
        "PROTOCOL H-7, R-6: {:?} after {before:?}, also after a restart",
        client.trid()
    );
    again.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_close_drains_and_the_last_clone_is_a_close() -> TestResult {
    let world = World::new()?;
    let (log, mut handled) = log();
    let drops = log.clone();
    let running = world
        .serve(
            Service::new(PingPong)
                .on(move |_, ping: Ping| {
                    log.add(ping.id);
                    async {
                        tokio::task::yield_now().await;
                        Ok(())
                    }
                })
                .on_drop(move |_, why| {
                    drops.add(if code(&why) == Some(Code::Done) { -1 } else { -2 });
                    async {}
                }),
        )
        .await;
    let running = running?;
    for end_by_close in [true, false] {
        let client = world.client(PingPong, &running, "alice")?.connect().await?;
        for id in 0..1000 {
            client.send(&Ping { id }).await?;
        }
        let clone = client.clone();
        if end_by_close {
            client.close().await;
            assert!(matches!(clone.state(), ClientState::Stopped(diset_std::Ended::Closed)));
            assert_eq!(clone.send(&Ping { id: 0 }).await, Err(SendError::NotOpen));
        } else {
            let mut state = client.watch();
            drop((client, clone));
            within(
                "the end",
                state.wait_for(|state| matches!(state, ClientState::Stopped(_))),
            )
            .await?;
        }
        for id in 0..1000 {
            assert_eq!(handled.next().await, id, "PROTOCOL G-1: what was sent before is taken");
        }
        assert_eq!(handled.next().await, -1);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_can_be_read_as_a_stream() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let (client, mut events) = world.client(PingPong, &running, "alice")?.events(2)?;
    for round in 0..3 {
        let Some(ClientEvent::Connected(trid)) = within("connected", events.next()).await else {
            return Err("not connected".into());
        };
        assert_eq!(client.trid(), Some(trid));
        for id in 0..100 {
            client.send(&Ping { id }).await?;
        }
        for id in 0..100 {
            let Some(ClientEvent::Message(message)) = within("a message", events.next()).await else {
                return Err("no message".into());
            };
            assert_eq!(message.name(), "Pong");
            assert_eq!(message.decode::<Pong>()?.id, id);
            assert!(message.decode::<News>().is_err());
        }
        if round < 2 {
            client.cut();
            let Some(ClientEvent::Dropped(why)) = within("dropped", events.next()).await else {
                return Err("not dropped".into());
            };
            assert!(matches!(why.cause(), Cause::Lost));
        }
    }
    client.stop();
    assert!(matches!(
        within("dropped", events.next()).await,
        Some(ClientEvent::Dropped(why)) if matches!(why.cause(), Cause::WentAway(_))
    ));
    assert!(within("the end", events.next()).await.is_none());
    Ok(())
}

/// The same service as it was a year ago.
mod older {
    use diset_std::{Schema, define_service};
    use serde::{Deserialize, Serialize};

    pub(crate) use crate::common::{Ping, Shout};

    #[derive(Debug, Serialize, Deserialize, Schema)]
    pub(crate) struct Pong {
        pub(crate) id: i32,
    }

    #[derive(Debug, Serialize, Deserialize, Schema)]
    pub(crate) struct Forgotten {
        pub(crate) id: i64,
    }

    define_service! {
        pub(crate) Older = "Framework/PingPong";
        from_client: [Forgotten, Shout, Ping],
        from_service: [Pong],
    }
}

#[tokio::test]
async fn catalogs_that_differ_share_what_is_the_same() -> TestResult {
    let world = World::new()?;
    for known in [false, true] {
        let (log, mut seen) = log();
        let service = Service::new(PingPong).on(move |conn: Conn<PingPong>, ping: Ping| {
            log.add((ping.id, conn.try_send(&Pong { id: 1 })));
            async { Ok(()) }
        });
        let service = if known {
            service.also_known_as::<older::Older>()
        } else {
            service
        };
        let running = world.serve(service).await?;
        let client = diset_std::Client::builder(older::Older, &running.address)
            .tls(world.tls("alice")?)
            .connect()
            .await?;
        let verdicts = [
            ("Forgotten", Verdict::Unknown),
            ("Shout", Verdict::Same),
            ("Ping", Verdict::Same),
            ("Pong", Verdict::Differs),
        ]
        .map(|(name, verdict)| (name.to_owned(), verdict));
        assert_eq!(client.verdicts(), verdicts, "PROTOCOL S-5");
        assert_eq!(
            client.send(&older::Forgotten { id: 1 }).await,
            Err(SendError::NotAgreed(Verdict::Unknown)),
            "PROTOCOL S-6"
        );
        client.send(&Ping { id: 5 }).await?;
        // The service, too, is told before anything leaves.
        let not_agreed = Err(SendError::NotAgreed(Verdict::Differs));
        assert_eq!(seen.next().await, (5, not_agreed), "PROTOCOL S-4, S-6");
        running.stop().await;
    }
    Ok(())
}
