//! A service's side of a session that a client wants to go on with: whether it may, and what it shows
//! next time (PROTOCOL N-4, N-5, N-9).

use super::{IN_CONFLICT, Session};
use crate::id::{Token, Trid};
use crate::status::{Code, Notice, RetryAfter};
use crate::store::{Inbox, Replay};
use crate::wire::session::{NewReason, Resume};

/// When a client comes back that is refused for now.
const RETRY: RetryAfter = RetryAfter {
    min_ms: 1_000,
    spread_ms: 9_000,
};

/// What a service answers to a client that its session does not take in (PROTOCOL N-4). The session is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever answers must know all of them")]
pub enum Unwelcome {
    /// Give it another session, which ends with the connection: [`Session::begin_with`] for this reason, without a
    /// token.
    Passing(NewReason),
    /// Refuse it with this notice: it comes back.
    Refused(Notice),
}

impl Unwelcome {
    const CONFLICT: Self = Self::Passing(NewReason::StateConflict);

    const fn refused(code: Code) -> Self {
        Self::Refused(Notice::new(code).with_retry(RETRY))
    }
}

impl core::fmt::Display for Unwelcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Passing(why) => write!(f, "{why}"),
            Self::Refused(notice) => write!(f, "{notice}"),
        }
    }
}

impl core::error::Error for Unwelcome {}

impl<R: Replay, I: Inbox> Session<R, I> {
    /// Service: whether [`welcome`](Self::welcome) would take this client. Ask before the session is
    /// taken out of an older connection.
    ///
    /// # Errors
    /// As [`welcome`](Self::welcome).
    pub fn may_welcome(&self, request: &Resume, trid: Trid, proven: bool) -> Result<(), Unwelcome> {
        self.look_up(request, trid, proven).map(|_| ())
    }

    /// The table of PROTOCOL N-4 where there is a session, row by row: `None` when it goes on, else why it begins
    /// anew.
    fn look_up(&self, request: &Resume, trid: Trid, proven: bool) -> Result<Option<NewReason>, Unwelcome> {
        if self.is_late(trid) {
            return Err(Unwelcome::refused(Code::Displaced)); // 0
        }
        let is_unread = self.shown.is_unread;
        let Some((shown, claim)) = &request.known else {
            // 5, 6, 7: who cannot prove anything gets nothing of what was for somebody else.
            let begins = proven || (is_unread && self.shown.is_bare);
            return if begins {
                Ok(Some(NewReason::First))
            } else {
                Err(Unwelcome::CONFLICT)
            };
        };
        if is_unread && self.has_replaced(shown) {
            Ok(Some(NewReason::Forgotten)) // 8
        } else if *shown == IN_CONFLICT {
            Err(Unwelcome::CONFLICT) // 9
        } else if !self.is_current(shown) {
            // 10, 11: nothing is to be protected yet of a session whose beginning nobody has read: a late
            // proposal may have begun it. Who proves who it is could come without a token as well.
            if is_unread && proven {
                Ok(Some(NewReason::Forgotten))
            } else {
                Err(Unwelcome::CONFLICT)
            }
        } else if self.agrees(claim) {
            Ok(None) // 13, 14
        } else {
            Err(Unwelcome::CONFLICT) // 12
        }
    }

    /// Service: whether a connection with this trid was opened before the newest one that the session was
    /// on: its client has given it up (PROTOCOL N-9). Trids ascend as transports open.
    pub fn is_late(&self, trid: Trid) -> bool {
        trid < self.shown.newest
    }

    /// Whether who shows this token has not read that this session took the place of the one it is for.
    fn has_replaced(&self, shown: &Token) -> bool {
        self.shown.replaced.as_ref() == Some(shown)
    }

    fn is_current(&self, shown: &Token) -> bool {
        let mut current = self.token.iter().chain(&self.shown.former).chain(&self.shown.spare);
        current.any(|token| token == shown)
    }

    /// Service: a client of this session's principal and identity comes, on the connection `trid`. Trids
    /// ascend in the order in which transports open, not in that of the proposals (PROTOCOL N-9).
    /// `proven`: the transport proves who it is, so one that has lost its memory may begin anew.
    /// `token`: what it is to show next time, from a random number generator.
    ///
    /// # Errors
    /// What to answer instead. It is [`Code::Busy`] when outcomes must be [taken](Self::take_outcome) first: take
    /// them before, and it does not come to that.
    pub fn welcome(&mut self, request: &Resume, trid: Trid, proven: bool, token: Token) -> Result<(), Unwelcome> {
        let begins = self.look_up(request, trid, proven)?;
        let (Some((shown, claim)), None) = (&request.known, begins) else {
            let why = begins.unwrap_or(NewReason::First);
            let shown = request.known.as_ref().map(|(shown, _)| shown);
            if shown.is_some_and(|shown| self.has_replaced(shown)) {
                // Nor anything that was sent behind it.
                self.sending.was_not_read();
            }
            let valid = self.token;
            self.begin_with(request, trid, why, Some(token));
            if shown.is_none() {
                self.shown.replaced = valid;
            }
            return Ok(());
        };
        let again = self.shown.former.as_ref() == Some(shown);
        self.resume(claim, request.directions)
            .map_err(|_| Unwelcome::refused(Code::Busy))?; // 13
        self.shown.newest = trid;
        // Whoever shows its token has read that it began.
        self.shown.is_unread = false;
        self.shown.replaced = None;
        // Also when the newest one never reached it: it may be lost again.
        self.shown.former = Some(*shown);
        if let Some(unread) = self.token.filter(|_| again) {
            if self.shown.spare.is_full() {
                self.shown.spare.remove(0);
            }
            let _ = self.shown.spare.push(unread);
        } else {
            self.shown.spare.clear();
        }
        self.token = Some(token);
        Ok(())
    }

    /// Service: the session begins with this client, for this reason, on the connection `trid`.
    /// Without a token it ends with the connection.
    pub fn begin_with(&mut self, request: &Resume, trid: Trid, why: NewReason, token: Option<Token>) {
        self.begin_anew(trid, why, request.directions);
        self.shown.newest = trid;
        self.token = token;
        // As it may not read the newer one (PROTOCOL N-4).
        let shown = request.known.as_ref().map(|(shown, _)| *shown);
        self.shown.replaced = shown.filter(|_| token.is_some());
        self.shown.is_unread = token.is_some();
        self.shown.is_bare = request.known.is_none();
    }
}
