//! Chaos: real services and clients over loopback and TLS, whose handlers return, fail, panic, disconnect and hang
//! while their lines, connections and services end in every way; then what the handlers saw is held against what
//! the senders were told (docs/DELIVERY.md).
//!
//! All of a run is drawn from its seed, but for the order in which the machine runs its tasks. `CHAOS_SEEDS` says how
//! many (24 without it, and none of those whose handlers hang for half a minute), `CHAOS_FIRST` which is the first.
//! `CHAOS_SEED` plays one alone and prints what the library logs.

mod ends;
mod handlers;
pub(crate) mod line;
mod oracle;
mod plan;
mod print;
mod story;

use core::time::Duration;
use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;

use diset_std::tls::throwaway::ThrowawayCa;
use tokio::task::JoinSet;

use self::oracle::Verdict;
use self::plan::{Kind, Plan};
use crate::common::TestResult;

/// Seeds that are played at the same time, for each core: they wait much of their time.
const PER_CORE: usize = 8;
/// Those whose handler hangs wait for nearly all of half a minute: they take no place of the others.
const HANGING: usize = 64;

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// What handlers do on purpose is not to fill the output. What else panics in this process is printed as ever.
fn hush() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&handlers::ON_PURPOSE) {
            before(panic);
        }
    }));
}

/// What came of all seeds with one store and one behaviour.
#[derive(Default)]
struct Row {
    seeds: usize,
    verdict: Verdict,
}

/// Seeds that are still to be played, and those that are.
struct Seeds {
    hanging: Vec<u64>,
    others: Vec<u64>,
    /// Of either.
    playing: [usize; 2],
    most: [usize; 2],
}

impl Seeds {
    fn new(first: u64, count: u64, with_hanging: bool) -> Self {
        let hangs = |seed: &u64| Plan::draw(*seed).kind == Kind::Hangs;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // Taken from the end.
        let (hanging, others) = (first..first + count).rev().partition(hangs);
        Self {
            hanging: if with_hanging { hanging } else { Vec::new() },
            others,
            playing: [0, 0],
            most: [HANGING, PER_CORE * cores],
        }
    }

    /// The next one, if there is room for it. Those that take long begin early.
    fn next(&mut self) -> Option<Plan> {
        for (seeds, (playing, most)) in [&mut self.hanging, &mut self.others]
            .into_iter()
            .zip(self.playing.iter_mut().zip(self.most))
        {
            if *playing < most
                && let Some(seed) = seeds.pop()
            {
                *playing += 1;
                return Some(Plan::draw(seed));
            }
        }
        None
    }

    fn played(&mut self, plan: &Plan) {
        self.playing[usize::from(plan.kind != Kind::Hangs)] -= 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_did_not_happen() -> TestResult {
    let alone = setting("CHAOS_SEED");
    let first = alone.or_else(|| setting("CHAOS_FIRST")).unwrap_or(0);
    let count = if alone.is_some() {
        1
    } else {
        setting("CHAOS_SEEDS").unwrap_or(24)
    };
    let is_short = alone.or_else(|| setting("CHAOS_SEEDS")).is_none();
    println!("seeds {first}..{}", first + count);
    if alone.is_some() {
        print::log();
    }
    hush();
    let authority = Arc::new(ThrowawayCa::new()?);
    let mut running = JoinSet::new();
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let (mut ends, mut wrong) = (BTreeMap::<&str, usize>::new(), Vec::new());
    let mut seeds = Seeds::new(first, count, !is_short);
    loop {
        while let Some(plan) = seeds.next() {
            let authority = Arc::clone(&authority);
            running.spawn(async move {
                let verdict = story::play(&plan, &authority).await;
                (plan, verdict)
            });
        }
        let Some(played) = running.join_next().await else { break };
        let (plan, verdict) = played?;
        let seed = plan.seed;
        seeds.played(&plan);
        for (end, times) in &verdict.ends {
            *ends.entry(end).or_default() += times;
        }
        if !verdict.wrong.is_empty() {
            println!("\nseed {seed}: {plan:?}");
            verdict.wrong.iter().take(12).for_each(|line| println!("  {line}"));
            println!("  alone: CHAOS_SEED={seed} cargo test -p diset-std --test sockets chaos:: -- --nocapture");
            wrong.push(seed);
        }
        let row = rows
            .entry((format!("{:?}", plan.store), format!("{:?}", plan.kind)))
            .or_default();
        row.seeds += 1;
        row.verdict.add(verdict);
    }
    println!(
        "\n{:<8}{:<14}{:>6}{:>8}{:>9}{:>8}{:>8}{:>9}{:>10}{:>8}",
        "store", "handlers", "seeds", "sent", "handled", "ok", "failed", "unknown", "false ok", "hangs"
    );
    for ((store, kind), Row { seeds, verdict }) in &rows {
        println!(
            "{store:<8}{kind:<14}{seeds:>6}{:>8}{:>9}{:>8}{:>8}{:>9}{:>10}{:>8}",
            verdict.sent, verdict.handled, verdict.ok, verdict.failed, verdict.unknown, verdict.false_ok, verdict.hangs
        );
    }
    println!("ends: {ends:?}");
    assert!(
        wrong.is_empty(),
        "{} of {count} seeds went wrong: {wrong:?}",
        wrong.len()
    );
    if count >= 400 {
        let missing: Vec<_> = plan::End::NAMES
            .iter()
            .filter(|name| !ends.contains_key(*name))
            .collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
        assert_eq!(rows.len(), 2 * plan::KINDS.len(), "each kind with both stores");
    }
    Ok(())
}

/// Longest time in which nothing moves, or a connection is not there again. Not short: machines may be busy.
const SOON: Duration = Duration::from_secs(60);
