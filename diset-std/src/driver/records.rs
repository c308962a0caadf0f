//! A client whose TLS has no key update, and so carries only as many records as it has said: it is sent away before they are used up.

use core::time::Duration;

use diset_proto::limits::MAX_DRAIN;
use diset_proto::{Code, Notice, RetryAfter};

use super::App;
use super::session::Session;
use super::wire::Wire;

/// When it comes back: nearly at once. The spread is for many that all got the same.
const RETURN: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(100));

/// Whether the records of a client are used up.
#[derive(Default)]
pub(super) struct Spent {
    /// It was told to go away.
    is_told: bool,
}

impl Spent {
    /// Takes note of what the client has said, and sends it away when it is time (PROTOCOL G-6).
    pub(super) fn poll<A: App>(&mut self, wire: &mut Wire, session: &mut Session<A>) -> bool {
        if let Some(most) = session.records.take() {
            wire.limit_records(most);
        }
        if self.is_told || !wire.is_near_record_limit() {
            return false;
        }
        self.is_told = true;
        let notice = Notice::new(Code::RecordLimit).with_retry(RetryAfter::new(RETURN.0, RETURN.1));
        session.leave(notice, MAX_DRAIN);
        true
    }
}
