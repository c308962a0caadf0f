//! What connections cost a server that do nothing: memory while they are idle, CPU to make them, full and resumed.
//! Mutual TLS 1.3 on loopback, beside the floor: the same over tokio-rustls, with nothing on top.
//!
//! Server and clients are separate processes (this program, started again). The figures are the server's, seen from
//! outside: its anonymous memory before and after many connections came, its CPU time, user and system, over many
//! connections one after the other. Absolute figures belong to one machine; the ratio to the floor travels.

#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod diset;
mod floor;

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::thread::sleep;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::common::{CHILD, Credentials, Outcome, Pair, Process, cpu_time, receive_job};

const HELP: &str = "\
What a connection costs a server: memory while idle, CPU of full and resumed mutual TLS handshakes, against the floor.

cargo bench -p diset-std --bench connections -- [OPTIONS] [TEXT]...

TEXT             only figures whose name contains one of the texts: idle, full, resumed
--connections N  idle connections (default 1000, fewer when the limit on open files is low)
--handshakes N   handshakes of one run (default 500)
--rounds N       runs of each figure and contender (default 3)
--test           one short run of each, figures mean nothing";

/// Connections before those that are measured: what the first ones cost only once is not counted.
const WARM_UP: usize = 20;
/// What is held beside the connections: standard streams, the runtime, the listener.
const OTHER_FILES: usize = 64;
/// Connections when the limit on open files is low.
const FEW: usize = 400;
/// Until what was queued has been dealt with.
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Contender {
    /// See `floor.rs`.
    Floor,
    /// See `diset.rs`.
    Diset,
}

impl Contender {
    /// The floor comes first: the others are compared with it.
    const ALL: [Self; 2] = [Self::Floor, Self::Diset];

    fn label(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Diset => "diset",
        }
    }
}

/// What the connections of a client process do.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Nothing, until the process is ended.
    Idle,
    /// Each ends before the next begins.
    Handshakes {
        /// With the ticket of the one before.
        resumed: bool,
    },
}

impl Work {
    const ALL: [Self; 3] = [
        Self::Idle,
        Self::Handshakes { resumed: false },
        Self::Handshakes { resumed: true },
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle connection, memory of the server (kB)",
            Self::Handshakes { resumed: false } => "full handshake, CPU of the server (µs)",
            Self::Handshakes { resumed: true } => "resumed handshake, CPU of the server (µs)",
        }
    }
}

/// A run as one of its processes sees it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    contender: Contender,
    /// What a client does, how often, and where; `None` in the server.
    client: Option<(Work, usize, SocketAddr)>,
    pub(crate) tls: Credentials,
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

/// Serves or connects as the parent says, on one thread. A server never ends by itself.
fn child() -> Outcome<()> {
    let job: Job = receive_job()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match (job.contender, job.client) {
            (Contender::Floor, None) => floor::serve(&job).await,
            (Contender::Floor, Some((work, count, address))) => floor::connect(&job, work, count, address).await,
            (Contender::Diset, None) => diset::serve(&job).await,
            (Contender::Diset, Some((work, count, address))) => diset::connect(&job, work, count, address).await,
        }
    })
}

/// Tells the parent that all connections were made; holds those that are idle.
pub(crate) async fn say_connected<T>(work: Work, connections: Vec<T>) {
    println!("connected");
    if work == Work::Idle {
        core::future::pending::<()>().await;
    }
    drop(connections);
}

struct Options {
    connections: usize,
    handshakes: usize,
    rounds: usize,
    /// Figures by parts of their names; none means all.
    only: Vec<String>,
}

