//! Plays seeds of the simulation of sessions: one service, several clients, faults, an oracle.
//! Settings are in the environment:
//!
//! - `SEED=123`: only that one, and shows what happens;
//! - `SEEDS`: how many, 20,000 without it; `SEEDS=0`: until stopped;
//! - `FIRST`: the first one, 0 without it.

use core::any::Any;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::panic;
use std::process::{self, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use diset_proto::sim::trial::{self, Tally};

const COMMAND: &str = "cargo run --profile checked -p diset-proto --features sim --example simulate";
/// Stops at so many seeds that fail.
const ENOUGH: usize = 20;
/// A seed that takes so long is named; usual are some milliseconds.
const LONG: Duration = Duration::from_secs(10);
/// One that takes so long never comes to rest.
const FOR_EVER: Duration = Duration::from_secs(120);

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} must be a number, not {text:?}"),
    }
}

/// What all threads share.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    tally: Mutex<Tally>,
    failed: Mutex<BTreeSet<u64>>,
    /// The seed that each thread plays, and since when.
    playing: Mutex<BTreeMap<usize, (u64, Instant)>>,
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

impl Shared {
    fn work(&self, thread: usize, last: Option<u64>) {
        let mut tally = Tally::default();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) || last.is_some_and(|last| seed >= last) {
                break;
            }
            self.playing.lock().unwrap().insert(thread, (seed, Instant::now()));
            let played = panic::catch_unwind(AssertUnwindSafe(|| trial::run(seed)));
            let broken = match played {
                Ok(report) => {
                    tally.add(&report.tally);
                    report.broken
                }
                Err(panic) => Some(format!("it panicked: {}", text_of(&*panic))),
            };
            if let Some(broken) = broken {
                println!("seed {seed} fails {broken}\n    SEED={seed} {COMMAND}");
                let mut failed = self.failed.lock().unwrap();
                failed.insert(seed);
                self.stop.fetch_or(failed.len() >= ENOUGH, Ordering::Relaxed);
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.playing.lock().unwrap().remove(&thread);
        self.tally.lock().unwrap().add(&tally);
    }

    /// Names seeds that take too long. Nothing stops one that is in an endless loop, so the program ends then.
    fn watch(&self) {
        for (seed, since) in self.playing.lock().unwrap().values() {
            let long = since.elapsed();
            if long >= LONG {
                println!("seed {seed} has been played for {:.0} s", long.as_secs_f64());
            }
            if long >= FOR_EVER {
                println!("seed {seed} fails: it never comes to rest\n    SEED={seed} {COMMAND}");
                process::exit(1);
            }
        }
    }
}

fn show(seed: u64) -> ExitCode {
    // As it happens: what comes before a panic, or an endless loop, is seen.
    let played = panic::catch_unwind(|| trial::run_traced(seed, |line| println!("{line}")));
    let report = match played {
        Ok(report) => report,
        Err(panic) => {
            println!("seed {seed} fails: it panicked: {}", text_of(&*panic));
            return ExitCode::FAILURE;
        }
    };
    match report.broken {
        None => ExitCode::SUCCESS,
        Some(broken) => {
            println!("seed {seed} fails {broken}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    if let Some(seed) = setting("SEED") {
        return show(seed);
    }
    let first = setting("FIRST").unwrap_or(0);
    let count = setting("SEEDS").unwrap_or(20_000);
    let last = (count > 0).then_some(first + count);
    let shared = Shared {
        next: AtomicU64::new(first),
        ..Shared::default()
    };
    let began = Instant::now();
    // A panic is told of with its seed.
    panic::set_hook(Box::new(|_| ()));
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shared = &shared;
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || shared.work(thread, last)))
            .collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::park_timeout(Duration::from_millis(if shared.done.load(Ordering::Relaxed) == 0 {
                100
            } else {
                5000
            }));
            let done = shared.done.load(Ordering::Relaxed);
            let speed = done as f64 / began.elapsed().as_secs_f64();
            println!("{done} seeds, {speed:.0} per second");
            shared.watch();
        }
    });
    let tally = shared.tally.into_inner().unwrap();
    for (what, count) in tally.entries() {
        println!("{count:>12}  {what}");
    }
    let failed = shared.failed.into_inner().unwrap();
    let missing = tally.missing();
    println!(
        "{} seeds from {first} in {:.1} s, {} failed {failed:?}; never happened: {missing:?}",
        shared.done.into_inner(),
        began.elapsed().as_secs_f64(),
        failed.len()
    );
    if failed.is_empty() && missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
