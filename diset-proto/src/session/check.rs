//! Whether the counters of a session can be. What comes from a disk or from a log is checked here, and nowhere else:
//! the code that counts on relies on it.

use super::receiving::Receiving;
use super::sending::Sending;
use super::{BadRecord, Outcome};
use crate::definition::Verdict;

/// Above what a side can count of its own, and above what a peer can skip to (PROTOCOL Q-3): sums do not overflow.
const MOST_SENT: u64 = 1 << 63;
const MOST_RECEIVED: u64 = 3 << 62;

impl<R> Sending<R> {
    /// The same, if it can be.
    pub(super) fn checked(self) -> Result<Self, BadRecord> {
        let counters = [
            self.base,
            self.processed,
            self.freed,
            self.received,
            self.cursor,
            self.sent,
        ];
        let last = self.next.checked_sub(1).ok_or(BadRecord)?;
        let (next_lost, last_lost) = self.forgotten;
        let fits = counters.is_sorted()
            && self.sent <= last
            && self.next <= MOST_SENT
            && self.unknown <= last
            && last_lost <= self.base
            && (1..=last_lost.saturating_add(1)).contains(&next_lost);
        if fits && self.are_outcomes(last) {
            Ok(self)
        } else {
            Err(BadRecord)
        }
    }

    /// Whether each message has one of these outcomes at most, and the peer can have told what it has.
    fn are_outcomes(&self, last: u64) -> bool {
        self.failed.iter().enumerate().all(|(at, (number, outcome))| {
            let may_be = match outcome {
                Outcome::Ok => false,
                Outcome::Failed(code) => code.number() != 0 && *number <= self.processed,
                Outcome::NotAgreed(verdict) => *verdict != Verdict::Same,
                Outcome::TooLong | Outcome::Skipped | Outcome::Unknown => true,
            };
            let is_first = self.failed.iter().take(at).all(|(earlier, _)| earlier != number);
            may_be && is_first && (1..=last).contains(number)
        })
    }
}

impl<I> Receiving<I> {
    /// The same, if it can be.
    pub(super) fn checked(self) -> Result<Self, BadRecord> {
        let numbers = self.failed.iter().map(|failure| failure.number);
        let codes = self.failed.iter().all(|failure| failure.code.number() != 0);
        let ascend = [0]
            .into_iter()
            .chain(numbers.clone())
            .is_sorted_by(|before, behind| before < behind);
        let fits = self.processed <= self.received
            && self.received <= MOST_RECEIVED
            && numbers.max().is_none_or(|last| last <= self.processed)
            && ascend
            && codes
            && self.is_consistent();
        if fits { Ok(self) } else { Err(BadRecord) }
    }

    /// Whether what a connection counts fits to that, as a log has it.
    fn is_consistent(&self) -> bool {
        let counters = [self.arriving, self.told_received];
        counters.into_iter().all(|counter| counter <= MOST_RECEIVED)
            && self.last <= self.received
            && (self.processed..=self.received).contains(&self.begun)
            && self.skipped <= self.received - self.processed
            && self.told_processed <= self.told_received
            && self.read_through <= self.told_processed
    }
}
