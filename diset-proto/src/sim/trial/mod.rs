//! Proof of sessions by faults: a [`World`] whose faults are drawn from a seed, and an oracle that
//! knows nothing of the engine's counters.
//!
//! [`run`] plays one seed. `cargo run --profile checked -p diset-proto --features sim --example simulate`
//! plays many, and shows one with `SEED=123`.

mod lines;
mod message;
mod notes;
mod oracle;
mod order;
mod story;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::sim::world::World;

use self::oracle::Oracle;
use self::story::Story;

/// How often each thing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// All that a trial must have shown when many were played.
    pub const MUST: [&'static str; 49] = [
        "fault: cut",
        "fault: cut at a byte",
        "fault: delay",
        "fault: half-open",
        "fault: stall",
        "fault: clock jump",
        "fault: displacement",
        "fault: client killed",
        "fault: client killed, with store",
        "fault: service killed",
        "fault: service killed, with store",
        "fault: clone",
        "fault: thief",
        "fault: connects out of order",
        "fault: retention over",
        "fault: go-away",
        "fault: disconnect",
        "fault: late disk keeps",
        "sent: plain",
        "sent: acked, report",
        "sent: acked, resend",
        "sent: while absent",
        "not sent: session full",
        "not sent: credit used up",
        "not sent: output full",
        "not sent: not open",
        "not sent: going away",
        "not sent: not agreed",
        "opened: resumed",
        "opened: resumed with replay",
        "opened: new, first",
        "opened: new, forgotten",
        "opened: new, state conflict",
        "opened: new, no room",
        "handled: plain",
        "lost: plain, reported",
        "at last: connected",
        "handled: first time",
        "handled: repeated, marked",
        "handled: marked, first time",
        "handled: from the inbox",
        "handled: session gone meanwhile",
        "outcome: ok",
        "outcome: handler failed",
        "outcome: invalid",
        "outcome: refused",
        "outcome: not agreed",
        "outcome: skipped",
        "outcome: unknown",
    ];

    pub(super) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds what another trial showed.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What happened, and how often.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, count)| (*what, *count))
    }

    /// What never happened and must have.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = |what: &&&str| !self.0.contains_key(**what);
        Self::MUST.iter().filter(never).copied().collect()
    }
}

/// What one seed gave.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct Report {
    /// How often each thing happened.
    pub tally: Tally,
    /// The rule that was broken, if any.
    pub broken: Option<String>,
}

/// Where the lines go that say what happens.
struct Trace(Box<dyn FnMut(String)>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// Plays one seed.
///
/// # Panics
/// When the world never comes to rest, or the engine breaks a promise of its own.
pub fn run(seed: u64) -> Report {
    play(seed, None)
}

/// Plays one seed, and gives each event to `line` as it happens.
///
/// # Panics
/// As [`run`]; the lines before have been given by then.
pub fn run_traced(seed: u64, line: impl FnMut(String) + 'static) -> Report {
    play(seed, Some(Trace(Box::new(line))))
}

fn play(seed: u64, trace: Option<Trace>) -> Report {
    let mut story = Story::new(seed);
    let setup = story.setup();
    let oracle = Oracle::new(&setup, trace);
    let mut world = World::of::<notes::Notes>(setup, oracle);
    story.play(&mut world);
    world.app.report()
}
