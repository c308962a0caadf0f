//! What has bounds, and what happens at each: messages and bytes of a session, bytes of a principal and
//! of all, sessions, and how long they are kept (PROTOCOL N-7).

use core::time::Duration;

use diset_std::{
    Client, Identity, NewReason, Outcome, Resumption, SendError, Service, ServiceHandle, SessionId, SessionSettings,
    WaitError, WhenFull,
};

use crate::common::*;

/// The session of a client of this key and identity that was there, and is away now.
async fn away(
    world: &World,
    running: &Running<PingPong>,
    tls: &diset_std::tls::ClientTls,
    identity: u8,
) -> Result<SessionId, Box<dyn core::error::Error>> {
    let client = Client::builder(PingPong, &running.address)
        .tls(tls.clone())
        .identity(Identity::from_bytes([identity; 16]))
        .connect()
        .await?;
    let _ = world;
    let session = conn_of(running, &client).await.session();
    client.close().await;
    within("away", async {
        while running.handle.find_session(session).is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    Ok(session)
}

/// How many messages of so many bytes are taken for an absent session, until there is no room.
async fn fill(handle: &ServiceHandle<PingPong>, session: SessionId, size: usize) -> usize {
    let text = "x".repeat(size);
    for count in 0..10_000 {
        match handle.send_acked(session, &News { text: text.clone() }).await {
            Ok(_) => {}
            Err(SendError::Full(_)) => return count,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("there are no bounds");
}

fn bounded(settings: SessionSettings) -> Service<PingPong> {
    answering().sessions(settings.when_full(WhenFull::Fail))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_bytes_of_a_session_have_bounds() -> TestResult {
    let world = World::new()?;
    let tls = world.tls("alice")?;
    let by_count = SessionSettings::default().store(10, 1 << 20);
    let running = world.serve(bounded(by_count)).await?;
    let session = away(&world, &running, &tls, 1).await?;
    assert_eq!(fill(&running.handle, session, 100).await, 10);
    running.stop().await;
    let by_bytes = SessionSettings::default().store(1000, 5000);
    let running = world.serve(bounded(by_bytes)).await?;
    let session = away(&world, &running, &tls, 1).await?;
    let taken = fill(&running.handle, session, 998).await;
    assert_eq!(taken, 5, "1000 bytes each");
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_principal_and_of_all_have_bounds_and_come_back() -> TestResult {
    let world = World::new()?;
    let (alice, bob) = (world.tls("alice")?, world.tls("bob")?);
    let settings = SessionSettings::default()
        .bytes_per_principal(10 * 1064)
        .in_all(100, 15 * 1064);
    let running = world.serve(bounded(settings)).await?;
    let handle = &running.handle;
    let (one, two) = (
        away(&world, &running, &alice, 1).await?,
        away(&world, &running, &alice, 2).await?,
    );
    let other = away(&world, &running, &bob, 1).await?;
    handle.send_acked(one, &News { text: "x".repeat(998) }).await?;
    assert_eq!(
        fill(handle, two, 998).await,
        9,
        "both sessions of one principal together"
    );
    assert_eq!(fill(handle, one, 998).await, 0);
    assert_eq!(
        fill(handle, other, 998).await,
        5,
        "what is left in all: nobody has to go for another one"
    );
    // What is forgotten is free again.
    assert!(handle.forget_session(two));
    assert_eq!(fill(handle, other, 998).await, 5, "up to the bound of the principal");
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_is_dropped_and_told_when_the_settings_say_so() -> TestResult {
    let world = World::new()?;
    let (log, mut told) = log();
    let settings = SessionSettings::default()
        .store(3, 1 << 16)
        .when_full(WhenFull::DropOldest);
    let client = Client::builder(PingPong, "localhost:1")
        .tls(world.tls("alice")?)
        .session(settings)
        .on_outcome(move |_, number, outcome| log.add((number, outcome)))
        .start()?;
    let mut receipts = Vec::new();
    for id in 1..=5 {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    for number in [1, 2] {
        assert_eq!(told.next().await, (number, Outcome::Skipped), "PROTOCOL Q-5");
    }
    for receipt in &receipts[..2] {
        assert_eq!(
            within("skipped", receipt.processed()).await?,
            Outcome::Skipped,
            "PROTOCOL Q-5"
        );
    }
    assert_eq!(client.stored(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_skipped_leaves_a_gap_that_the_peer_counts_over() -> TestResult {
    let world = World::new()?;
    let (log, mut seen) = log();
    let settings = SessionSettings::default()
        .store(3, 1 << 16)
        .when_full(WhenFull::DropOldest);
    let running = world.serve(answering().sessions(settings)).await?;
    let tls = world.tls("alice")?;
    let session = away(&world, &running, &tls, 1).await?;
    let mut receipts = Vec::new();
    for id in 1..=5 {
        receipts.push(running.handle.send_acked(session, &Pong { id }).await?);
    }
    let client = Client::builder(PingPong, &running.address)
        .tls(tls)
        .identity(session.identity)
        .on(move |client: Client<PingPong>, pong: Pong| {
            log.add((pong.id, client.received().map(|received| received.number)));
            async { Ok(()) }
        })
        .connect()
        .await?;
    for id in 3..=5 {
        assert_eq!(seen.next().await.0, id, "PROTOCOL Q-3");
    }
    let skipped = Outcome::Skipped;
    for (receipt, expected) in receipts
        .iter()
        .zip([skipped, skipped, Outcome::Ok, Outcome::Ok, Outcome::Ok])
    {
        assert_eq!(
            within("an outcome", receipt.processed()).await?,
            expected,
            "PROTOCOL Q-3: {receipt:?}"
        );
    }
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_too_many_is_served_and_not_kept() -> TestResult {
    let world = World::new()?;
    let settings = SessionSettings::default().sessions_per_principal(1).in_all(2, 1 << 20);
    let running = world.serve(answering().sessions(settings)).await?;
    let (alice, bob, carol) = (world.tls("alice")?, world.tls("bob")?, world.tls("carol")?);
    away(&world, &running, &alice, 1).await?;
    let no_room = Some(Resumption::New { why: NewReason::NoRoom });
    for (tls, expected) in [
        (&alice, no_room),
        (&bob, Some(Resumption::New { why: NewReason::First })),
        // All places are taken, by others; none of them has to go.
        (&carol, no_room),
    ] {
        let client = Client::builder(PingPong, &running.address)
            .tls(tls.clone())
            .on(|_, _: Pong| async { Ok(()) })
            .connect()
            .await?;
        assert_eq!(client.resumption(), expected, "PROTOCOL N-3, N-7");
        let receipt = client.send_acked(&Ping { id: 1 }).await?;
        assert_eq!(
            within("processed", receipt.processed()).await?,
            Outcome::Ok,
            "it is served all the same"
        );
        let conn = conn_of(&running, &client).await;
        let receipt = conn.send_acked(&News { text: String::new() }).await?;
        // It has no handler for it, so the connection ends, and with it this session.
        let ended = within("an end", receipt.processed()).await;
        assert!(
            matches!(ended, Ok(Outcome::Failed(_) | Outcome::Unknown) | Err(WaitError::Over)),
            "{ended:?}"
        );
        client.close().await;
    }
    assert_eq!(running.handle.sessions().0, 2);
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_forgotten_after_its_time_and_its_messages_have_their_outcome() -> TestResult {
    let world = World::new()?;
    let (log, mut told) = log();
    let settings = SessionSettings::default().retention(Duration::from_millis(300));
    let service = answering()
        .sessions(settings)
        .on_outcome(move |session: SessionId, number, outcome| log.add((session, number, outcome)));
    let running = world.serve(service).await?;
    let tls = world.tls("alice")?;
    let session = away(&world, &running, &tls, 1).await?;
    let receipt = running.handle.send_acked(session, &Pong { id: 1 }).await?;
    assert_eq!(told.next().await, (session, 1, Outcome::Skipped), "PROTOCOL N-7");
    assert_eq!(receipt.processed().await?, Outcome::Skipped);
    assert_eq!(running.handle.sessions(), (0, 0), "PROTOCOL N-7");
    // One that is connected is never forgotten.
    let client = Client::builder(PingPong, &running.address).tls(tls).connect().await?;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(running.handle.sessions(), (1, 0), "PROTOCOL N-7");
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_lets_all_through_in_the_end() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering().on(|_, _: Ping| async { Ok(()) })).await?;
    let few = SessionSettings::default().store(2, 1 << 16);
    let client = world
        .client(PingPong, &running, "alice")?
        .session(few)
        .connect()
        .await?;
    let mut last = None;
    for id in 0..500 {
        last = Some(within("room", client.send_acked(&Ping { id })).await?);
        assert!(client.stored() <= 2);
    }
    assert_eq!(within("the last", last.ok_or("sent")?.processed()).await?, Outcome::Ok);
    client.close().await;
    running.stop().await;
    Ok(())
}
