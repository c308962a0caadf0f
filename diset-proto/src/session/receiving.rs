//! The messages that this side receives: which have come, which are dealt with, what was told of
//! that (PROTOCOL, part Q). Numbers are those on the wire.

use super::Outcome;
use super::record::SessionRecord;
use super::sending::told_since;
use crate::id::Trid;
use crate::limits::MAX_FAILURES;
use crate::status::Code;
use crate::store::{Inbox, Stored};
use crate::wire::session::{Ack, Failure, Failures, SenderClaim, TakerClaim};

/// Numbers that are skipped end here (PROTOCOL Q-3), so that there are always some behind them.
const LAST_NUMBER: u64 = u64::MAX / 2;

/// One direction of a session, as its receiver sees it.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Receiving<I> {
    pub(super) inbox: I,
    /// The last that has come, and stays.
    pub(super) received: u64,
    /// The last that is a message; the numbers behind it were skipped.
    pub(super) last: u64,
    /// The last whose handler has begun.
    pub(super) begun: u64,
    /// The last that is dealt with: all before are.
    pub(super) processed: u64,
    /// How many numbers behind `processed` are known to be no messages.
    pub(super) skipped: u64,
    /// Outcomes that are not Ok, until the peer is known to know them.
    pub(super) failed: Failures,
    /// The last that has come on this connection.
    pub(super) arriving: u64,
    /// What the next message may be.
    pub(super) repeated: bool,
    /// The process was killed, and what it had is not known exactly.
    pub(super) killed: bool,
    /// What comes up to this one may have been dealt with before.
    pub(super) repeated_through: u64,
    pub(super) told_received: u64,
    pub(super) told_processed: u64,
    /// The last that waits in front of a plain message of a connection that is over: it stays as well.
    pub(super) waits: u64,
    /// The process began with what a former one had received: one more than the last of it, else 0.
    pub(super) restored: u64,
    /// From here on the peer counts the outcomes that it keeps (PROTOCOL Q-9).
    pub(super) read_through: u64,
    /// Those up to there were told in the handshake, and are not confirmed.
    pub(super) to_confirm: bool,
}

/// A message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is this one.
    New { number: u64, repeated: bool },
    /// It was here before.
    Duplicate,
    /// There is no room for it.
    NoRoom,
}

impl<I: Inbox> Receiving<I> {
    pub(super) const fn new(inbox: I) -> Self {
        Self {
            inbox,
            received: 0,
            last: 0,
            begun: 0,
            processed: 0,
            skipped: 0,
            failed: Failures::new(),
            arriving: 0,
            repeated: false,
            killed: false,
            repeated_through: 0,
            told_received: 0,
            told_processed: 0,
            waits: 0,
            restored: 0,
            read_through: 0,
            to_confirm: false,
        }
    }

    /// As it was kept. What an inbox does not keep comes again.
    pub(super) fn restored(inbox: I, record: &SessionRecord) -> Self {
        let processed = record.processed;
        let received = if inbox.is_durable() {
            record.received
        } else {
            record.received.min(processed)
        };
        Self {
            killed: true,
            restored: received.saturating_add(1),
            received,
            last: received,
            begun: processed,
            processed,
            failed: record.failures(),
            ..Self::new(inbox)
        }
    }

    /// The next message has come. Numbers are implicit (PROTOCOL Q-1).
    pub(super) fn arrive(&mut self, message: Stored<'_>) -> Arrival {
        let number = self.arriving.saturating_add(1);
        let repeated = core::mem::take(&mut self.repeated) || number <= self.repeated_through;
        if number <= self.received {
            self.arriving = number;
            return Arrival::Duplicate;
        }
        // It may fail, and there must be room for that: those that wait are told when they are kept. The
        // one that is with its handler may fail, too, and does not end this connection if it came on an
        // earlier one.
        let running = usize::from(self.begun > self.processed);
        if self.failed.len() + running >= MAX_FAILURES
            || !self.inbox.put(Stored {
                number,
                repeated,
                ..message
            })
        {
            return Arrival::NoRoom;
        }
        self.arriving = number;
        (self.received, self.last) = (number, number);
        Arrival::New { number, repeated }
    }

    /// Some numbers will never come. `None`: more than there are.
    pub(super) fn skip(&mut self, count: u64, repeated: bool) -> Option<()> {
        let arriving = self.arriving.checked_add(count)?;
        self.arriving = (arriving <= LAST_NUMBER).then_some(arriving)?;
        self.repeated = repeated;
        if self.arriving > self.received {
            self.skipped += self.arriving - self.received;
            self.received = self.arriving;
            if self.processed >= self.last {
                self.skipped = 0;
                self.done_through(self.received);
            }
        }
        Some(())
    }

