//! What was handled, beside what was sent.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_std::{Code, Outcome};

/// Each of so many messages is refused by its handler.
pub(crate) const REFUSED: i64 = 1009;

/// One direction, all clients; each message of one is a number, ascending from 0.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Direction>>);

#[derive(Default)]
struct Direction {
    handled: BTreeMap<usize, Vec<i64>>,
    outcomes: BTreeMap<usize, Vec<Outcome>>,
}

/// What all came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: usize,
    pub(crate) handled: usize,
    pub(crate) doubled: usize,
    pub(crate) lost: usize,
    pub(crate) out_of_order: usize,
    pub(crate) ok: usize,
    pub(crate) refused: usize,
    /// The sender was told something else than what happened.
    pub(crate) told_wrong: usize,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Direction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handler was called.
    pub(crate) fn handled(&self, client: usize, id: i64) {
        self.lock().handled.entry(client).or_default().push(id);
    }

    /// The outcome of the next message of this client.
    pub(crate) fn outcome(&self, client: usize, outcome: Outcome) {
        self.lock().outcomes.entry(client).or_default().push(outcome);
    }

    pub(crate) fn counts(&self) -> Counts {
        let direction = self.lock();
        let mut counts = Counts::default();
        for (client, outcomes) in &direction.outcomes {
            let none = Vec::new();
            let handled = direction.handled.get(client).unwrap_or(&none);
            let mut times = vec![0_usize; outcomes.len()];
            for id in handled {
                if let Some(times) = usize::try_from(*id).ok().and_then(|id| times.get_mut(id)) {
                    *times += 1;
                }
            }
            counts.sent += outcomes.len();
            counts.handled += handled.len();
            counts.doubled += times.iter().filter(|times| **times > 1).count();
            counts.lost += times.iter().filter(|times| **times == 0).count();
            counts.out_of_order += handled.windows(2).filter(|pair| pair[0] >= pair[1]).count();
            for (outcome, id) in outcomes.iter().zip(0..) {
                match outcome {
                    Outcome::Ok if id % REFUSED != REFUSED - 1 => counts.ok += 1,
                    Outcome::Failed(Code::HandlerFailed) if id % REFUSED == REFUSED - 1 => counts.refused += 1,
                    _ => counts.told_wrong += 1,
                }
            }
        }
        counts
    }
}

impl Counts {
    /// Both processes live: each message was handled once, in order, and its sender told so.
    pub(crate) fn assert_exact(&self, what: &str) {
        let excluded = (self.doubled, self.lost, self.out_of_order, self.told_wrong);
        assert_eq!(excluded, (0, 0, 0, 0), "{what}: {self}");
        assert_eq!(self.sent, self.handled, "{what}: {self}");
        assert_eq!(self.sent, self.ok + self.refused, "{what}: {self}");
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            handled,
            doubled,
            lost,
            out_of_order,
            ok,
            refused,
            told_wrong,
        } = self;
        write!(
            f,
            "sent {sent}, handled {handled}, doubled {doubled}, lost {lost}, out of order {out_of_order}; "
        )?;
        write!(f, "told ok {ok}, told refused {refused}, told wrong {told_wrong}")
    }
}
