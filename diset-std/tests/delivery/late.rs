//! A proposal that was held back until its client had gone on with a newer transport takes nothing from
//! that one (PROTOCOL N-9).

use diset_std::{Cause, Code, Outcome, Resumption, SessionSettings};

use super::hand::{Hand, session};
use crate::common::*;

/// It proposes now, and is refused, with a time to come back.
async fn is_refused(late: &mut Hand) -> TestResult {
    late.flush().await?;
    let end = late.until(|_| false).await.expect_err("it is late");
    let Some(Cause::Refused(notice)) = end.downcast_ref() else {
        return Err(end);
    };
    assert_eq!(notice.code(), Code::Displaced, "PROTOCOL N-9");
    assert!(notice.retry().is_some(), "it may be a copy, which comes back");
    assert_eq!(late.conn.trid(), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_proposal_takes_no_session() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering().sessions(SessionSettings::default())).await?;
    let certificate = world.ca.client("device")?;
    let mut late = Hand::dial(&world, &running.address, &certificate, Some(session())).await?;
    // The client gives it up; what it has written is still under way.
    let proposal = late.conn.transmit().to_vec();
    let taken = late.leave();
    let mut newer = Hand::open(&world, &running.address, &certificate, taken).await?;
    assert!(matches!(newer.resumption(), Some(Resumption::New { .. })));
    assert_eq!(late.conn.transmit(), proposal);
    is_refused(&mut late).await?;
    let number = newer.send(1)?;
    newer.flush().await?;
    newer.until(|hand| hand.conn.delivered().processed >= number).await?;
    assert_eq!(
        newer.outcome(),
        None::<(u64, Outcome)>,
        "it is dealt with: nobody was displaced"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_proposal_takes_no_session_that_is_away() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering().sessions(SessionSettings::default())).await?;
    let certificate = world.ca.client("device")?;
    let mut late = Hand::dial(&world, &running.address, &certificate, Some(session())).await?;
    let mut newer = Hand::open(&world, &running.address, &certificate, late.leave()).await?;
    newer.send(1)?;
    newer.flush().await?;
    newer.until(|hand| hand.conn.delivered().processed >= 1).await?;
    let taken = newer.leave();
    drop(newer);
    within("the end of the newer one", async {
        while !running.handle.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    is_refused(&mut late).await?;
    let last = Hand::open(&world, &running.address, &certificate, taken).await?;
    let resumed = Some(Resumption::Resumed { replayed: 0 });
    assert_eq!(last.resumption(), resumed, "PROTOCOL N-9: its session is as it was");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_proposal_of_a_client_without_sessions_displaces_nobody() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let certificate = world.ca.client("device")?;
    let mut late = Hand::dial(&world, &running.address, &certificate, None).await?;
    let newer = Hand::open_old(&world, &running.address, &certificate).await?;
    is_refused(&mut late).await?;
    let open: Vec<_> = running.handle.connections().iter().map(|conn| conn.trid()).collect();
    assert_eq!(open, [newer.conn.trid().expect("it is open")], "PROTOCOL N-9");
    Ok(())
}
