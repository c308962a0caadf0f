//! What a session knows of acked messages that wait, and of those of links that are over.

use super::Session;
use crate::id::Trid;
use crate::store::{Inbox, Replay};

impl<R: Replay, I: Inbox> Session<R, I> {
    /// Whether a handler may [begin](Self::begin) now. `None`: never, as the message has its outcome, or comes again.
    pub(crate) fn may_begin(&self, number: u64) -> Option<bool> {
        self.receiving.may_begin(number)
    }

    /// Whether so many messages have failed that none may begin, and nothing on this link will say that they are known: the
    /// next handshake does (PROTOCOL Q-9).
    pub(crate) fn is_stuck(&self) -> bool {
        self.has_too_many_failures() && !self.receiving.to_confirm
    }

    /// Whether it has no outcome, and does not come again.
    pub(crate) fn is_unhandled(&self, began: Trid, number: u64) -> bool {
        if began == self.began() {
            return self.receiving.is_unhandled(number);
        }
        let mut found = false;
        self.inbox().unhandled(&mut |session, stored| {
            found = (session, stored.number) == (began, number);
            !found
        });
        found
    }

    /// Whether its handler may have begun in an earlier process, or was dropped.
    pub(crate) fn may_have_begun(&self, began: Trid, number: u64) -> bool {
        let restored = self.receiving.restored;
        if began == self.began() {
            self.has_begun(number) || number < restored
        } else {
            restored > 0
        }
    }

    /// The connection is over, and what waits has its turn up to this one. The last that does not come again; `None` when
    /// what waits is kept.
    pub(crate) fn waits_through(&mut self, number: u64) -> Option<u64> {
        self.receiving.waits_through(number)
    }

    /// What waits of earlier connections has no turn any more. As [`waits_through`](Self::waits_through).
    pub(crate) fn stop_waiting(&mut self) -> Option<u64> {
        self.receiving.stop_waiting()
    }

    /// A handler that has begun asks for its message again.
    pub(crate) const fn not_begun(&mut self, number: u64) {
        self.receiving.not_begun(number);
    }
}
