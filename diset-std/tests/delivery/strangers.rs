//! Who comes with a token that is not its own, or with a copy of a session (PROTOCOL N-4, N-5).

use core::time::Duration;

use diset_std::{NewReason, Resumption, Service, SessionSettings};

use super::hand::{Hand, session};
use crate::common::*;

const CONFLICT: Option<Resumption> = Some(Resumption::New {
    why: NewReason::StateConflict,
});

fn listening() -> (Service<PingPong>, Seen<i64>) {
    let (log, seen) = log();
    let service = Service::new(PingPong).on(move |_, ping: Ping| {
        log.add(ping.id);
        async { Ok(()) }
    });
    (service, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_principal_with_a_stolen_token_gets_nothing() -> TestResult {
    let world = World::new()?;
    let (service, mut seen) = listening();
    let running = world.serve(service).await?;
    let (rightful, thief) = (world.ca.client("rightful")?, world.ca.client("thief")?);
    let mut own = Hand::open(&world, &running.address, &rightful, session()).await?;
    own.send(1)?;
    own.flush().await?;
    own.until(|hand| hand.conn.delivered().processed == 1).await?;
    let id = running.handle.connections()[0].session();
    let kept = own.leave();
    drop(own);
    within("away", async {
        while running.handle.sessions() != (1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // A letter waits for the rightful one.
    running.handle.send_acked(id, &Pong { id: 99 }).await?;
    // The same token, counters and identity; another key.
    let mut stolen = Hand::open(&world, &running.address, &thief, kept.clone()).await?;
    let why = NewReason::Forgotten;
    assert_eq!(stolen.resumption(), Some(Resumption::New { why }), "PROTOCOL N-1, D-1");
    stolen.send(2)?;
    stolen.flush().await?;
    stolen.until(|hand| hand.conn.delivered().processed >= 1).await?;
    assert!(stolen.pongs.is_empty(), "PROTOCOL N-1: nothing of another principal");
    let mut own = Hand::open(&world, &running.address, &rightful, kept).await?;
    assert!(
        matches!(own.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-5"
    );
    own.until(|hand| hand.pongs == [99]).await?;
    assert_eq!((seen.next().await, seen.next().await), (1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_device_gets_a_conflict_and_the_session_goes_on() -> TestResult {
    let world = World::new()?;
    let (service, mut seen) = listening();
    let running = world.serve(service).await?;
    let certificate = world.ca.client("device")?;
    let mut device = Hand::open(&world, &running.address, &certificate, session()).await?;
    device.send(1)?;
    device.flush().await?;
    device.until(|hand| hand.conn.delivered().processed == 1).await?;
    // Its image is copied now. The device goes on, reconnects, and is told of more.
    let kept = device.leave();
    let image = kept.clone();
    let mut device = Hand::open(&world, &running.address, &certificate, kept).await?;
    assert_eq!(device.resumption(), Some(Resumption::Resumed { replayed: 0 }));
    device.send(2)?;
    device.flush().await?;
    device.until(|hand| hand.conn.delivered().processed == 2).await?;
    // The copy shows a token that is stale by now.
    for round in 0..2 {
        let mut copy = Hand::open(&world, &running.address, &certificate, image.clone()).await?;
        assert_eq!(copy.resumption(), CONFLICT, "PROTOCOL N-5");
        copy.send(100 + round)?;
        copy.flush().await?;
        copy.until(|hand| hand.conn.delivered().processed > 0).await?;
        // It keeps its token, so that it does not take the place of the rightful session next time.
        let again = copy.leave();
        let copy = Hand::open(&world, &running.address, &certificate, again).await?;
        assert_eq!(copy.resumption(), CONFLICT, "PROTOCOL N-5");
    }
    assert_eq!(running.handle.sessions().0, 1, "those in conflict are not kept");
    let kept = device.leave();
    let device = Hand::open(&world, &running.address, &certificate, kept).await?;
    assert_eq!(
        device.resumption(),
        Some(Resumption::Resumed { replayed: 0 }),
        "PROTOCOL N-5"
    );
    assert_eq!([seen.next().await, seen.next().await, seen.next().await], [1, 2, 100]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_that_went_back_are_a_conflict_also_with_a_valid_token() -> TestResult {
    let world = World::new()?;
    let (service, _seen) = listening();
    let running = world.serve(service).await?;
    let certificate = world.ca.client("device")?;
    let device = Hand::open(&world, &running.address, &certificate, session()).await?;
    let mut device = device;
    // The token is valid for as long as nothing newer was shown; the counters of the image are old.
    let image = device.conn.session().cloned().ok_or("a session")?;
    for id in 1..=3 {
        device.send(id)?;
    }
    device.flush().await?;
    device.until(|hand| hand.conn.delivered().processed == 3).await?;
    drop(device);
    let back = Hand::open(&world, &running.address, &certificate, Box::new(image)).await?;
    assert_eq!(
        back.resumption(),
        CONFLICT,
        "PROTOCOL N-5: it claims to have sent less than has come"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_does_not_keep_the_session_from_being_forgotten() -> TestResult {
    let world = World::new()?;
    let (service, _seen) = listening();
    let settings = SessionSettings::default().retention(Duration::from_millis(400));
    let running = world.serve(service.sessions(settings)).await?;
    let certificate = world.ca.client("device")?;
    let mut device = Hand::open(&world, &running.address, &certificate, session()).await?;
    device.send(1)?;
    device.flush().await?;
    device.until(|hand| hand.conn.delivered().processed == 1).await?;
    let kept = device.leave();
    let image = kept.clone();
    let mut device = Hand::open(&world, &running.address, &certificate, kept).await?;
    device.send(2)?;
    device.flush().await?;
    device.until(|hand| hand.conn.delivered().processed == 2).await?;
    drop(device);
    // It comes while the session is away, and stays.
    let copy = Hand::open(&world, &running.address, &certificate, image).await?;
    assert_eq!(copy.resumption(), CONFLICT, "PROTOCOL N-5");
    within("it is forgotten", async {
        while running.handle.sessions() != (0, 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(copy);
    Ok(())
}
