//! Streams of messages over mutual TLS 1.3 on loopback, measured beside the floor: the same work done by hand.
//!
//! Server and client are separate processes (this program, started again), one connection between them. What counts
//! is the CPU time of both, user and system, per message: it says how many connections a machine carries. Runs of the
//! contenders alternate, medians are reported. Absolute figures belong to one machine; the ratio to the floor travels.

#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod diset;
mod floor;
mod job;
mod measure;

use core::time::Duration;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::common::{CHILD, Outcome, Pair, receive_job};
use crate::job::{Job, Plan, Workload};
use crate::measure::{Meter, Run, count_bytes, run, say_spent};

const HELP: &str = "\
Streams of messages over mutual TLS 1.3, CPU per message of each contender against the floor.

cargo bench -p diset-std --bench streams -- [OPTIONS] [TEXT]...

TEXT          only workloads whose name contains one of the texts
--rounds N    runs of each contender and workload (default 5)
--seconds S   length of one run of the floor (default 0.5)
--test        one short run of each, figures mean nothing";

/// Who carries the messages. To add one: a variant, its label, and its two functions in a file beside `floor.rs`.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Contender {
    /// See `floor.rs`.
    Floor,
    /// See `diset/by_ref.rs`.
    DisetRef,
    /// See `diset/owned.rs`.
    DisetOwned,
}

impl Contender {
    /// The floor comes first: it calibrates, and the others are compared with it.
    const ALL: &[Self] = &[Self::Floor, Self::DisetRef, Self::DisetOwned];

    fn label(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::DisetRef => "diset ref",
            Self::DisetOwned => "diset own",
        }
    }

    /// The server process: binds a free port of 127.0.0.1, says so with `say_listening`, serves one connection until
    /// its client closes, and starts and stops the meter around the messages after the warm-up. Of a one-way stream
    /// it confirms to the client that the warm-up and that the last message has arrived.
    async fn serve(self, job: &Job, meter: &mut Meter) -> Outcome<()> {
        match self {
            Self::Floor => floor::serve(job, meter).await,
            Self::DisetRef => diset::by_ref::serve(job, meter).await,
            Self::DisetOwned => diset::owned::serve(job, meter).await,
        }
    }

    /// The client process: connects to `job.connect`, sends the warm-up, then the measured messages between start and
    /// stop of the meter; the last one is done when the server has confirmed or answered it.
    async fn drive(self, job: &Job, meter: &mut Meter) -> Outcome<()> {
        match self {
            Self::Floor => floor::drive(job, meter).await,
            Self::DisetRef => diset::by_ref::drive(job, meter).await,
            Self::DisetOwned => diset::owned::drive(job, meter).await,
        }
    }
}

fn main() -> Outcome<()> {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return child();
    }
    match Options::parse(std::env::args().skip(1))? {
        Some(options) => parent(&options),
        None => {
            println!("{HELP}");
            Ok(())
        }
    }
}

/// Serves or drives as the parent says, on one thread.
fn child() -> Outcome<()> {
    let job: Job = receive_job()?;
    let mut meter = Meter::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match job.connect {
            None => job.plan.contender.serve(&job, &mut meter).await,
            Some(_) => job.plan.contender.drive(&job, &mut meter).await,
        }
    })?;
    say_spent(meter.finish()?);
    Ok(())
}

struct Options {
    rounds: usize,
    length: Duration,
    /// Workloads by parts of their names; none means all.
    only: Vec<String>,
    smoke: bool,
}

impl Options {
    /// `None` if help is wanted.
    fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Option<Self>> {
        let mut options = Self {
            rounds: 5,
            length: Duration::from_millis(500),
            only: Vec::new(),
            smoke: false,
        };
        let mut bench = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.length = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--test" => options.smoke = true,
                // `cargo bench` says so; `cargo test --benches` does not.
                "--bench" => bench = true,
                other if other.starts_with('-') => return Err(format!("unknown option {other}, see --help").into()),
                _ => options.only.push(arg),
            }
        }
        options.smoke |= !bench;
        Ok(Some(options))
    }

    fn wants(&self, workload: Workload) -> bool {
        let label = workload.label();
        self.only.is_empty() || self.only.iter().any(|text| label.contains(text))
    }
}

