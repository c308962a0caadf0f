//! The messages that this side sends: which are stored, which were transmitted, which have an
//! outcome (PROTOCOL, part Q).
//!
//! Numbers here are those of this side: from 1, ascending for as long as the session object
//! lives, also when the session begins anew. On the wire they count from `base`.

use core::ops::RangeInclusive;

use super::record::{KeptOutcome, SessionRecord};
use super::{Delivered, Outcome};
use crate::definition::{Key, Verdict};
use crate::error::Bound;
use crate::limits::MAX_FAILURES;
use crate::status::Code;
use crate::store::{Replay, Stored, Unsure};
use crate::wire::session::{Ack, Failures, TakerClaim};

/// One direction of a session, as its sender sees it.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Sending<R> {
    pub(super) replay: R,
    /// What the next message gets.
    pub(super) next: u64,
    /// What stands for 0 on the wire.
    pub(super) base: u64,
    /// The last that was ever transmitted.
    pub(super) sent: u64,
    /// The last that the peer has, as far as it is known.
    pub(super) received: u64,
    /// The last that the peer has dealt with, as far as it is known.
    pub(super) processed: u64,
    /// The last that was transmitted on this connection.
    pub(super) cursor: u64,
    /// What the peer has received outlives it.
    pub(super) peer_durable: bool,
    /// Up to here nobody knows what became of the messages that are to be reported.
    pub(super) unknown: u64,
    /// The next and the last of those that a durable peer had, that are stored no more, and of which
    /// nobody knows either.
    pub(super) forgotten: (u64, u64),
    /// All from `processed` to this one a durable peer has; they are stored no more.
    pub(super) freed: u64,
    /// Outcomes that are not Ok, until the user takes them.
    pub(super) failed: heapless::Vec<(u64, Outcome), { 2 * MAX_FAILURES }>,
}

/// What keeps a stored message from leaving, for good.
pub(crate) struct Refused(pub(crate) Outcome);

/// What the peer tells is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// It cannot be.
    Contradiction,
    /// The user must take outcomes first.
    Untaken,
}

impl<R: Replay> Sending<R> {
    pub(super) const fn new(replay: R) -> Self {
        Self {
            replay,
            next: 1,
            base: 0,
            sent: 0,
            received: 0,
            processed: 0,
            cursor: 0,
            peer_durable: false,
            unknown: 0,
            forgotten: (1, 0),
            freed: 0,
            failed: heapless::Vec::new(),
        }
    }

    /// As it was kept, with a store that holds what was kept. Nobody knows what of it was
    /// transmitted.
    pub(super) fn restored(replay: R, record: &SessionRecord) -> Self {
        let outcomes = record.outcomes.iter();
        Self {
            next: record.next,
            base: record.base,
            sent: record.stored().max(record.base),
            received: record.reached,
            processed: record.settled,
            cursor: record.reached,
            peer_durable: record.peer_durable,
            unknown: record.unknown,
            forgotten: record.forgotten,
            freed: record.freed,
            failed: outcomes.map(|(number, kept)| (*number, kept.outcome())).collect(),
            ..Self::new(replay)
        }
    }

    /// Outcomes that the user has not taken.
    pub(super) fn outcomes(&self) -> heapless::Vec<(u64, KeptOutcome), { 2 * MAX_FAILURES }> {
        let outcomes = self.failed.iter();
        outcomes
            .map(|(number, outcome)| (*number, KeptOutcome::of(*outcome)))
            .collect()
    }

    /// A place for a message; its number. It counts when [`commit`](Self::commit) is called.
    pub(super) fn reserve(&mut self, key: Key, unsure: Unsure, len: usize) -> Option<&mut [u8]> {
        let head = Stored {
            number: self.next,
            key,
            unsure,
            repeated: false,
            payload: &[],
        };
        self.replay.reserve(head, len)
    }

    pub(super) fn commit(&mut self) -> u64 {
        self.replay.commit();
        let number = self.next;
        self.next += 1;
        number
    }

    /// Takes out the oldest message that was never transmitted; its number.
    pub(super) fn skip_oldest(&mut self) -> Option<u64> {
        let mut stored = self.replay.after(self.sent)?;
        // That one left in the session before.
        while stored.repeated {
            stored = self.replay.after(stored.number)?;
        }
        let number = stored.number;
        self.replay.remove(number);
        Some(number)
    }

