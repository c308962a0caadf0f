//! Chaos: real services and clients over loopback and TLS, whose handlers return, fail, panic, disconnect and hang
//! while their lines, connections and services end in every way; then what the handlers saw is held against what
//! the senders were told (docs/DELIVERY.md).
//!
//! All of a run is drawn from its seed, but for the order in which the machine runs its tasks. `CHAOS_SEEDS` says how
//! many (24 without it, and none of those whose handlers hang for half a minute), `CHAOS_FIRST` which is the first.
//! `CHAOS_SEED` plays one alone and prints what the library logs.

mod ends;
mod handlers;
mod line;
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

/// Seeds that are played at the same time: they wait most of their time.
const AT_A_TIME: usize = 12;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
    let mut seeds = first..first + count;
    loop {
        while running.len() < AT_A_TIME
            && let Some(seed) = seeds.next()
        {
            if is_short && Plan::draw(seed).kind == Kind::Hangs {
                continue;
            }
            let authority = Arc::clone(&authority);
            running.spawn(async move {
                let plan = Plan::draw(seed);
                let verdict = story::play(&plan, &authority).await;
                (seed, plan, verdict)
            });
        }
        let Some(played) = running.join_next().await else { break };
        let (seed, plan, verdict) = played?;
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
