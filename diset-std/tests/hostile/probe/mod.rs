//! Throws structured nonsense at a listening service for a while, from a seed that it prints,
//! while neighbours exchange messages; then looks at what is left: no panic, neighbours untouched,
//! each admitted connection dropped once, places, memory and descriptors given back. For
//! `./ci.sh probe`; settings are in the environment:
//!
//! - `PROBE_SECONDS`: how long, 60 without it;
//! - `PROBE_SEED`: the same attacks again, in the same order; when each byte arrives is up to the
//!   system;
//! - `PROBE_ATTACK`: only the attack of this number.

mod attack;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use diset_std::{Code, Conn, Counter, Counters, Limits, Service, Trid};
use tokio::task::JoinSet;

use self::attack::{Attack, KINDS, Outcome, Target};
use crate::common::*;
use crate::support::*;

/// Attacks at a time.
const AT_A_TIME: usize = 32;
const NEIGHBOURS: usize = 3;
/// How much more memory may be in use at any time than before the first attack.
const MOST_EVER: u64 = 256 << 20;
/// How much more may be in use after the second half of the attacks than after the first, which
/// has filled pools and caches: what allocators keep now and then, and for each attack.
const MOST_KEPT: u64 = 6 << 20;
const MOST_KEPT_OF_EACH: u64 = 1 << 10;
/// An attack of so many, at least, is answered with this code: a tenth of what is usual.
const ONE_IN: [(Code, u64); 15] = [
    (Code::NotDiset, 1_000),
    (Code::Version, 2_200),
    (Code::FrameTooLong, 5_300),
    (Code::FrameMalformed, 2_600),
    (Code::UnknownKind, 150),
    (Code::Unexpected, 300),
    (Code::PacketMalformed, 70),
    (Code::UnknownField, 4_400),
    (Code::CreditExceeded, 350),
    (Code::UnknownMessage, 90),
    (Code::WrongDirection, 1_100),
    (Code::NoHandler, 1_800),
    (Code::Invalid, 150),
    (Code::HandlerFailed, 600),
    (Code::Displaced, 6_000),
];
/// Attacks in a second, at least: a tenth of what two cores do that are busy with other things.
const IN_A_SECOND: u64 = 15;

/// How long a neighbour may wait for an answer: the attackers use the same two threads.
const MOST_WAIT: Duration = Duration::from_secs(2);

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
    let mut probe = Probe::new(&settings, target);
    probe.attack(settings.span / 2, &running).await;
    // The most until here, and not what is in use just now: allocators give back in leaps.
    let half = (memory().map(|now| now.max(probe.most)), probe.tally.attacks);
    if settings.only.is_none() {
        probe.attack(settings.span / 2, &running).await;
    }
    let counters = running.handle.counters();
    probe.tally.print();
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
    probe.before.compare(probe.most).await;
    if settings.only.is_none() {
        assert_attacked(&probe.tally, &counters, settings.span.as_secs());
        assert_kept_little(half, probe.tally.attacks);
    }
    for neighbour in neighbours {
        let waits = neighbour.finish().await?;
        println!("a neighbour waited {:?} for an answer, at most", waits.longest);
        assert!(waits.longest < MOST_WAIT, "a neighbour was stopped");
    }
    running.stop().await;
    assert_eq!(panics.all(), Vec::<String>::new(), "at the end");
    Ok(())
}

/// The attacks, and what is seen of them.
struct Probe<'a> {
    settings: &'a Settings,
    target: Arc<Target>,
    before: Usage,
    /// The number of the next one.
    next: u64,
    tally: Tally,
    /// The most memory that was in use.
    most: u64,
}

impl<'a> Probe<'a> {
    fn new(settings: &'a Settings, target: Arc<Target>) -> Self {
        Self {
            settings,
            target,
            before: Usage::now(),
            next: settings.only.unwrap_or(0),
            tally: Tally::default(),
            most: 0,
        }
    }

    /// Attacks for a while, then waits until all are gone.
    async fn attack(&mut self, span: Duration, running: &Running<PingPong>) {
        let (begin, mut under_way) = (Instant::now(), JoinSet::new());
        let mut report = tokio::time::interval(Duration::from_secs(5));
        report.tick().await;
        loop {
            let is_more = |next| self.settings.only.is_none_or(|only| only == next);
            while begin.elapsed() < span && under_way.len() < AT_A_TIME && is_more(self.next) {
                let (attack, target) = (Attack::new(self.settings.seed, self.next), Arc::clone(&self.target));
                under_way.spawn(async move { attack.run(&target).await });
                self.next += 1;
            }
            tokio::select! {
                done = under_way.join_next() => match done {
                    Some(Ok(outcome)) => self.tally.add(outcome),
                    // The panic was noted.
                    Some(Err(_)) => {}
                    None => break,
                },
                _ = report.tick() => {
                    let now = memory().unwrap_or(0);
                    self.most = self.most.max(now);
                    println!("{} attacks, {} MiB in use", self.tally.attacks, now >> 20);
                }
            }
        }
        // Lingering connections have 2 s; nobody else may hold anything.
        quiet(running).await;
    }
}

/// That the service was attacked at all, in all the ways there are.
fn assert_attacked(tally: &Tally, counters: &Counters, secs: u64) {
    let all = tally.attacks;
    assert!(all >= secs * IN_A_SECOND, "{all} attacks in {secs} s");
    for kind in KINDS {
        let count = tally.kinds.get(kind).map_or(0, |row| row.attacks);
        assert!(count >= all / 100, "{kind}: {count} of {all}");
    }
    for (code, one_in) in ONE_IN {
        let count = counters.get(Counter::EndedByUs(code));
        assert!(count >= all / one_in, "{code:?}: {count} of {all}");
    }
    let admitted = counters.get(Counter::Admitted);
    assert!(admitted >= all / 4, "{admitted} of {all} were admitted");
    let broken = tally.kinds.values().filter_map(|row| row.told.get("broken"));
    let broken: u64 = broken.sum();
    assert!(broken <= all / 4, "{broken} of {all} had no answer");
}

/// That the attacks since then have left no memory behind; `half` is the most that was in use, and the
/// number of attacks before.
fn assert_kept_little((memory_then, attacks_then): (Option<u64>, u64), attacks: u64) {
    let (Some(then), Some(now)) = (memory_then, memory()) else {
        return;
    };
    let since = attacks - attacks_then;
    println!(
        "memory: at most {} KiB in half of the attacks, {} after {since} more",
        then >> 10,
        now >> 10
    );
    assert!(
        now < then + MOST_KEPT + since * MOST_KEPT_OF_EACH,
        "memory is given back"
    );
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

    /// Fails when more descriptors are in use than before, or too much memory was; `most` was at
    /// some time.
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