    /// Takes out what must not be sent any more, and tells its outcome: of what has left nobody knows.
    pub(super) fn retract(&mut self, forbidden: impl Fn(Key) -> bool, mut told: impl FnMut(u64, Outcome)) -> u64 {
        let (mut last, mut resent) = (self.received, 0);
        while let Some(stored) = self.replay.after(last) {
            last = stored.number;
            if forbidden(stored.key) && !self.is_lost(&stored) {
                let left = stored.repeated || last <= self.sent;
                resent += u64::from(last <= self.sent);
                self.replay.remove(last);
                told(
                    last,
                    if left {
                        Outcome::Unknown
                    } else {
                        Outcome::NotAgreed(Verdict::Forbidden)
                    },
                );
            }
        }
        resent
    }

    /// Whether a message waits that was not transmitted on this connection, kept or not.
    pub(super) fn is_waiting(&self) -> bool {
        self.cursor.saturating_add(1) < self.next && self.replay.after(self.cursor).is_some()
    }

    /// The message to be transmitted next, and how many numbers before it are skipped. `None` also when
    /// it is not kept yet (PROTOCOL Q-6), and when the user must take outcomes first: the peer could
    /// get past them.
    pub(super) fn front(&self) -> Option<(Stored<'_>, u64)> {
        let stored = self.replay.after(self.cursor)?;
        if stored.number > self.replay.kept() || self.is_lost(&stored) || self.forgotten.0 <= self.forgotten.1 {
            return None;
        }
        let skipped = stored.number.saturating_sub(self.cursor).saturating_sub(1);
        Some((stored, skipped))
    }

    /// Why the message to be transmitted next is held back, when there is one and it is no [`front`](Self::front).
    pub(super) fn held_by(&self) -> Option<Bound> {
        let stored = self.replay.after(self.cursor)?;
        Some(if stored.number > self.replay.kept() {
            Bound::Store
        } else {
            Bound::Outcomes
        })
    }

    /// Whether nobody knows what became of it, which is still to be told to the user.
    fn is_lost(&self, stored: &Stored<'_>) -> bool {
        stored.number <= self.unknown && stored.unsure == Unsure::Report
    }

    /// The front was transmitted.
    pub(super) fn transmitted(&mut self, number: u64) {
        self.cursor = number;
        self.sent = self.sent.max(number);
    }

    /// Whether there is room for an outcome that is not Ok.
    pub(super) fn has_room(&self) -> bool {
        !self.failed.is_full()
    }

    /// The front can never be transmitted, on this connection and later. False when the user must
    /// take outcomes first.
    pub(super) fn refuse(&mut self, number: u64, refused: Refused) -> bool {
        let repeated = self.front().is_some_and(|(stored, _)| stored.repeated);
        // It did leave, on an earlier connection: nobody knows (PROTOCOL Q-5).
        let left = repeated || number <= self.sent;
        let outcome = if left { Outcome::Unknown } else { refused.0 };
        if self.failed.push((number, outcome)).is_err() {
            return false;
        }
        self.replay.remove(number);
        true
    }

    /// The peer has more than before.
    pub(super) fn acked(&mut self, ack: &Ack) -> Result<(), Objection> {
        let received = self.received.checked_add(ack.received);
        let processed = self.processed.checked_add(ack.processed);
        let (Some(received), Some(processed)) = (received, processed) else {
            return Err(Objection::Contradiction);
        };
        if received > self.cursor || processed > received {
            return Err(Objection::Contradiction);
        }
        let from = self.processed;
        self.note(&mut ack.failed.iter().map(|failure| (from + failure.number, failure.code)))?;
        self.progress(received, processed);
        Ok(())
    }

    /// Remembers outcomes that are not Ok, for the user: all of them or none.
    // Called and not copied to its two callers.
    #[inline(never)]
    fn note(&mut self, failed: &mut dyn Iterator<Item = (u64, Code)>) -> Result<(), Objection> {
        let before = self.failed.len();
        for (number, code) in failed {
            // It may have been given up before, when the peer seemed not to have it.
            if number > self.freed && !self.is_stored(number) {
                continue;
            }
            // A user that never takes outcomes would lose them.
            if self.failed.push((number, Outcome::Failed(code))).is_err() {
                self.failed.truncate(before);
                return Err(Objection::Untaken);
            }
        }
        Ok(())
    }

    fn progress(&mut self, received: u64, processed: u64) {
        (self.received, self.processed) = (received, processed);
        self.freed = self.freed.max(processed);
        // PROTOCOL Q-4: up to the first that has its outcome already, so that it is known of which
        // numbers one is still to come.
        while self.peer_durable && self.freed < received && self.is_stored(self.freed + 1) {
            self.freed += 1;
        }
        self.replay.remove_through(self.freed);
    }

    fn is_stored(&self, number: u64) -> bool {
        let before = number.saturating_sub(1);
        self.replay.after(before).is_some_and(|stored| stored.number == number)
    }

