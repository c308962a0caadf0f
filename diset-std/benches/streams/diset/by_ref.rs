//! Borrowed messages, sent in batches.

use std::sync::Arc;

use diset_std::{Client, Service, define_service};
use tokio::sync::Notify;

use super::{InFlight, Tally};
use crate::common::Outcome;
use crate::job::{Job, Note};
use crate::measure::Meter;

define_service! {
    Streams = "Bench/Streams";
    both: [Note<'a>],
}

/// Messages that a sender has at hand together.
const BATCH: usize = 64;

pub(crate) async fn serve(job: &Job, meter: &mut Meter) -> Outcome<()> {
    let tally = Tally::new(job.plan);
    let answers = job.plan.workload.in_flight.is_some();
    let service = Service::new(Streams).on_ref::<Note<'_>>(move |conn, note| {
        if answers {
            conn.try_send(&note)?;
        }
        if tally.count(note.id, note.name, note.value)? && !answers {
            conn.try_send(&Note::number(0, ""))?;
        }
        Ok(())
    });
    tally.serve(service, job, meter).await
}

pub(crate) async fn drive(job: &Job, meter: &mut Meter) -> Outcome<()> {
    let name = job.plan.workload.name();
    match job.plan.workload.in_flight {
        Some(in_flight) => request(job, meter, in_flight, &name).await,
        None => stream(job, meter, &name).await,
    }
}

async fn stream(job: &Job, meter: &mut Meter, name: &str) -> Outcome<()> {
    let arrived = Arc::new(Notify::new());
    let confirmed = Arc::clone(&arrived);
    let client = super::client(Streams, job)?
        .on_ref::<Note<'_>>(move |_, _| {
            confirmed.notify_one();
            Ok(())
        })
        .connect()
        .await?;
    send(&client, job.plan.warm_up, name).await?;
    arrived.notified().await;
    meter.start()?;
    send(&client, job.plan.messages, name).await?;
    arrived.notified().await;
    meter.stop()?;
    client.close().await;
    Ok(())
}

async fn send(client: &Client<Streams>, messages: u64, name: &str) -> Outcome<()> {
    let mut batch = Vec::with_capacity(BATCH);
    for n in 0..messages {
        batch.push(Note::number(n, name));
        if batch.len() == BATCH {
            client.send_all(&mut batch.as_slice()).await?;
            batch.clear();
        }
    }
    Ok(client.send_all(&mut batch.as_slice()).await?)
}

async fn request(job: &Job, meter: &mut Meter, in_flight: usize, name: &str) -> Outcome<()> {
    let phase = Arc::new(InFlight::default());
    let going = Arc::clone(&phase);
    let client = super::client(Streams, job)?
        .on_ref::<Note<'_>>(move |client, note| {
            if let Some(n) = going.next() {
                client.try_send(&Note::number(n, note.name))?;
            }
            going.answered();
            Ok(())
        })
        .connect()
        .await?;
    for (messages, measured) in [(job.plan.warm_up, false), (job.plan.messages, true)] {
        if measured {
            meter.start()?;
        }
        phase.set(messages);
        for n in (0..in_flight).map_while(|_| phase.next()) {
            client.send(&Note::number(n, name)).await?;
        }
        phase.done.notified().await;
    }
    meter.stop()?;
    client.close().await;
    Ok(())
}