fn parent(options: &Options) -> Outcome<()> {
    let began = Instant::now();
    let tls = Pair::new()?;
    for workload in Workload::ALL.into_iter().filter(|workload| options.wants(*workload)) {
        println!("{}", workload.label());
        if options.smoke {
            for contender in Contender::ALL {
                count_bytes(
                    Plan {
                        contender: *contender,
                        workload,
                        warm_up: 100,
                        messages: 1000,
                    },
                    &tls,
                )?;
                println!("  {:<10} works", contender.label());
            }
        } else {
            compare(options, workload, &tls)?;
        }
    }
    println!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Measures all contenders with one workload and prints a row for each.
fn compare(options: &Options, workload: Workload, tls: &Pair) -> Outcome<()> {
    let trial = Plan {
        contender: Contender::Floor,
        workload,
        warm_up: 10_000,
        messages: 20_000,
    };
    let pace = trial.messages as f64 / run(trial, tls)?.client.wall.as_secs_f64();
    // More would make the ids of the messages longer.
    let messages = (pace * options.length.as_secs_f64()).clamp(10_000.0, 100e6) as u64;

    let mut runs = vec![Vec::new(); Contender::ALL.len()];
    for round in 1..=options.rounds {
        eprintln!("  round {round} of {}, {messages} messages", options.rounds);
        for (contender, runs) in Contender::ALL.iter().zip(&mut runs) {
            let plan = Plan {
                contender: *contender,
                messages,
                ..trial
            };
            runs.push(Figures::of(&run(plan, tls)?, messages));
        }
    }

    println!("  contender   CPU ns/message = client + server   CPU ÷ floor   messages/s   wire bytes/message");
    let mut floor = None;
    for (contender, runs) in Contender::ALL.iter().zip(&runs) {
        let median = Figures::median(runs);
        let ratio = median.cpu / *floor.get_or_insert(median.cpu);
        println!(
            "  {:<10} {:>15.1}  {:>7.1}  {:>7.1} {:>13.2} {:>12.0} {:>20.2}",
            contender.label(),
            median.cpu,
            median.client,
            median.server,
            ratio,
            median.rate,
            wire_bytes(*contender, workload, tls)?,
        );
    }
    Ok(())
}

/// Bytes on the wire per message, both directions. The difference of two runs leaves out the handshake.
fn wire_bytes(contender: Contender, workload: Workload, tls: &Pair) -> Outcome<f64> {
    let few = Plan {
        contender,
        workload,
        warm_up: 1000,
        messages: 1000,
    };
    let many = Plan {
        messages: 21_000,
        ..few
    };
    let more = count_bytes(many, tls)?.saturating_sub(count_bytes(few, tls)?);
    Ok(more as f64 / (many.messages - few.messages) as f64)
}

/// One run, per message.
#[derive(Clone, Copy)]
struct Figures {
    /// Nanoseconds of CPU of both processes.
    cpu: f64,
    client: f64,
    server: f64,
    /// Messages per second of wall-clock time.
    rate: f64,
}

impl Figures {
    fn of(run: &Run, messages: u64) -> Self {
        let per_message = |time: Duration| time.as_nanos() as f64 / messages as f64;
        let (client, server) = (per_message(run.client.cpu), per_message(run.server.cpu));
        Self {
            cpu: client + server,
            client,
            server,
            rate: messages as f64 / run.client.wall.as_secs_f64(),
        }
    }

    fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut all: Vec<f64> = runs.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            cpu: of(|f| f.cpu),
            client: of(|f| f.client),
            server: of(|f| f.server),
            rate: of(|f| f.rate),
        }
    }
}
