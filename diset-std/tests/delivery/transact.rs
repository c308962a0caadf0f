//! Handlers that commit with the file of the service, in sessions that end with their connection (PROTOCOL N-5, N-7): of
//! a copy of a client, and where there is no room for more.

use std::path::Path;

use diset_std::store::redb::{self, ReadableTable as _, TableDefinition};
use diset_std::store::{TransactError, Transaction};
use diset_std::{Client, Conn, Counter, Identity, NewReason, Outcome, Resumption, Service, SessionSettings};

use super::hand::{Hand, session};
use crate::common::*;

/// How often each message took effect.
const EFFECTS: TableDefinition<'_, i64, u64> = TableDefinition::new("effects");

fn once_more(transaction: &Transaction<'_>, id: i64) -> Result<(), redb::Error> {
    let mut effects = transaction.open_table(EFFECTS)?;
    let before = effects.get(id)?.map_or(0, |count| count.value());
    effects.insert(id, before + 1)?;
    Ok(())
}

/// A service as the documentation has it, which also tries to commit again.
fn committing(file: &Path, settings: SessionSettings, again: Log<bool>) -> Service<PingPong> {
    Service::new(PingPong)
        .durable(file)
        .sessions(settings)
        .on(move |conn: Conn<PingPong>, ping: Ping| {
            let again = again.clone();
            async move {
                let failed = conn.transact(|_| Err::<(), _>("no")).await;
                let is_kept_back = matches!(failed, Err(TransactError::Handler("no")));
                conn.transact(move |transaction| once_more(transaction, ping.id))
                    .await?;
                let second = conn.transact(move |transaction| once_more(transaction, ping.id)).await;
                again.add(is_kept_back && matches!(second, Err(TransactError::NotThere)));
                Ok(())
            }
        })
}

fn effects(running: &Running<PingPong>) -> Result<Vec<(i64, u64)>, Box<dyn core::error::Error>> {
    let store = running.handle.store().ok_or("a store")?;
    let table = store.read()?.open_table(EFFECTS)?;
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (id, count) = entry?;
        all.push((id.value(), count.value()));
    }
    Ok(all)
}

fn no_failures(running: &Running<PingPong>) {
    use diset_std::Code;
    let counters = running.handle.counters();
    assert_eq!(counters.get(Counter::EndedByUs(Code::HandlerFailed)), 0);
}

/// The same service again, when the one before has let go of its file.
async fn again_on(world: &World, file: &Path, settings: SessionSettings, log: Log<bool>) -> Running<PingPong> {
    let served = async {
        loop {
            if let Ok(running) = world.serve(committing(file, settings, log.clone())).await {
                return running;
            }
            tokio::task::yield_now().await;
        }
    };
    within("served again", served).await
}

/// Each message is handled, and costs no connection; before and after a restart of the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_client_is_served() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.redb");
    let (log, mut again) = log();
    let mut running = world
        .serve(committing(&file, SessionSettings::default(), log.clone()))
        .await?;
    let certificate = world.ca.client("device")?;
    let mut device = Hand::open(&world, &running.address, &certificate, session()).await?;
    device.send(1)?;
    device.flush().await?;
    device.until(|hand| hand.conn.delivered().processed == 1).await?;
    let mut image = device.leave();
    let mut kept = image.clone();
    let mut expected = vec![(1, 1)];
    for round in 0..2 {
        // The rightful one goes on, so what the copy shows is stale.
        device = Hand::open(&world, &running.address, &certificate, kept).await?;
        assert!(
            matches!(device.resumption(), Some(Resumption::Resumed { .. })),
            "PROTOCOL N-5"
        );
        device.send(10 + round)?;
        device.flush().await?;
        let all = 2 + u64::try_from(round)?;
        device.until(|hand| hand.conn.delivered().processed == all).await?;
        let mut copy = Hand::open(&world, &running.address, &certificate, image).await?;
        let why = NewReason::StateConflict;
        assert_eq!(copy.resumption(), Some(Resumption::New { why }), "PROTOCOL N-5");
        let mut last = 0;
        for id in 0..5 {
            last = copy.send(100 * (round + 1) + id)?;
        }
        copy.flush().await?;
        copy.until(|hand| hand.conn.delivered().processed == last).await?;
        assert!(copy.conn.take_outcome().is_none(), "PROTOCOL Q-5: each is Ok");
        expected.push((10 + round, 1));
        expected.extend((0..5).map(|id| (100 * (round + 1) + id, 1)));
        expected.sort_unstable();
        assert_eq!(effects(&running)?, expected, "each took effect once");
        no_failures(&running);
        (kept, image) = (device.leave(), copy.leave());
        drop((device, copy));
        running.stop().await;
        running = again_on(&world, &file, SessionSettings::default(), log.clone()).await;
        device = Hand::open(&world, &running.address, &certificate, kept).await?;
        kept = device.leave();
    }
    drop(device);
    while let Some(right) = again.now() {
        assert!(right, "a second commit is refused, and one that failed is none");
    }
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_room_is_served() -> TestResult {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.redb");
    let (log, mut again) = log();
    let one = || SessionSettings::default().sessions_per_principal(1);
    let mut running = world.serve(committing(&file, one(), log.clone())).await?;
    // One principal, several identities.
    let tls = world.tls("alice")?;
    let client = |running: &Running<PingPong>, identity: u8| {
        let builder = Client::builder(PingPong, &running.address)
            .tls(tls.clone())
            .reconnect(QUICK);
        builder.identity(Identity::from_bytes([identity; 16])).connect()
    };
    let first = client(&running, 1).await?;
    let receipt = first.send_acked(&Ping { id: 1 }).await?;
    assert_eq!(within("handled", receipt.processed()).await?, Outcome::Ok);
    first.close().await;
    let mut expected = vec![(1, 1)];
    for round in 0..2 {
        let other = client(&running, 2).await?;
        let why = NewReason::NoRoom;
        assert_eq!(other.resumption(), Some(Resumption::New { why }), "PROTOCOL N-7");
        let mut receipts = Vec::new();
        for id in 0..5 {
            receipts.push(
                other
                    .send_acked(&Ping {
                        id: 100 * (round + 1) + id,
                    })
                    .await?,
            );
        }
        for receipt in receipts {
            assert_eq!(
                within("handled", receipt.processed()).await?,
                Outcome::Ok,
                "PROTOCOL Q-5"
            );
        }
        expected.extend((0..5).map(|id| (100 * (round + 1) + id, 1)));
        assert_eq!(effects(&running)?, expected, "each took effect once");
        no_failures(&running);
        other.close().await;
        running.stop().await;
        running = again_on(&world, &file, one(), log.clone()).await;
    }
    while let Some(right) = again.now() {
        assert!(right, "a second commit is refused, and one that failed is none");
    }
    running.stop().await;
    Ok(())
}
