//! What is shared of a session by whoever sends, and whoever waits for what became of a message.

use core::task::{Poll, Waker};
use std::sync::Arc;

use diset_proto::store::{Replay as _, Unsure};
use diset_proto::{Bound, Outcome, SendError};
use serde::Serialize;

use super::stores::Refusal;
use super::{Place, Receipt, SessionCell, StdSession, WaitError, Waiting, WhenFull, keep};

/// How often who waits for room looks for it by itself.
const LOOK_AGAIN: core::time::Duration = core::time::Duration::from_secs(1);

/// A message that the store never has room for is too long, not one too many.
fn fitting(stored: Result<u64, SendError>, session: &StdSession) -> Result<u64, SendError> {
    match stored {
        Err(SendError::Full(Bound::Session)) if session.replay().refusal() == Some(Refusal::Never) => {
            Err(SendError::TooLong)
        }
        stored => stored,
    }
}

/// What a message is stored as.
struct Storing<'m, T> {
    number: u8,
    message: &'m T,
    unsure: Unsure,
}

impl SessionCell {
    /// Stores a message, and sends it as soon as it can be; its number.
    fn try_send<T: Serialize>(&self, storing: &Storing<'_, T>) -> Result<u64, SendError> {
        let Storing {
            number,
            message,
            unsure,
        } = *storing;
        let mut cell = self.lock();
        match &mut cell.place {
            Place::Here(session) => {
                let stored = session.store(self.catalog, number, message, unsure);
                keep(session);
                fitting(stored, session)
            }
            Place::In(link) => link
                .with_conn_soon(|conn| {
                    let stored = conn.send_acked(number, message, unsure);
                    let Some(session) = conn.session() else { return stored };
                    keep(session);
                    fitting(stored, session)
                })
                .unwrap_or(Err(SendError::NotOpen)),
            Place::Gone => Err(SendError::NotOpen),
        }
    }

    /// As [`try_send`](Self::try_send), but when there is no room does what the settings say.
    /// `tell` is told what was dropped for it.
    async fn send<T: Serialize>(
        &self,
        storing: &Storing<'_, T>,
        tell: impl FnMut(u64, Outcome),
    ) -> Result<u64, SendError> {
        let full = match self.try_send(storing) {
            Err(full @ SendError::Full(_)) => full,
            result => return result,
        };
        match self.when_full {
            WhenFull::Fail => Err(full),
            WhenFull::DropOldest => self.send_for_oldest(storing, tell),
            WhenFull::Wait(limit) => {
                let waiting = tokio::time::timeout(limit, self.wait_to_send(storing));
                waiting.await.unwrap_or(Err(full))
            }
        }
    }

    async fn wait_to_send<T: Serialize>(&self, storing: &Storing<'_, T>) -> Result<u64, SendError> {
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            // Listen before trying, or room that is freed in between would be missed.
            space.as_mut().enable();
            match self.try_send(storing) {
                // What several sessions may store together may have room without a word.
                Err(SendError::Full(_)) => drop(tokio::time::timeout(LOOK_AGAIN, space).await),
                result => return result,
            }
        }
    }

    /// Drops the oldest messages that were never transmitted until there is room.
    fn send_for_oldest<T: Serialize>(
        &self,
        storing: &Storing<'_, T>,
        mut tell: impl FnMut(u64, Outcome),
    ) -> Result<u64, SendError> {
        loop {
            let result = self.try_send(storing);
            if !matches!(result, Err(SendError::Full(_))) {
                return result;
            }
            let mut cell = self.lock();
            // When it is others that take the room, dropping what is here frees none.
            let skip = |session: &mut StdSession| match session.replay().refusal() {
                Some(Refusal::Own) => session.skip_oldest(),
                _ => None,
            };
            let Some(Some(number)) = cell.with_session(skip) else {
                return result;
            };
            cell.note(number, Outcome::Skipped);
            drop(cell);
            tell(number, Outcome::Skipped);
        }
    }

    /// As [`send`](Self::send); what to wait with.
    pub(crate) async fn send_for_receipt<T: Serialize>(
        cell: &Arc<Self>,
        number: u8,
        message: &T,
        unsure: Unsure,
        tell: impl FnMut(u64, Outcome),
    ) -> Result<Receipt, SendError> {
        let storing = Storing {
            number,
            message,
            unsure,
        };
        let number = cell.send(&storing, tell).await?;
        Ok(Receipt {
            cell: Arc::clone(cell),
            number,
        })
    }

    // ── for whoever waits ───────────────────────────────────────────────────────────

    /// What became of a message, if it is known; else wakes whoever asks when it may be.
    /// `all`: it is to be dealt with, not only received.
    pub(super) fn poll_outcome(
        &self,
        number: u64,
        all: bool,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<Result<Outcome, WaitError>> {
        let mut cell = self.lock();
        let known = cell.outcome(number, all, *ticket);
        if let Some(known) = known {
            if let Some(ticket) = ticket.take() {
                cell.waiting.remove(&(number, ticket));
            }
            return Poll::Ready(known);
        }
        let next = cell.next_waiter;
        let own = *ticket.get_or_insert(next);
        if own == next {
            cell.next_waiter += 1;
        }
        let (waker, outcome) = (waker.clone(), None);
        cell.waiting.insert((number, own), Waiting { waker, outcome });
        Poll::Pending
    }

    pub(super) fn forget_waiter(&self, number: u64, ticket: u64) {
        self.lock().waiting.remove(&(number, ticket));
    }

    /// How many messages have no outcome yet: also what a durable peer has and has not dealt with.
    pub(crate) fn stored(&self) -> usize {
        let count = |session: &mut StdSession| session.replay().len().saturating_add(session.awaited().count());
        self.lock().with_session(count).unwrap_or(0)
    }

    /// Waits until all messages have an outcome.
    pub(crate) async fn emptied(&self) {
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            space.as_mut().enable();
            if self.stored() == 0 {
                return;
            }
            space.await;
        }
    }
}