impl Options {
    /// `None` if help is wanted.
    fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Option<Self>> {
        let mut options = Self {
            connections: 1000,
            handshakes: 500,
            rounds: 3,
            only: Vec::new(),
        };
        let (mut bench, mut smoke) = (false, false);
        while let Some(arg) = args.next() {
            let mut number = || -> Outcome<usize> {
                let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
                Ok(value.parse::<usize>()?.max(1))
            };
            match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "--connections" => options.connections = number()?,
                "--handshakes" => options.handshakes = number()?,
                "--rounds" => options.rounds = number()?,
                "--test" => smoke = true,
                // `cargo bench` says so; `cargo test --benches` does not.
                "--bench" => bench = true,
                other if other.starts_with('-') => return Err(format!("unknown option {other}, see --help").into()),
                _ => options.only.push(arg),
            }
        }
        if smoke || !bench {
            (options.connections, options.handshakes, options.rounds) = (20, 20, 1);
        }
        Ok(Some(options))
    }

    fn wants(&self, work: Work) -> bool {
        let label = work.label();
        self.only.is_empty() || self.only.iter().any(|text| label.contains(text))
    }
}

fn parent(options: &Options) -> Outcome<()> {
    let began = Instant::now();
    let tls = Pair::new()?;
    for work in Work::ALL.into_iter().filter(|work| options.wants(*work)) {
        let count = match work {
            Work::Idle => allowed(options.connections)?,
            Work::Handshakes { .. } => options.handshakes,
        };
        println!("{}, {count} connections", work.label());
        let mut figures = [const { Vec::new() }; Contender::ALL.len()];
        for round in 1..=options.rounds {
            eprintln!("  round {round} of {}", options.rounds);
            for (contender, figures) in Contender::ALL.into_iter().zip(&mut figures) {
                figures.push(measure(contender, work, count, &tls)?);
            }
        }
        println!("  contender   per connection       ÷ floor");
        let mut floor = None;
        for (contender, figures) in Contender::ALL.into_iter().zip(&mut figures) {
            figures.sort_by(f64::total_cmp);
            let median = figures.get(figures.len() / 2).copied().unwrap_or_default();
            let ratio = median / *floor.get_or_insert(median);
            println!("  {:<10} {median:>15.1} {ratio:>13.2}", contender.label());
        }
    }
    println!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// As many connections as the limit on open files lets a process hold.
fn allowed(wanted: usize) -> Outcome<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let most = soft.and_then(|soft| soft.parse::<usize>().ok()).unwrap_or(usize::MAX);
    if wanted.saturating_add(OTHER_FILES + WARM_UP) <= most {
        return Ok(wanted);
    }
    let few = FEW.min(wanted).min(most.saturating_sub(OTHER_FILES + WARM_UP)).max(1);
    println!(
        "this shell allows {most} open files, so {few} connections instead of {wanted}; `ulimit -n 4096` raises that"
    );
    Ok(few)
}

/// What one connection cost the server: kB of memory or microseconds of CPU.
fn measure(contender: Contender, work: Work, count: usize, tls: &Pair) -> Outcome<f64> {
    let mut server = Process::start(&Job {
        contender,
        client: None,
        tls: tls.server.clone(),
    })?;
    let address = server.word("listening")?.parse()?;
    let clients = |count| -> Outcome<Process> {
        let mut clients = Process::start(&Job {
            contender,
            client: Some((work, count, address)),
            tls: tls.client.clone(),
        })?;
        clients.word("connected")?;
        sleep(SETTLE);
        Ok(clients)
    };
    let id = server.child.id();
    let _first = clients(WARM_UP)?;
    let (memory, cpu) = (memory(id)?, cpu_time(id)?);
    let _clients = clients(count)?;
    let cost = match work {
        Work::Idle => self::memory(id)? - memory,
        Work::Handshakes { .. } => cpu_time(id)?.saturating_sub(cpu).as_secs_f64() * 1e6,
    };
    Ok(cost / count as f64)
}

/// Memory of a process that is not a file's, in kB of 1000 bytes.
fn memory(process: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no RssAnon")?;
    Ok(kibibytes.parse::<f64>()? * 1.024)
}
