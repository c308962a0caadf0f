//! What of a session must be kept for it to go on after a restart.

use serde::{Deserialize, Serialize};

use crate::limits::MAX_FAILURES;
use crate::status::Code;
use crate::wire::session::{Failure, Failures};

/// The counters of a session, as they are kept. The messages are kept by the stores.
///
/// Keep a new one, in the same step, with each change of the stores; and before an acceptance
/// leaves.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub(super) began: u64,
    pub(super) token: Option<[u8; 16]>,
    pub(super) former: Option<[u8; 16]>,
    pub(super) next: u64,
    pub(super) base: u64,
    pub(super) settled: u64,
    pub(super) received: u64,
    pub(super) processed: u64,
    pub(super) failed: heapless::Vec<(u64, u16), MAX_FAILURES>,
}

/// A record of a session that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadRecord;

impl core::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the record of the session is damaged: its counters contradict each other")
    }
}

impl core::error::Error for BadRecord {}

impl SessionRecord {
    pub(super) fn failures(&self) -> Result<Failures, BadRecord> {
        let fits = self.base <= self.settled && self.settled < self.next && self.processed <= self.received;
        if !fits {
            return Err(BadRecord);
        }
        let failures = self.failed.iter().map(|(number, code)| Failure {
            number: *number,
            code: Code::from_number(*code),
        });
        Ok(failures.collect())
    }
}

/// The tokens do not show.
impl core::fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SessionRecord")
            .field("began", &self.began)
            .field("next", &self.next)
            .field("settled", &self.settled)
            .field("received", &self.received)
            .field("processed", &self.processed)
            .finish_non_exhaustive()
    }
}
