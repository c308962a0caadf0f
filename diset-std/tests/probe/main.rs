//! Throws structured nonsense at a listening service for a while, from a seed that it prints,
//! while neighbours exchange messages; then looks at what is left: no panic, neighbours untouched,
//! each admitted connection dropped once, places, memory and descriptors given back. For
//! `./ci.sh probe`; settings are in the environment:
//!
//! - `PROBE_SECONDS`: how long, 60 without it;
//! - `PROBE_SEED`: the same attacks again, in the same order; when each byte arrives is up to the
//!   system;
//! - `PROBE_ATTACK`: only the attack of this number.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "a part of it is for the tests row by row")]
#[path = "../hostile/support.rs"]
mod support;

mod attack;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use diset_std::{Conn, Counter, Counters, Limits, Service, Trid};
use tokio::task::JoinSet;

use crate::attack::{Attack, Outcome, Target};
use crate::common::*;
use crate::support::*;

/// Attacks at a time.
const AT_A_TIME: usize = 32;
const NEIGHBOURS: usize = 3;
/// How much more memory may be in use after all attacks than before the first: what allocators and
/// pools keep.
const MOST_LEFT: u64 = 64 << 20;
/// And at any time.
const MOST_EVER: u64 = 256 << 20;

struct Settings {
    span: Duration,
    seed: u64,
    only: Option<u64>,
}

fn setting(name: &str) -> Result<Option<u64>, Box<dyn core::error::Error>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    let number = text.parse().map_err(|why| format!("{name}={text}: {why}"))?;
    Ok(Some(number))
}

impl Settings {
    fn from_env() -> Result<Self, Box<dyn core::error::Error>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Self {
            span: Duration::from_secs(setting("PROBE_SECONDS")?.unwrap_or(60)),
            seed: setting("PROBE_SEED")?.unwrap_or_else(|| u64::from(now.subsec_nanos())),
            only: setting("PROBE_ATTACK")?,
        })
    }
}

/// What panicked, wherever it was.
#[derive(Clone, Default)]
struct Panics(Arc<Mutex<Vec<String>>>);

impl Panics {
    fn watch() -> Self {
        let panics = Self::default();
        let (seen, usual) = (panics.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            seen.0.lock().expect("held for a moment").push(info.to_string());
            usual(info);
        }));
        panics
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("held for a moment").clone()
    }
}

/// How often each connection was dropped.
type Drops = Arc<Mutex<BTreeMap<Trid, usize>>>;

