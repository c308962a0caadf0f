//! What has changed in one session and is not in the file yet.

use std::collections::VecDeque;
use std::sync::Arc;

use super::layout::Row;

/// What one message costs in the journal besides its row.
pub(super) const OVERHEAD: usize = 96;

/// One change of a session.
pub(super) enum Change {
    /// A message of this side is stored.
    Stored(u64, Row),
    /// One has left the replay store.
    Removed(u64),
    /// All up to this one have.
    RemovedThrough(u64),
    /// One may have been dealt with before.
    Repeated(u64),
    /// A message has come, in the session that began with this trid.
    Received(u64, u64, Row),
    /// So many, the last of which is this one, are handled.
    Handled(u64, u64, usize),
}

/// What has changed since the last commit. Changes that undo each other leave nothing.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) stored: VecDeque<(u64, Row)>,
    pub(super) repeated: Vec<u64>,
    pub(super) removed: Vec<u64>,
    pub(super) removed_through: u64,
    /// With the trid with which the session began.
    pub(super) received: VecDeque<((u64, u64), Row)>,
    /// For each beginning: all up to this number are handled.
    pub(super) handled: Vec<(u64, u64)>,
}

impl Changes {
    /// Adds what has changed after all else; how many bytes of the journal became free.
    pub(super) fn add(&mut self, change: Change) -> usize {
        match change {
            Change::Stored(number, row) => self.stored.push_back((number, row)),
            Change::Removed(number) => return self.remove(number),
            Change::RemovedThrough(number) => {
                self.repeated.retain(|repeated| *repeated > number);
                self.removed.retain(|removed| *removed > number);
                self.removed_through = self.removed_through.max(number);
                return take_out(&mut self.stored, |stored| stored <= number).1;
            }
            Change::Repeated(number) => match self.stored.iter_mut().find(|(stored, _)| *stored == number) {
                Some((_, row)) => super::layout::mark_repeated(Arc::make_mut(row)),
                None => self.repeated.push(number),
            },
            Change::Received(began, number, row) => self.received.push_back(((began, number), row)),
            Change::Handled(began, number, count) => return self.handle(began, number, count),
        }
        0
    }

    fn remove(&mut self, number: u64) -> usize {
        let (count, freed) = take_out(&mut self.stored, |stored| stored == number);
        if count == 0 {
            self.repeated.retain(|repeated| *repeated != number);
            self.removed.push(number);
        }
        freed
    }

    fn handle(&mut self, began: u64, number: u64, count: usize) -> usize {
        let (here, freed) = take_out(&mut self.received, |(of, received)| of == began && received <= number);
        if here < count {
            // The others are in the file, or on the way there.
            match self.handled.iter_mut().find(|(of, _)| *of == began) {
                Some((_, through)) => *through = number.max(*through),
                None => self.handled.push((began, number)),
            }
        }
        freed
    }
}

/// Takes messages out: how many, and how many bytes of the journal that frees.
fn take_out<K: Copy>(messages: &mut VecDeque<(K, Row)>, which: impl Fn(K) -> bool) -> (usize, usize) {
    let (mut count, mut freed) = (0, 0);
    messages.retain(|(key, row)| {
        let out = which(*key);
        if out {
            count += 1;
            freed += cost(row);
        }
        !out
    });
    (count, freed)
}

/// What a message takes of the journal.
pub(super) fn cost(row: &Row) -> usize {
    row.len() + OVERHEAD
}
