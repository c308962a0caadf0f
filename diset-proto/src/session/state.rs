//! All that a session knows, for a log that replays (feature `record`). What must outlive a
//! restart is less: [`SessionRecord`](super::SessionRecord).

use serde::{Deserialize, Serialize};

use super::link::Link;
use super::receiving::Receiving;
use super::sending::Sending;
use super::{BadRecord, Outcome, Resumption, Session, Shown};
use crate::definition::Verdict;
use crate::id::{Token, Trid};
use crate::limits::MAX_FAILURES;
use crate::status::Code;
use crate::store::{Inbox, Replay};
use crate::time::Instant;
use crate::wire::session::{Failure, NewReason, NextKey};

/// Every counter of a session, and its tokens. They do not show in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    began: u64,
    newest: u64,
    token: Option<[u8; 16]>,
    former: Option<[u8; 16]>,
    spare: heapless::Vec<[u8; 16], 2>,
    replaced: Option<[u8; 16]>,
    is_unread: bool,
    is_bare: bool,
    /// How many messages are replayed, or the number of the reason why it is new.
    resumption: Option<Result<u64, u8>>,
    sending: SendingState,
    receiving: ReceivingState,
    link: LinkState,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SendingState {
    next: u64,
    base: u64,
    sent: u64,
    received: u64,
    processed: u64,
    cursor: u64,
    peer_durable: bool,
    unknown: u64,
    forgotten: (u64, u64),
    freed: u64,
    /// Numbers and outcomes: kind, and code or verdict.
    failed: heapless::Vec<(u64, u8, u16), { 2 * MAX_FAILURES }>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReceivingState {
    received: u64,
    last: u64,
    begun: u64,
    processed: u64,
    skipped: u64,
    failed: heapless::Vec<(u64, u16), MAX_FAILURES>,
    arriving: u64,
    repeated: bool,
    killed: bool,
    repeated_through: u64,
    told_received: u64,
    told_processed: u64,
    read_through: u64,
    to_confirm: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LinkState {
    sends: bool,
    takes: bool,
    is_fresh: bool,
    lent: u64,
    ack: bool,
    ack_waits: u64,
    ack_at: Option<u64>,
    is_next_told: bool,
    keys: u8,
    next_key: Option<([u8; 32], u32)>,
}

impl SessionState {
    /// The last number that was given to a message of this side.
    pub const fn sent(&self) -> u64 {
        self.sending.next.saturating_sub(1)
    }

    /// The last message of the peer that has come.
    pub const fn received(&self) -> u64 {
        self.receiving.received
    }
}

impl core::fmt::Debug for SessionState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SessionState")
            .field("began", &self.began)
            .field("sent", &self.sent())
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}

impl<R: Replay, I: Inbox> Session<R, I> {
    pub(crate) fn state(&self) -> SessionState {
        let Self {
            sending,
            receiving,
            began,
            token,
            shown:
                Shown {
                    newest,
                    former,
                    is_unread,
                    is_bare,
                    spare,
                    replaced,
                },
            resumption,
            link,
        } = self;
        SessionState {
            began: began.number(),
            newest: newest.number(),
            token: token.map(|token| *token.as_bytes()),
            former: former.map(|token| *token.as_bytes()),
            spare: spare.iter().map(|token| *token.as_bytes()).collect(),
            replaced: replaced.map(|token| *token.as_bytes()),
            is_unread: *is_unread,
            is_bare: *is_bare,
            resumption: resumption.map(|resumption| match resumption {
                Resumption::Resumed { replayed } => Ok(replayed),
                Resumption::New { why } => Err(why.number()),
            }),
            sending: sending.state(),
            receiving: receiving.state(),
            link: link.state(),
        }
    }

    /// One that stood like this.
    pub(crate) fn with_state(state: &SessionState, replay: R, inbox: I) -> Result<Self, BadRecord> {
        Ok(Self {
            sending: Sending::with_state(&state.sending, replay)?,
            receiving: Receiving::with_state(&state.receiving, inbox)?,
            began: Trid::new(state.began),
            token: state.token.map(Token::from_bytes),
            shown: Shown {
                newest: Trid::new(state.newest),
                former: state.former.map(Token::from_bytes),
                is_unread: state.is_unread,
                is_bare: state.is_bare,
                spare: state.spare.iter().copied().map(Token::from_bytes).collect(),
                replaced: state.replaced.map(Token::from_bytes),
            },
            resumption: state.resumption.map(|resumption| match resumption {
                Ok(replayed) => Resumption::Resumed { replayed },
                Err(why) => Resumption::New {
                    why: NewReason::from_number(why),
                },
            }),
            link: Link::with_state(&state.link),
        })
    }

    /// The last message of the peer that was counted on this connection.
    pub(crate) const fn arriving(&self) -> u64 {
        self.receiving.arriving
    }
}

impl<R> Sending<R> {
    fn state(&self) -> SendingState {
        let Self {
            replay: _,
            next,
            base,
            sent,
            received,
            processed,
            cursor,
            peer_durable,
            unknown,
            forgotten,
            freed,
            failed,
        } = self;
        let failed = failed.iter().map(|(number, outcome)| {
            let (kind, detail) = SendingState::numbers(*outcome);
            (*number, kind, detail)
        });
        SendingState {
            next: *next,
            base: *base,
            sent: *sent,
            received: *received,
            processed: *processed,
            cursor: *cursor,
            peer_durable: *peer_durable,
            unknown: *unknown,
            forgotten: *forgotten,
            freed: *freed,
            failed: failed.collect(),
        }
    }

    fn with_state(state: &SendingState, replay: R) -> Result<Self, BadRecord> {
        let mut failed = heapless::Vec::new();
        for (number, kind, detail) in &state.failed {
            let outcome = SendingState::outcome(*kind, *detail)?;
            failed.push((*number, outcome)).map_err(|_| BadRecord)?;
        }
        let sending = Self {
            replay,
            next: state.next,
            base: state.base,
            sent: state.sent,
            received: state.received,
            processed: state.processed,
            cursor: state.cursor,
            peer_durable: state.peer_durable,
            unknown: state.unknown,
            forgotten: state.forgotten,
            freed: state.freed,
            failed,
        };
        sending.checked()
    }
}

impl<I> Receiving<I> {
    fn state(&self) -> ReceivingState {
        let Self {
            inbox: _,
            received,
            last,
            begun,
            processed,
            skipped,
            failed,
            arriving,
            repeated,
            killed,
            repeated_through,
            told_received,
            told_processed,
            waits: _,
            restored: _,
            to_confirm,
            read_through,
        } = self;
        let failed = failed.iter().map(|failure| (failure.number, failure.code.number()));
        ReceivingState {
            received: *received,
            last: *last,
            begun: *begun,
            processed: *processed,
            skipped: *skipped,
            failed: failed.collect(),
            arriving: *arriving,
            repeated: *repeated,
            killed: *killed,
            repeated_through: *repeated_through,
            told_received: *told_received,
            told_processed: *told_processed,
            to_confirm: *to_confirm,
            read_through: *read_through,
        }
    }

    fn with_state(state: &ReceivingState, inbox: I) -> Result<Self, BadRecord> {
        let receiving = Self {
            inbox,
            received: state.received,
            last: state.last,
            begun: state.begun,
            processed: state.processed,
            skipped: state.skipped,
            failed: state.failures().collect(),
            arriving: state.arriving,
            repeated: state.repeated,
            killed: state.killed,
            repeated_through: state.repeated_through,
            told_received: state.told_received,
            told_processed: state.told_processed,
            // In a log of a connection none of its messages waits for another one.
            waits: 0,
            restored: 0,
            to_confirm: state.to_confirm,
            read_through: state.read_through,
        };
        receiving.checked()
    }
}

impl Link {
    fn state(&self) -> LinkState {
        let Self {
            sends,
            takes,
            is_fresh,
            lent,
            ack,
            ack_waits,
            ack_at,
            is_next_told,
            keys,
            next_key,
        } = self;
        LinkState {
            sends: *sends,
            takes: *takes,
            is_fresh: *is_fresh,
            lent: *lent,
            ack: *ack,
            ack_waits: *ack_waits as u64,
            ack_at: ack_at.map(Instant::as_millis),
            is_next_told: *is_next_told,
            keys: *keys,
            next_key: next_key.as_ref().map(|next| (next.hash, next.seconds)),
        }
    }

    fn with_state(state: &LinkState) -> Self {
        Self {
            sends: state.sends,
            takes: state.takes,
            is_fresh: state.is_fresh,
            lent: state.lent,
            ack: state.ack,
            ack_waits: usize::try_from(state.ack_waits).unwrap_or(usize::MAX),
            ack_at: state.ack_at.map(Instant::from_millis),
            is_next_told: state.is_next_told,
            keys: state.keys,
            next_key: state.next_key.map(|(hash, seconds)| NextKey { hash, seconds }),
        }
    }
}

impl SendingState {
    fn outcome(kind: u8, detail: u16) -> Result<Outcome, BadRecord> {
        Ok(match kind {
            1 => Outcome::Failed(Code::from_number(detail)),
            2 => Outcome::NotAgreed(Verdict::from_number(u8::try_from(detail).map_err(|_| BadRecord)?)),
            3 => Outcome::TooLong,
            4 => Outcome::Skipped,
            5 => Outcome::Unknown,
            _ => return Err(BadRecord),
        })
    }

    const fn numbers(outcome: Outcome) -> (u8, u16) {
        match outcome {
            Outcome::Ok => (0, 0),
            Outcome::Failed(code) => (1, code.number()),
            Outcome::NotAgreed(verdict) => (2, verdict.number() as u16),
            Outcome::TooLong => (3, 0),
            Outcome::Skipped => (4, 0),
            Outcome::Unknown => (5, 0),
        }
    }
}

impl ReceivingState {
    fn failures(&self) -> impl Iterator<Item = Failure> {
        self.failed.iter().map(|(number, code)| Failure {
            number: *number,
            code: Code::from_number(*code),
        })
    }
}