fn target(drops: &Drops) -> Service<PingPong> {
    let drops = Arc::clone(drops);
    answering()
        .limits(Limits::SERVER.with_handshake(Duration::from_secs(1)))
        .on(|conn: Conn<PingPong>, odd: Odd| async move {
            // One that takes its time, one that answers, one that fails.
            tokio::task::yield_now().await;
            if odd.flag {
                conn.send(&Pong {
                    id: i64::from(odd.list.len() as u32),
                })
                .await?;
            }
            odd.maybe.map_or(Ok(()), |_| Err(diset_std::Failure::new(SECRET)))
        })
        .on_ref::<Note<'_>>(|conn, note| {
            conn.try_send(&Note { text: note.text }).ok();
            Ok(())
        })
        .on_drop(move |conn, _| {
            *drops.lock().expect("no panic").entry(conn.trid()).or_default() += 1;
            async {}
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: ./ci.sh probe"]
async fn a_service_survives_structured_nonsense() -> TestResult {
    let settings = Settings::from_env()?;
    println!("seed {0}; again: PROBE_SEED={0} ./ci.sh probe", settings.seed);
    let panics = Panics::watch();
    let drops = Drops::default();
    let world = World::new()?;
    let running = world.serve(target(&drops)).await?;
    let mut neighbours = Vec::new();
    for number in 0..NEIGHBOURS {
        let client = world.client(PingPong, &running, &format!("neighbour {number}"))?;
        neighbours.push(Talker::new(client).await?);
    }
    let target = Arc::new(Target::new(&world, &running)?);
    let before = Usage::now();
    let (tally, most) = attack_for(&settings, target).await;

    // Lingering connections have 2 s; nobody else may hold anything.
    quiet(&running).await;
    let counters = running.handle.counters();
    tally.print();
    print_counters(&counters);
    assert_eq!(panics.all(), Vec::<String>::new(), "seed {}", settings.seed);
    assert_eq!(counters.get(Counter::Live), NEIGHBOURS as u64, "who is not gone");
    assert_balanced(&counters);
    {
        let drops = drops.lock().expect("no panic");
        let twice: Vec<_> = drops.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "dropped more than once: {twice:?}");
        assert_eq!(
            drops.len() as u64,
            counters.get(Counter::Dropped),
            "a drop callback for each"
        );
    }
    before.compare(most).await;
    for neighbour in neighbours {
        neighbour.finish().await?;
    }
    running.stop().await;
    assert_eq!(panics.all(), Vec::<String>::new(), "at the end");
    Ok(())
}

/// Attacks until the time is over; what came of it, and the most memory that was in use.
async fn attack_for(settings: &Settings, target: Arc<Target>) -> (Tally, u64) {
    let (begin, mut tally, mut under_way) = (Instant::now(), Tally::default(), JoinSet::new());
    let next = AtomicU64::new(settings.only.unwrap_or(0));
    let mut report = tokio::time::interval(Duration::from_secs(5));
    report.tick().await;
    let mut most = 0;
    loop {
        let more = begin.elapsed() < settings.span
            && (settings.only.is_none() || next.load(Ordering::Relaxed) == settings.only.unwrap_or(0));
        while more && under_way.len() < AT_A_TIME {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (attack, target) = (Attack::new(settings.seed, number), Arc::clone(&target));
            under_way.spawn(async move { attack.run(&target).await });
            if settings.only.is_some() {
                break;
            }
        }
        tokio::select! {
            done = under_way.join_next() => match done {
                Some(Ok(outcome)) => tally.add(outcome),
                // The panic was noted.
                Some(Err(_)) => {}
                None => break,
            },
            _ = report.tick() => {
                most = most.max(memory().unwrap_or(0));
                let (secs, done) = (begin.elapsed().as_secs(), tally.attacks);
                println!("{secs:3} s: {done} attacks, {} MiB in use", memory().unwrap_or(0) >> 20);
            }
        }
    }
    (tally, most)
}

async fn quiet(running: &Running<PingPong>) {
    let now = || running.handle.counters();
    let gone = || now().get(Counter::InHandshake) == 0 && now().get(Counter::Live) <= NEIGHBOURS as u64;
    wait_for("all are gone", gone).await;
}

/// Memory and descriptors, where the system tells.
struct Usage {
    memory: Option<u64>,
    descriptors: Option<usize>,
}

impl Usage {
    fn now() -> Self {
        Self {
            memory: memory(),
            descriptors: descriptors(),
        }
    }

    /// Fails when more is in use than before; `most` was at some time.
    async fn compare(&self, most: u64) {
        if let Some(before) = self.descriptors {
            // The peers' own close a moment later.
            let given_back = || descriptors().is_none_or(|now| now <= before);
            wait_for("descriptors are given back", given_back).await;
            println!("descriptors: {before} before, {:?} after", descriptors().unwrap_or(0));
        }
        if let (Some(before), Some(now)) = (self.memory, memory()) {
            let mib = |bytes: u64| bytes >> 20;
            println!(
                "memory: {} MiB before, at most {}, {} after",
                mib(before),
                mib(most),
                mib(now)
            );
            assert!(now < before + MOST_LEFT, "memory is given back");
            assert!(most < before + MOST_EVER, "memory is bounded");
        }
    }
}

/// Bytes of memory in use, where the system tells.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn descriptors() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

/// What came of the attacks, by their kind.
#[derive(Default)]
struct Tally {
    attacks: u64,
    kinds: BTreeMap<&'static str, Row>,
}

#[derive(Default)]
struct Row {
    attacks: u64,
    bytes: usize,
    told: BTreeMap<&'static str, u64>,
    numbers: BTreeSet<u64>,
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        self.attacks += 1;
        let row = self.kinds.entry(outcome.kind).or_default();
        row.attacks += 1;
        row.bytes += outcome.sent;
        *row.told.entry(outcome.told).or_default() += 1;
        if row.numbers.len() < 3 {
            row.numbers.insert(outcome.number);
        }
    }

    fn print(&self) {
        println!(
            "{:<10} {:>7} {:>9}  told, and how often (numbers of the first)",
            "attack", "count", "KiB"
        );
        for (kind, row) in &self.kinds {
            let told: Vec<_> = row.told.iter().map(|(what, count)| format!("{what} {count}")).collect();
            let numbers: Vec<_> = row.numbers.iter().map(u64::to_string).collect();
            println!(
                "{kind:<10} {:>7} {:>9}  {} ({})",
                row.attacks,
                row.bytes >> 10,
                told.join(", "),
                numbers.join(" ")
            );
        }
    }
}

fn print_counters(counters: &Counters) {
    println!("counted by the service:");
    for (name, label, value) in counters.iter().filter(|(_, _, value)| *value > 0) {
        println!("  {name:<14} {label:<18} {value:>7}");
    }
}
