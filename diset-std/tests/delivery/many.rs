//! Outcomes of more messages than are remembered, and messages that the store never has room for.

use diset_std::{BindError, Client, Outcome, SendError, SessionSettings, WaitError, WhenFull};

use crate::common::*;

#[tokio::test]
async fn a_store_for_no_message_is_refused() -> TestResult {
    let world = World::new()?;
    let none = SessionSettings::default().store(0, 1 << 20);
    assert!(absent(&world, none).is_err());
    let bound = answering().sessions(none).bind("127.0.0.1:0", world.server.clone());
    assert!(matches!(bound.await, Err(BindError::EmptyStore)));
    Ok(())
}

/// A client that is never connected, with such a store.
fn absent(world: &World, settings: SessionSettings) -> Result<Client<PingPong>, Box<dyn core::error::Error>> {
    let client = Client::builder(PingPong, "localhost:1").tls(world.tls("alice")?);
    Ok(client.session(settings).start()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_learn_the_outcome_however_many_there_are() -> TestResult {
    let world = World::new()?;
    let client = absent(&world, SessionSettings::default().store(5000, 1 << 20))?;
    let mut receipts = Vec::new();
    for id in 0..2000 {
        receipts.push(client.send_acked(&Ping { id }).await?);
    }
    let mut waiting: Vec<_> = receipts.iter().map(|receipt| Box::pin(receipt.processed())).collect();
    for one in &mut waiting {
        tokio::select! {
            biased;
            outcome = one => panic!("{outcome:?}"),
            () = core::future::ready(()) => {}
        }
    }
    within("the end", client.close()).await;
    for one in waiting {
        assert_eq!(within("an outcome", one).await?, Outcome::Skipped, "PROTOCOL Q-5");
    }
    let late = receipts.first().ok_or("sent")?;
    assert_eq!(within("an answer", late.processed()).await, Err(WaitError::TooLate));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_outcome_that_is_forgotten_does_not_wait() -> TestResult {
    let world = World::new()?;
    let settings = SessionSettings::default().store(3, 1 << 20);
    let client = absent(&world, settings.when_full(WhenFull::DropOldest))?;
    let first = client.send_acked(&Ping { id: 0 }).await?;
    for id in 1..1100 {
        client.send_acked(&Ping { id }).await?;
    }
    assert_eq!(within("an answer", first.processed()).await, Err(WaitError::TooLate));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_longer_than_the_store_is_refused_at_once_and_costs_nobody() -> TestResult {
    let world = World::new()?;
    for when_full in [WhenFull::DropOldest, WhenFull::Wait(LIMIT * 100), WhenFull::Fail] {
        let client = absent(&world, SessionSettings::default().store(100, 500).when_full(when_full))?;
        for id in 0..20 {
            client.send_acked(&Ping { id }).await?;
        }
        let text = "x".repeat(600);
        let refused = within("refused", client.send_acked(&Shout { text })).await;
        assert!(matches!(refused, Err(SendError::TooLong)), "{refused:?}");
        assert_eq!(client.stored(), 20);
    }
    Ok(())
}
