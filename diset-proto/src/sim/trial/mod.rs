//! Proof of sessions by faults: a [`World`] whose faults are drawn from a seed, and an oracle that
//! knows nothing of the engine's counters.
//!
//! [`run`] plays one seed. `cargo run --release -p diset-proto --features sim --example simulate`
//! plays many, and shows one with `SEED=123`.

mod notes;
mod oracle;
mod story;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::sim::world::World;

use self::oracle::Oracle;
use self::story::Story;

/// How often each thing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// All that a trial must have shown when many were played.
    pub const MUST: [&'static str; 45] = [
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
    /// What happened, line by line, when asked for.
    pub trace: Vec<String>,
}

/// Plays one seed. With `traced` each event is a line of the report.
///
/// # Panics
/// When the world never comes to rest.
pub fn run(seed: u64, traced: bool) -> Report {
    let mut story = Story::new(seed);
    let setup = story.setup();
    let oracle = Oracle::new(seed, setup.proven, traced);
    let mut world = World::of::<notes::Notes>(setup, oracle);
    story.play(&mut world);
    world.app.report()
}
