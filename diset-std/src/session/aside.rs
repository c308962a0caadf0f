//! What was received and told so, and is not handled: the next connection handles it first (PROTOCOL ). It is
//! in the inbox of its session, whatever has become of it on the connection that it came on.

use core::time::Duration;
use std::sync::Arc;

use diset_proto::store::{Inbox as _, Stored};
use diset_proto::{Instant, Kept, Outcome, Trid};

use super::{Place, SessionCell, keep};
use crate::link::Link;

/// A message that was received on a former connection, or by a former process.
#[derive(Debug)]
pub(crate) struct Aside {
    /// Its session began so.
    pub(crate) began: Trid,
    pub(crate) number: u64,
    /// `None`: its definition is not there any more.
    pub(crate) message: Option<Kept>,
}

/// So many messages have failed that the peer has not confirmed that no handler may begin
/// (PROTOCOL Q-5).
#[derive(Debug)]
pub(crate) struct TooManyFailures;

impl SessionCell {
    /// Whether what was received outlives the process, and the connection that it came on: it will not come again.
    pub(crate) fn is_durable(&self) -> bool {
        self.with_session(|session| session.inbox().is_durable()) == Some(true)
    }

    /// Whether messages of former connections wait to be handled by the one that has the session.
    pub(crate) fn has_aside(&self) -> bool {
        self.with_session(|session| session.inbox().carried().is_some()) == Some(true)
    }

    /// Whether messages were received that are not handled, and will not come again.
    pub(crate) fn has_unhandled(&self) -> bool {
        self.with_session(|session| session.inbox().len() > 0) == Some(true)
    }

    /// How many messages, and how many bytes of payload, wait to be handled by the next connection, and for how
    /// long there has been none; `None` while there is one, or when nothing waits.
    pub(crate) fn left_behind(&self, now: Instant) -> Option<(usize, usize, Duration)> {
        let mut cell = self.lock();
        let away = cell.absent_for(now)?;
        let (messages, bytes) = cell.with_session(|session| (session.inbox().len(), session.inbox().bytes()))?;
        (messages > 0).then_some((messages, bytes, away))
    }

    /// The next message of former connections, when the session is in this one; its handler begins.
    pub(crate) fn take_aside(&self, link: &Arc<Link>) -> Result<Option<Aside>, TooManyFailures> {
        let mut cell = self.lock();
        if !matches!(&cell.place, Place::In(other) if Arc::ptr_eq(other, link)) {
            return Ok(None);
        }
        let taken = cell.with_session(|session| {
            let Some((began, stored)) = session.inbox().carried() else {
                return Ok(None);
            };
            let is_here = began == session.began();
            let number = stored.number;
            let message = Stored {
                // A handler that was dropped has not said how far it got.
                repeated: stored.repeated || (is_here && session.has_begun(number)),
                ..stored
            };
            let message = Kept::restored(self.catalog, message);
            // One of a former beginning has no number in this one.
            if is_here && !session.begin(number) {
                return Err(TooManyFailures);
            }
            Ok(Some(Aside { began, number, message }))
        });
        taken.unwrap_or(Ok(None))
    }

    /// A message that was taken came to this end.
    pub(crate) fn settle_aside(&self, began: Trid, number: u64, outcome: Outcome) {
        let mut cell = self.lock();
        cell.with_session(|session| {
            if session.began() == began {
                session.settle(number, outcome);
            } else {
                session.inbox_mut().handled_before(began, number);
            }
            // A failure is in the file no later than a message behind it that its handler commits.
            keep(session);
        });
    }
}
