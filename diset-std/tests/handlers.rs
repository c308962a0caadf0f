//! Handlers and callbacks: their forms, and what happens when one is missing, fails or panics.

use diset_std::{Cause, ClientState, Code, Conn, Failure, Service};

use crate::common::*;

#[tokio::test]
async fn handlers_come_in_three_forms() -> TestResult {
    let world = World::new()?;
    let (log, mut seen) = log();
    let (any, noted) = (log.clone(), log.clone());
    let running = world
        .serve(
            Service::new(PingPong)
                .on(move |_, ping: Ping| {
                    log.add(format!("ping {}", ping.id));
                    async { Ok(()) }
                })
                .on_ref::<Note<'_>>(move |conn, note| {
                    noted.add(format!("note {}", note.text));
                    conn.try_send(&Note { text: note.text })?;
                    Ok(())
                })
                .on_any(move |_, message| {
                    any.add(format!("any {} of {} bytes", message.name(), message.bytes().len()));
                    async { Ok(()) }
                }),
        )
        .await?;
    let (log, mut echoed) = crate::common::log();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<Note<'_>>(move |_, note| {
            log.add(note.text.to_owned());
            Ok(())
        })
        .connect()
        .await?;
    client.send(&Shout { text: "hey".into() }).await?;
    client.send(&Note { text: "hm" }).await?;
    client.send(&Ping { id: 1 }).await?;
    assert_eq!(seen.next().await, "any Shout of 4 bytes");
    assert_eq!(seen.next().await, "note hm");
    assert_eq!(seen.next().await, "ping 1");
    assert_eq!(echoed.next().await, "hm");
    Ok(())
}

#[tokio::test]
async fn a_message_without_handler_is_an_error_to_both() -> TestResult {
    let world = World::new()?;
    let (log, mut drops) = log();
    let running = world
        .serve(answering().on_drop(move |_, why| {
            log.add(why);
            async {}
        }))
        .await?;
    let (log, mut client_drops) = crate::common::log();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_drop(move |_, why| {
            log.add(why);
            async {}
        })
        .connect()
        .await?;
    client.send(&Shout { text: "hey".into() }).await?;
    let (ours, theirs) = (drops.next().await, client_drops.next().await);
    let (Cause::OurError(ours), Cause::PeerError(theirs)) = (ours.cause(), theirs.cause()) else {
        return Err(format!("{ours}, {theirs}").into());
    };
    assert_eq!(ours.code(), Code::NoHandler, "PROTOCOL M-4");
    assert_eq!(ours, theirs, "PROTOCOL E-3");
    assert_eq!((theirs.message(), theirs.text()), (Some(1), "Shout"));

    // The other way round, on the next connection.
    let trid = within("found", async {
        loop {
            if let Some(conn) = running.handle.connections().first() {
                return conn.trid();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.handle.send(trid, &Pong { id: 1 }).await?;
    let (theirs, ours) = (drops.next().await, client_drops.next().await);
    assert!(matches!(ours.cause(), Cause::OurError(notice) if notice.code() == Code::NoHandler));
    assert!(matches!(theirs.cause(), Cause::PeerError(notice) if notice.code() == Code::NoHandler));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_or_panics_ends_its_own_connection_only() -> TestResult {
    let world = World::new()?;
    let running = world
        .serve(answering().on(|_, shout: Shout| async move {
            tokio::task::yield_now().await;
            match &*shout.text {
                "tell" => Err(Failure::told("too loud")),
                "fail" => Err(Failure::new("a secret")),
                _ => panic!("{}", shout.text),
            }
        }))
        .await?;
    let (log, mut pongs) = log();
    let quiet = world
        .client(PingPong, &running, "bob")?
        .on_ref::<Pong>(move |_, pong| {
            log.add(pong.id);
            Ok(())
        })
        .connect()
        .await?;
    let trid = quiet.trid();
    let (log, mut drops) = crate::common::log();
    let (states, mut connections) = crate::common::log();
    let loud = world
        .client(PingPong, &running, "alice")?
        .on_state(move |_, state| {
            if let ClientState::Connected(trid) = state {
                states.add(*trid);
            }
        })
        .on_drop(move |_, why| {
            log.add(why);
            async {}
        })
        .connect()
        .await?;
    for (id, (what, told)) in (0..).zip([("tell", "too loud"), ("fail", ""), ("panic", "")]) {
        connections.next().await;
        loud.send(&Shout { text: what.into() }).await?;
        let why = drops.next().await;
        let Cause::PeerError(notice) = why.cause() else {
            return Err(format!("{what}: {why}").into());
        };
        assert_eq!(
            (notice.code(), notice.text(), notice.message()),
            (Code::HandlerFailed, told, Some(1)),
            "PROTOCOL M-4"
        );
        quiet.send(&Ping { id }).await?;
        assert_eq!(pongs.next().await, id);
    }
    assert_eq!(quiet.trid(), trid, "the neighbour kept its connection");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_that_panic_do_no_harm() -> TestResult {
    let world = World::new()?;
    let (calls, ends_seen, opened) = (Count::default(), Count::default(), Count::default());
    let (log, mut drops) = log();
    let running = world
        .serve(
            answering()
                .on_connect(move |_| {
                    let call = calls.add();
                    assert!(call != 0, "as it is called");
                    async move {
                        assert!(call != 1, "as it runs");
                        Ok(())
                    }
                })
                .on_drop(move |conn: Conn<PingPong>, _| {
                    log.add(conn.trid());
                    assert!(ends_seen.add() != 0, "as it is called");
                    async { panic!("as it runs") }
                }),
        )
        .await?;
    let (log, mut ends) = crate::common::log();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<Pong>(|_, _| Ok(()))
        .on_connected(move |_| {
            assert!(opened.add() != 0, "as it is called");
            async { Ok(()) }
        })
        .on_state(move |_, state| {
            if let ClientState::Waiting { why, .. } = state {
                log.add(why.clone());
            }
            panic!("a state");
        })
        .reconnect(diset_std::ReconnectPolicy {
            max_asked: core::time::Duration::from_millis(50),
            ..QUICK
        })
        .start()?;
    for _ in 0..2 {
        let why = ends.next().await;
        assert_eq!(
            code(dropped(&why)),
            Some(Code::Internal),
            "not permanent (PROTOCOL R-4)"
        );
    }
    // The callback of the client panics at the first connection, then there is peace.
    let first = drops.next().await;
    until(
        &client,
        "connected again",
        |state| matches!(state, ClientState::Connected(trid) if *trid != first),
    )
    .await;
    client.send(&Ping { id: 1 }).await?;
    client.close().await;
    drops.next().await;
    running.stop().await;
    Ok(())
}
