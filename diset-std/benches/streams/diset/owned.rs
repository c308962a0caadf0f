//! Messages to keep, in asynchronous handlers, sent one by one.

use std::sync::Arc;

use diset_std::{Client, Schema, Service, define_service};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{InFlight, Tally};
use crate::common::Outcome;
use crate::job::{self, Job};
use crate::measure::Meter;

/// On the wire the same message as that of all contenders.
#[derive(Serialize, Deserialize, Schema)]
struct Note {
    id: i64,
    name: String,
    value: f64,
}

define_service! {
    Streams = "Bench/Streams";
    both: [Note],
}

impl Note {
    fn number(n: u64, name: &str) -> Self {
        let job::Note { id, name, value } = job::Note::number(n, name);
        Self {
            id,
            name: name.to_owned(),
            value,
        }
    }

    fn renumber(&mut self, n: u64) {
        let job::Note { id, value, .. } = job::Note::number(n, "");
        (self.id, self.value) = (id, value);
    }
}

pub(crate) async fn serve(job: &Job, meter: &mut Meter) -> Outcome<()> {
    let tally = Tally::new(job.plan);
    let answers = job.plan.workload.in_flight.is_some();
    let service = Service::new(Streams).on(move |conn, note: Note| async move {
        if answers {
            conn.send(&note).await?;
        }
        if tally.count(note.id, &note.name, note.value)? && !answers {
            conn.send(&Note::number(0, "")).await?;
        }
        Ok(())
    });
    tally.serve(service, job, meter).await
}

pub(crate) async fn drive(job: &Job, meter: &mut Meter) -> Outcome<()> {
    let note = Note::number(0, &job.plan.workload.name());
    match job.plan.workload.in_flight {
        Some(in_flight) => request(job, meter, in_flight, note).await,
        None => stream(job, meter, note).await,
    }
}

async fn stream(job: &Job, meter: &mut Meter, mut note: Note) -> Outcome<()> {
    let arrived = Arc::new(Notify::new());
    let confirmed = Arc::clone(&arrived);
    let client = super::client(Streams, job)?
        .on(move |_, _: Note| {
            confirmed.notify_one();
            core::future::ready(Ok(()))
        })
        .connect()
        .await?;
    send(&client, job.plan.warm_up, &mut note).await?;
    arrived.notified().await;
    meter.start()?;
    send(&client, job.plan.messages, &mut note).await?;
    arrived.notified().await;
    meter.stop()?;
    client.close().await;
    Ok(())
}

async fn send(client: &Client<Streams>, messages: u64, note: &mut Note) -> Outcome<()> {
    for n in 0..messages {
        note.renumber(n);
        client.send(note).await?;
    }
    Ok(())
}

async fn request(job: &Job, meter: &mut Meter, in_flight: usize, mut note: Note) -> Outcome<()> {
    let phase = Arc::new(InFlight::default());
    let going = Arc::clone(&phase);
    let client = super::client(Streams, job)?
        .on(move |client, mut note: Note| {
            let going = Arc::clone(&going);
            async move {
                if let Some(n) = going.next() {
                    note.renumber(n);
                    client.send(&note).await?;
                }
                going.answered();
                Ok(())
            }
        })
        .connect()
        .await?;
    for (messages, measured) in [(job.plan.warm_up, false), (job.plan.messages, true)] {
        if measured {
            meter.start()?;
        }
        phase.set(messages);
        for n in (0..in_flight).map_while(|_| phase.next()) {
            note.renumber(n);
            client.send(&note).await?;
        }
        phase.done.notified().await;
    }
    meter.stop()?;
    client.close().await;
    Ok(())
}