    /// A message of the peer that it should not have sent. When it is the only one that is not
    /// dealt with, that is its outcome: it must not come again (PROTOCOL Q-5).
    pub(super) fn refuse_arrival(&mut self, message: Stored<'_>, code: Code) {
        if self.processed == self.received
            && let Arrival::New { number, .. } = self.arrive(message)
        {
            self.settle(number, Outcome::Failed(code));
        }
    }

    /// Its handler is about to run, and its outcome counts on whatever connection (PROTOCOL Q-8); false
    /// when it is not to.
    pub(super) fn begin(&mut self, number: u64) -> bool {
        if self.may_begin(number) != Some(true) {
            return false;
        }
        self.begun = self.begun.max(number);
        true
    }

    /// Whether its handler may run now; `None` when it is not to at all: it has its outcome, or comes again.
    pub(super) fn may_begin(&self, number: u64) -> Option<bool> {
        // There are few outcomes at a time on a connection; an inbox can have more (PROTOCOL Q-5).
        self.is_unhandled(number)
            .then(|| !self.failed.is_full() && !self.passes_over(number))
    }

    /// Whether it has come, and has no outcome.
    pub(super) const fn is_unhandled(&self, number: u64) -> bool {
        number > self.processed && number <= self.received
    }

    /// Its handler has begun, and is to begin anew: for an end it is one that has not.
    pub(super) const fn not_begun(&mut self, number: u64) {
        if number > self.processed && number <= self.begun {
            self.begun = number - 1;
        }
    }

    /// It was looked into, and waits for its turn: its outcome counts on whatever connection.
    pub(super) fn decoded(&mut self, number: u64) {
        if self.is_unhandled(number) && !self.failed.is_full() {
            self.begun = self.begun.max(number);
        }
    }

    /// Whether a message before this one is not dealt with.
    fn passes_over(&self, number: u64) -> bool {
        if self.inbox.is_durable() {
            self.inbox.first().is_some_and(|first| first < number)
        } else {
            number - self.processed - 1 > self.skipped
        }
    }

    /// This one came to this end, as all before it have. False when one before it has not, which would be told to be
    /// dealt with though nobody has: then this one has no outcome either, and both come again. False, too, when there is
    /// no room for its outcome: it has none.
    pub(super) fn settle(&mut self, number: u64, outcome: Outcome) -> bool {
        if number <= self.processed || number > self.received {
            return true;
        }
        let is_failed = matches!(outcome, Outcome::Failed(_));
        if is_failed && self.processed < self.begun && self.begun < number {
            // An earlier one is with its handler, and has its outcome still to come. This one
            // was not begun, so it will come again.
            return true;
        }
        if self.passes_over(number) {
            self.begun = self.processed;
            return false;
        }
        if let Outcome::Failed(code) = outcome {
            if self.failed.push(Failure { number, code }).is_err() {
                // There is room for more than there can be (PROTOCOL Q-5). If not: rather never an
                // outcome than a wrong one.
                return false;
            }
            // Nothing behind it runs (PROTOCOL M-4).
            self.begun = number;
        }
        // An inbox that had this one knows whether one of those behind it is a message, also after a restart.
        let knows = self.inbox.is_durable() && self.inbox.first() == Some(number);
        let before = self.processed;
        self.done_through(number);
        if knows && self.inbox.first().is_none() {
            self.last = number;
        }
        if number >= self.last && self.received > number {
            self.done_through(self.received);
        }
        self.skipped = self.skipped.saturating_sub(self.processed - before - 1);
        true
    }

    fn done_through(&mut self, number: u64) {
        self.processed = number;
        self.begun = self.begun.max(number);
        self.inbox.done_through(number);
    }

    /// What may be told: no more than is kept (PROTOCOL Q-6).
    fn tellable(&self) -> (u64, u64) {
        let (received, processed) = self.inbox.kept();
        let processed = self.processed.min(processed);
        // What was dealt with was received, whatever the inbox makes of numbers that are skipped.
        (self.received.min(received).max(processed), processed)
    }

    /// How much has not been told yet: received, dealt with. Of what was kept after the claim only
    /// what has come again: the peer does not know that it was here (PROTOCOL Q-2).
    pub(super) fn untold(&self) -> (u64, u64) {
        let (received, processed) = self.tellable();
        (
            received.min(self.arriving).saturating_sub(self.told_received),
            processed.min(self.arriving).saturating_sub(self.told_processed),
        )
    }

