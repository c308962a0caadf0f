//! A service's side of a session that a client wants to go on with: whether it may, and what it shows
//! next time (PROTOCOL N-4, N-5, N-9).

use super::{IN_CONFLICT, Session};
use crate::id::{Token, Trid};
use crate::store::{Inbox, Replay};
use crate::wire::session::{NewReason, Resume};

impl<R: Replay, I: Inbox> Session<R, I> {
    /// Service: whether [`welcome`](Self::welcome) would take this client. Ask before the session is
    /// taken out of an older connection.
    ///
    /// # Errors
    /// As [`welcome`](Self::welcome).
    pub fn may_welcome(&self, request: &Resume, trid: Trid, proven: bool) -> Result<(), NewReason> {
        if self.is_late(trid) {
            return Err(NewReason::StateConflict);
        }
        let fits = match &request.known {
            // Who cannot prove anything gets nothing of what was for somebody else (PROTOCOL N-4). A
            // session whose beginning nobody has read was for whoever has this identity.
            None => proven || (self.shown.is_unread && self.shown.replaced.is_none()),
            Some((shown, _)) if self.has_not_read(shown) || self.is_open_to(shown, proven) => true,
            Some((shown, claim)) => self.is_valid(shown) && self.agrees(claim),
        };
        if fits { Ok(()) } else { Err(NewReason::StateConflict) }
    }

    /// Service: whether a connection with this trid was opened before the newest one that the session was
    /// on: its client has given it up (PROTOCOL N-9). Trids ascend as transports open.
    pub fn is_late(&self, trid: Trid) -> bool {
        trid < self.shown.newest
    }

    /// Whether who shows this token has not read that the session it is for was forgotten, and
    /// this one began.
    fn has_not_read(&self, shown: &Token) -> bool {
        self.shown.replaced.as_ref() == Some(shown)
    }

    fn is_valid(&self, shown: &Token) -> bool {
        let mut valid = self.token.iter().chain(&self.shown.former).chain(&self.shown.spare);
        valid.any(|token| token == shown)
    }

    /// Nothing is to be protected yet of a session whose beginning nobody has read: a late proposal may
    /// have begun it. Who proves who it is could come without a token as well (PROTOCOL N-4).
    fn is_open_to(&self, shown: &Token, proven: bool) -> bool {
        proven && self.shown.is_unread && *shown != IN_CONFLICT && !self.is_valid(shown)
    }

    /// Service: a client of this session's principal and identity comes, on the connection `trid`. Trids
    /// ascend in the order in which transports open, not in that of the proposals (PROTOCOL N-9).
    /// `proven`: the transport proves who it is, so one that has lost its memory may begin anew.
    /// `token`: what it is to show next time, from a random number generator.
    ///
    /// # Errors
    /// The reason why this session must be left alone, and is as it was; give the client another
    /// one by [`begin_with`](Self::begin_with), without a token.
    /// [`NewReason::NoRoom`] when outcomes must be [taken](Self::take_outcome) first: refuse the
    /// client for now, or take them and try again.
    pub fn welcome(&mut self, request: &Resume, trid: Trid, proven: bool, token: Token) -> Result<(), NewReason> {
        self.may_welcome(request, trid, proven)?;
        let Some((shown, claim)) = &request.known else {
            let replaced = self.token;
            self.begin_with(request, trid, NewReason::First, Some(token));
            self.shown.replaced = replaced;
            return Ok(());
        };
        let not_read = self.has_not_read(shown);
        if not_read || self.is_open_to(shown, proven) {
            if not_read {
                // Nor anything that was sent behind it.
                self.sending.was_not_read();
            }
            self.begin_with(request, trid, NewReason::Forgotten, Some(token));
            return Ok(());
        }
        let again = self.shown.former.as_ref() == Some(shown);
        self.resume(claim, request.durable).map_err(|_| NewReason::NoRoom)?;
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
        self.begin_anew(trid, why, request.durable);
        self.shown.newest = trid;
        self.token = token;
        // As it may not read the newer one (PROTOCOL N-4).
        let shown = request.known.as_ref().map(|(shown, _)| *shown);
        self.shown.replaced = shown.filter(|_| token.is_some());
        self.shown.is_unread = token.is_some();
    }
}
