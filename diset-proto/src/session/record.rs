//! What of a session must be kept for it to go on after a restart.

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::definition::Verdict;
use crate::id::Trid;
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
    pub(super) is_unread: bool,
    pub(super) is_bare: bool,
    pub(super) spare: heapless::Vec<[u8; 16], 2>,
    pub(super) replaced: Option<[u8; 16]>,
    pub(super) next: u64,
    pub(super) base: u64,
    pub(super) settled: u64,
    /// Of what was sent: the last that the peer was known to have, whether that outlives it, and up to
    /// where nobody knows what became of what.
    pub(super) reached: u64,
    pub(super) peer_durable: bool,
    pub(super) unknown: u64,
    pub(super) forgotten: (u64, u64),
    pub(super) freed: u64,
    /// Outcomes of what was sent that the user has not taken.
    pub(super) outcomes: heapless::Vec<(u64, KeptOutcome), { 2 * MAX_FAILURES }>,
    pub(super) received: u64,
    pub(super) processed: u64,
    pub(super) failed: heapless::Vec<(u64, u16), MAX_FAILURES>,
}

/// An [`Outcome`] that is not Ok, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeptOutcome {
    Failed(u16),
    NotAgreed(u8),
    TooLong,
    Skipped,
    Unknown,
}

impl KeptOutcome {
    pub(super) const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed(code) => Self::Failed(code.number()),
            Outcome::NotAgreed(verdict) => Self::NotAgreed(verdict.number()),
            Outcome::TooLong => Self::TooLong,
            Outcome::Skipped => Self::Skipped,
            // Ok is not kept one by one.
            Outcome::Unknown | Outcome::Ok => Self::Unknown,
        }
    }

    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Failed(code) => Outcome::Failed(Code::from_number(code)),
            Self::NotAgreed(verdict) => Outcome::NotAgreed(Verdict::from_number(verdict)),
            Self::TooLong => Outcome::TooLong,
            Self::Skipped => Outcome::Skipped,
            Self::Unknown => Outcome::Unknown,
        }
    }
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
    /// The connection with which the session began.
    pub const fn began(&self) -> Trid {
        Trid::new(self.began)
    }

    /// The number of the last message that this side has stored; 0 when there was none.
    pub const fn stored(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The number of the last message that was received.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Up to which number the messages of the peer are dealt with.
    pub const fn processed(&self) -> u64 {
        self.processed
    }

    pub(super) fn failures(&self) -> Failures {
        let failures = self.failed.iter().map(|(number, code)| Failure {
            number: *number,
            code: Code::from_number(*code),
        });
        failures.collect()
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

#[cfg(test)]
mod tests {
    use super::super::{Refused, Session};
    use super::*;
    use crate::definition::Key;
    use crate::store::{FixedReplay, Inbox, Unsure};
    use crate::wire::session::{Ack, Directions, NewReason, Resume};

    type Kept = Session<FixedReplay<[u8; 512]>, Watched>;

    /// Remembers when it was told to begin anew.
    #[derive(Debug, Clone, Default)]
    struct Watched(Option<Trid>);

    impl Inbox for Watched {
        fn begin_anew(&mut self, began: Trid) {
            self.0 = Some(began);
        }
    }

    const LOST: Resume = Resume {
        known: None,
        directions: Directions {
            sends: true,
            takes: true,
            durable: false,
        },
    };

    fn session() -> Kept {
        let mut session = Session::new(FixedReplay::new([0; 512]), Watched::default());
        session.begin_with(&LOST, Trid::new(1), NewReason::First, None);
        session
    }

    fn store(session: &mut Kept, unsure: Unsure) -> u64 {
        session.store_by_key(Key::from_bytes([1; 16]), &7u32, unsure).unwrap()
    }

    fn restarted(session: &Kept) -> Kept {
        Session::restore(&session.record(), session.replay().clone(), session.inbox().clone()).unwrap()
    }

    /// PROTOCOL N-6: what is to be reported is not sent again, also when the process ends in between.
    #[test]
    fn what_nobody_knows_of_is_reported_after_a_restart() {
        let mut session = session();
        for unsure in [Unsure::Report, Unsure::Resend] {
            let number = store(&mut session, unsure);
            session.transmitted(number);
        }
        session.begin_with(&LOST, Trid::new(2), NewReason::First, None);
        let mut session = restarted(&session);
        assert_eq!(session.take_outcome(), Some((1, Outcome::Unknown)));
        let next = session
            .front()
            .map(|(stored, skipped)| (stored.number, skipped, stored.repeated));
        assert_eq!(next, Some((2, 1, true)));
        assert_eq!(session.take_outcome(), None);
    }

    /// PROTOCOL Q-5: each gets its outcome, also when it was not taken before the process ends.
    #[test]
    fn outcomes_that_were_not_taken_are_there_after_a_restart() {
        let outcomes = [
            Outcome::NotAgreed(Verdict::Forbidden),
            Outcome::TooLong,
            Outcome::Skipped,
            Outcome::Unknown,
        ];
        let mut session = session();
        let number = store(&mut session, Unsure::Report);
        session.transmitted(number);
        let code = Code::HandlerFailed;
        let ack = Ack {
            received: 1,
            processed: 1,
            failed: [Failure { number, code }].into_iter().collect(),
        };
        session.acked(&ack).unwrap();
        for outcome in outcomes {
            let number = store(&mut session, Unsure::Report);
            assert!(session.refuse(number, Refused(outcome)));
        }
        let mut session = restarted(&session);
        let taken: Vec<_> = core::iter::from_fn(|| session.take_outcome()).collect();
        let all = [Outcome::Failed(code)].into_iter().chain(outcomes);
        assert_eq!(taken, (1..).zip(all).collect::<Vec<_>>());
    }

    #[test]
    fn an_inbox_is_told_that_numbers_count_anew() {
        let mut session = session();
        assert_eq!(session.inbox().0, Some(Trid::new(1)));
        session.begin_with(&LOST, Trid::new(9), NewReason::First, None);
        assert_eq!(session.inbox().0, Some(Trid::new(9)));
        let record = session.record();
        assert_eq!(
            (record.began(), record.stored(), record.received(), record.processed()),
            (Trid::new(9), 0, 0, 0)
        );
    }

    #[test]
    fn a_record_that_cannot_be_is_refused() {
        let good = session().record();
        let bad = [
            SessionRecord {
                base: 1,
                ..good.clone()
            },
            SessionRecord {
                reached: 1,
                ..good.clone()
            },
            SessionRecord {
                unknown: 1,
                ..good.clone()
            },
            SessionRecord {
                processed: 1,
                ..good.clone()
            },
        ];
        for record in bad {
            let store = FixedReplay::new([0; 512]);
            assert!(
                Session::restore(&record, store, Watched::default()).is_err(),
                "{record:?}"
            );
        }
    }
}