    /// Whether what the peer claims can be (PROTOCOL N-3): nothing that it had has gone, and it
    /// has nothing that was never sent.
    pub(super) fn agrees(&self, claim: &TakerClaim) -> bool {
        let (Some(received), Some(processed)) = (
            self.base.checked_add(claim.received),
            self.base.checked_add(claim.processed),
        ) else {
            return false;
        };
        // Also what a durable inbox had before it became another one: it is stored no more.
        let kept = if self.peer_durable { self.received } else { self.freed };
        processed >= self.processed && received >= kept && processed <= received && received <= self.sent
    }

    /// The session goes on, with what the peer claims and has been agreed to; without a claim it takes
    /// none, and all stay as they are (PROTOCOL N-2). How many messages are transmitted again.
    pub(super) fn resume(&mut self, claim: Option<&TakerClaim>, peer_durable: bool) -> Result<u64, Objection> {
        let Some(claim) = claim else {
            self.cursor = self.received;
            return Ok(0);
        };
        let (base, before) = (self.base, self.processed);
        let told = claim.failed.iter().map(|failure| (base + failure.number, failure.code));
        self.note(&mut told.filter(|(number, _)| *number > before))?;
        self.peer_durable = peer_durable;
        let (received, processed) = (self.base + claim.received, self.base + claim.processed);
        self.progress(received, processed);
        self.cursor = received;
        let mut again = 0;
        let mut last = received;
        while let Some(stored) = self.replay.after(last)
            && stored.number <= self.sent
        {
            again += 1;
            last = stored.number;
        }
        Ok(again)
    }

    /// The peer has read nothing of this session: nothing of it has left, as far as it matters.
    #[cfg(feature = "alloc")]
    pub(super) const fn was_not_read(&mut self) {
        self.sent = self.base;
    }

    /// The session begins anew (PROTOCOL N-6): what was never transmitted moves into it; of what was
    /// transmitted and has no outcome nobody knows.
    pub(super) fn start_anew(&mut self, peer_durable: bool) {
        if self.sent > self.processed {
            // Of those that were lost before some may still be to be told.
            self.unknown = self.unknown.max(self.sent);
            let mut last = self.processed;
            while let Some(stored) = self.replay.after(last)
                && stored.number <= self.sent
            {
                last = stored.number;
                self.replay.mark_repeated(last);
            }
        }
        if self.freed > self.processed {
            self.forgotten = (self.processed + 1, self.freed);
            self.processed = self.freed;
        }
        self.base = self.processed;
        self.received = self.base;
        self.sent = self.base;
        self.cursor = self.base;
        self.peer_durable = peer_durable;
    }

    /// The next outcome that is not Ok.
    pub(super) fn take_outcome(&mut self) -> Option<(u64, Outcome)> {
        if let Some((&first, rest)) = self.failed.split_first() {
            self.failed = heapless::Vec::from_slice(rest).unwrap_or_default();
            return Some(first);
        }
        if self.forgotten.0 <= self.forgotten.1 {
            let number = self.forgotten.0;
            self.forgotten.0 += 1;
            return Some((number, Outcome::Unknown));
        }
        let mut last = 0;
        while self.unknown > 0 {
            match self.replay.after(last) {
                Some(stored) if stored.number <= self.unknown => {
                    last = stored.number;
                    if stored.unsure == Unsure::Report {
                        self.replay.remove(last);
                        return Some((last, Outcome::Unknown));
                    }
                }
                _ => self.unknown = 0,
            }
        }
        None
    }

    /// Whether there is one, as far as that is known without a look at the store.
    pub(super) fn has_outcomes(&self) -> bool {
        !self.failed.is_empty() || self.forgotten.0 <= self.forgotten.1
    }

    /// Those that are stored no more as a durable peer has them, and that have no outcome.
    pub(super) const fn awaited(&self) -> RangeInclusive<u64> {
        self.processed.saturating_add(1)..=self.freed
    }

    /// What of this is claimed.
    pub(super) fn claim(&self) -> (u64, u64) {
        (self.processed - self.base, self.sent - self.base)
    }

    /// Whether everything that was transmitted on this connection was dealt with.
    pub(super) const fn is_settled(&self) -> bool {
        self.processed >= self.cursor
    }

    pub(super) const fn delivered(&self) -> Delivered {
        Delivered {
            received: self.received,
            processed: self.processed,
        }
    }
}

/// Outcomes for the peer up to `through`, counted from what was told.
pub(super) fn told_since(failed: &Failures, told: u64, through: u64) -> Failures {
    let mut since = failed.clone();
    since.retain(|failure| failure.number > told && failure.number <= through);
    for failure in &mut since {
        failure.number -= told;
    }
    since
}
