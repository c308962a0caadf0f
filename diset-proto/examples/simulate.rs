//! Plays seeds of the simulation of sessions: one service, several clients, faults, an oracle.
//! Settings are in the environment:
//!
//! - `SEED=123`: only that one, and shows what happens;
//! - `SEEDS`: how many, 20,000 without it; `SEEDS=0`: until stopped;
//! - `FIRST`: the first one, 0 without it.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeSet;
use std::env;
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use diset_proto::sim::trial::{self, Tally};

const COMMAND: &str = "cargo run --release -p diset-proto --features sim --example simulate";
/// Stops at so many seeds that fail.
const ENOUGH: usize = 20;

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
}

impl Shared {
    fn work(&self, last: Option<u64>) {
        let mut tally = Tally::default();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) || last.is_some_and(|last| seed >= last) {
                break;
            }
            let played = panic::catch_unwind(AssertUnwindSafe(|| trial::run(seed, false)));
            let broken = match played {
                Ok(report) => {
                    tally.add(&report.tally);
                    report.broken
                }
                Err(panic) => Some(match panic.downcast_ref::<String>() {
                    Some(text) => format!("it panicked: {text}"),
                    None => "it panicked".to_owned(),
                }),
            };
            if let Some(broken) = broken {
                println!("seed {seed} fails {broken}\n    SEED={seed} {COMMAND}");
                let mut failed = self.failed.lock().unwrap();
                failed.insert(seed);
                self.stop.fetch_or(failed.len() >= ENOUGH, Ordering::Relaxed);
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.tally.lock().unwrap().add(&tally);
    }
}

fn show(seed: u64) -> ExitCode {
    let report = trial::run(seed, true);
    for line in &report.trace {
        println!("{line}");
    }
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
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| shared.work(last))).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::park_timeout(Duration::from_millis(if shared.done.load(Ordering::Relaxed) == 0 {
                100
            } else {
                5000
            }));
            let done = shared.done.load(Ordering::Relaxed);
            let speed = done as f64 / began.elapsed().as_secs_f64();
            println!("{done} seeds, {speed:.0} per second");
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
