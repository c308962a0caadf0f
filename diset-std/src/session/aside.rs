//! What was received and told so, and is not handled: the next connection handles it first (PROTOCOL ). It is
//! in the inbox of its session, whatever has become of it on the connection that it came on.

use core::time::Duration;

use diset_proto::Instant;
use diset_proto::store::Inbox as _;

use super::SessionCell;

impl SessionCell {
    /// Whether what was received outlives the process, and the connection that it came on: it will not come again.
    pub(crate) fn is_durable(&self) -> bool {
        self.with_session(|session| session.inbox().is_durable()) == Some(true)
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
}