    /// What has not been told, and counts as told from now on.
    pub(super) fn tell(&mut self) -> Ack {
        let (received, processed) = self.untold();
        let through = self.told_processed + processed;
        let failed = told_since(&self.failed, self.told_processed, through);
        self.told_received += received;
        self.told_processed = through;
        Ack {
            received,
            processed,
            failed,
        }
    }

    /// What was taken to be told was not.
    pub(super) const fn untell(&mut self, ack: &Ack) {
        self.told_received -= ack.received;
        self.told_processed -= ack.processed;
    }

    /// What is claimed in the handshake, and counts as told from now on; `None` when this side takes none.
    pub(super) fn claim(&mut self) -> Option<TakerClaim> {
        let (mut received, processed) = self.tellable();
        if !self.inbox.is_durable() {
            // What waits may still be forgotten (PROTOCOL Q-4).
            received = received.min(self.processed.max(self.begun));
        }
        (self.told_received, self.told_processed) = (received, processed);
        (self.arriving, self.read_through) = (received, processed);
        self.repeated = false;
        self.to_confirm = self.inbox.takes();
        self.to_confirm.then(|| TakerClaim {
            received,
            processed,
            failed: told_since(&self.failed, 0, processed),
        })
    }

    /// The session goes on with a peer that claims this. What it has sent before a kill may have
    /// been dealt with then (PROTOCOL Q-3).
    pub(super) fn resume(&mut self, claim: SenderClaim) {
        self.confirm(claim.settled);
        if core::mem::take(&mut self.killed) {
            self.repeated_through = claim.sent;
        }
    }

    /// The peer knows all outcomes up to this one.
    fn confirm(&mut self, number: u64) {
        self.failed.retain(|failure| failure.number > number);
    }

    /// The peer keeps the outcomes of so many more. `None`: of more than it was told.
    pub(super) fn outcomes_read(&mut self, count: u64) -> Option<()> {
        let through = self.read_through.checked_add(count)?;
        self.read_through = (through <= self.told_processed).then_some(through)?;
        self.confirm(through);
        Some(())
    }

    /// The peer has read the handshake.
    pub(super) fn confirm_handshake(&mut self) {
        if core::mem::take(&mut self.to_confirm) {
            self.confirm(self.read_through);
        }
    }

    /// Whether what the peer claims can be (PROTOCOL N-3): it knows of no outcome that was not told,
    /// and has sent what has come.
    pub(super) const fn agrees(&self, claim: SenderClaim) -> bool {
        claim.settled <= self.processed && claim.sent >= self.received
    }

    /// The connection is over: what was not begun comes again, unless it is kept, or waits where its turn still comes.
    pub(super) fn detach(&mut self) {
        self.forget_above(self.processed.max(self.begun).max(self.waits));
    }

    /// The connection is over, and what waits has its turn up to this one. The last that does not come again; `None` when
    /// all is kept.
    pub(super) fn waits_through(&mut self, number: u64) -> Option<u64> {
        self.waits = number;
        let stays = self.processed.max(self.begun).max(number);
        (!self.inbox.is_durable()).then_some(stays)
    }

    /// What waits of earlier connections has no turn any more. What has come again on this one, and was dropped for that,
    /// waits on. As [`waits_through`](Self::waits_through).
    pub(super) fn stop_waiting(&mut self) -> Option<u64> {
        self.waits = 0;
        self.forget_above(self.processed.max(self.begun).max(self.arriving));
        (!self.inbox.is_durable()).then_some(self.received)
    }

    fn forget_above(&mut self, above: u64) {
        if !self.inbox.is_durable() {
            let above = above.min(self.received);
            (self.received, self.last) = (above, above);
            self.skipped = self.skipped.min((above - self.processed).saturating_sub(1));
        }
    }

    /// The session begins anew.
    pub(super) fn start_anew(&mut self, began: Trid) {
        self.inbox.begin_anew(began);
        (self.received, self.last, self.begun, self.processed, self.skipped) = (0, 0, 0, 0, 0);
        (self.told_received, self.told_processed, self.arriving) = (0, 0, 0);
        (self.to_confirm, self.read_through) = (false, 0);
        (self.repeated, self.killed, self.repeated_through, self.waits) = (false, false, 0, 0);
        self.restored = self.restored.min(1);
        self.failed.clear();
    }
}

#[cfg(test)]
mod tests;
