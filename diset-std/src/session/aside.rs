//! What was received and told so, and whose handler has not begun: the next connection handles it first
//! (PROTOCOL ).

use core::time::Duration;
use std::sync::Arc;

use diset_proto::store::Inbox as _;
use diset_proto::{Instant, Kept, Outcome, Trid};

use super::{Place, SessionCell};
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
    /// Messages that were received and will not be handled where they were. Without a file they come
    /// again by themselves.
    pub(crate) fn set_aside(&self, messages: impl Iterator<Item = Aside>) {
        let mut cell = self.lock();
        if cell.with_session(|session| session.inbox().is_durable()) == Some(true) {
            cell.aside.extend(messages);
        }
    }

    /// Whether messages wait to be handled by the next connection.
    pub(crate) fn has_aside(&self) -> bool {
        !self.lock().aside.is_empty()
    }

    /// How many messages, and how many bytes of payload, wait to be handled by the next connection, and for how
    /// long there has been none; `None` while there is one, or when nothing waits.
    pub(crate) fn left_behind(&self, now: Instant) -> Option<(usize, usize, Duration)> {
        let mut cell = self.lock();
        let away = cell.absent_for(now)?;
        let messages = Some(cell.aside.len()).filter(|messages| *messages > 0)?;
        let bytes = cell.with_session(|session| session.inbox().bytes())?;
        Some((messages, bytes, away))
    }

    /// The next message that was set aside, when the session is in this connection; its handler begins.
    pub(crate) fn take_aside(&self, link: &Arc<Link>) -> Result<Option<Aside>, TooManyFailures> {
        let mut cell = self.lock();
        if !matches!(&cell.place, Place::In(other) if Arc::ptr_eq(other, link)) {
            return Ok(None);
        }
        let Some(aside) = cell.aside.pop_front() else {
            return Ok(None);
        };
        // One of a former beginning has no number in this one.
        let begins = cell.with_session(|session| session.began() != aside.began || session.begin(aside.number));
        if begins == Some(true) {
            return Ok(Some(aside));
        }
        cell.aside.push_front(aside);
        if begins.is_none() {
            Ok(None)
        } else {
            Err(TooManyFailures)
        }
    }

    /// A message that was taken and came to no end is the next one again.
    pub(crate) fn put_back_aside(&self, aside: Aside) {
        self.lock().aside.push_front(aside);
    }

    /// A message that was set aside came to this end.
    pub(crate) fn settle_aside(&self, began: Trid, number: u64, outcome: Outcome) {
        let mut cell = self.lock();
        cell.with_session(|session| {
            if session.began() == began {
                session.settle(number, outcome);
            } else {
                session.inbox_mut().handled_before(began, number);
            }
        });
    }
}
