//! When a connection begins and ends: what the two sides say of the session, and what each makes of that (PROTOCOL N-1 to
//! N-6).

use super::link::Link;
use super::sending::Objection;
use super::{IN_CONFLICT, Resumption, Session};
use crate::error::SendError;
use crate::id::{Token, Trid};
use crate::store::{Inbox, Replay};
use crate::wire::session::{Answer, AnswerAndToken, Claim, Directions, NewReason, Resume, SenderClaim};

impl<R: Replay, I: Inbox> Session<R, I> {
    /// What this side does in the session. It keeps the counters of both directions whatever it does, so it may
    /// change (PROTOCOL N-2).
    pub(super) fn directions(&self) -> Directions {
        let takes = self.receiving.inbox.takes();
        Directions {
            sends: self.sending.replay.sends(),
            takes,
            durable: takes && self.receiving.inbox.is_durable(),
        }
    }

    /// The peer does this in it.
    fn meet(&mut self, theirs: Directions) {
        let ours = self.directions();
        self.link.sends = ours.sends && theirs.takes;
        self.link.takes = ours.takes && theirs.sends;
    }

    /// Whether acked messages may leave on this connection: the peer takes them.
    ///
    /// # Errors
    /// [`SendError::NoSession`]: this side sends none.
    pub(crate) fn is_sending(&self) -> Result<bool, SendError> {
        if self.sending.replay.sends() {
            Ok(self.link.sends)
        } else {
            Err(SendError::NoSession)
        }
    }

    /// Whether acked messages of the peer may come. A chip that takes none carries nothing that takes them.
    pub(crate) fn is_taking(&self) -> bool {
        self.receiving.inbox.takes() && self.link.takes
    }

    /// Client: what it says about its session; nothing when it neither sends nor takes.
    pub(crate) fn request(&mut self) -> Option<Resume> {
        self.link = Link::IDLE;
        let directions = self.directions();
        let known = self.token.map(|token| (token, self.claim()));
        directions.is_any().then_some(Resume { known, directions })
    }

    fn claim(&mut self) -> Claim {
        let (settled, sent) = self.sending.claim();
        let sends = self.sending.replay.sends();
        Claim {
            sender: sends.then_some(SenderClaim { settled, sent }),
            taker: self.receiving.claim(),
        }
    }

    /// Whether a claim fits (PROTOCOL N-5). What it has not is not compared.
    pub(super) fn agrees(&self, claim: &Claim) -> bool {
        claim.taker.as_ref().is_none_or(|taker| self.sending.agrees(taker))
            && claim.sender.is_none_or(|sender| self.receiving.agrees(sender))
    }

    pub(super) fn resume(&mut self, claim: &Claim, theirs: Directions) -> Result<(), Objection> {
        let replayed = self.sending.resume(claim.taker.as_ref(), theirs.durable)?;
        if let Some(sender) = claim.sender {
            self.receiving.resume(sender);
        }
        self.meet(theirs);
        self.resumption = Some(Resumption::Resumed { replayed });
        Ok(())
    }

    /// It begins, for this reason, on this connection.
    pub(super) fn begin_anew(&mut self, trid: Trid, why: NewReason, theirs: Directions) {
        self.began = trid;
        #[cfg(feature = "alloc")]
        self.shown.forget();
        self.sending.start_anew(theirs.durable);
        self.receiving.start_anew(trid);
        self.receiving.claim();
        self.meet(theirs);
        self.resumption = Some(Resumption::New { why });
    }

    /// Service: what it says about the session, when it says it.
    pub(crate) fn answer(&mut self) -> Option<AnswerAndToken> {
        let directions = self.directions();
        if !directions.is_any() {
            // PROTOCOL N-1: it does without.
            self.resumption = None;
        }
        let resumed = match self.resumption? {
            Resumption::Resumed { .. } => Ok(self.claim()),
            Resumption::New { why } => Err(why),
        };
        #[cfg(feature = "alloc")]
        {
            self.link.is_fresh = true;
        }
        Some((Answer { resumed, directions }, self.token))
    }

    /// Client: what the service says about the session.
    pub(crate) fn answered(
        &mut self,
        answer: Option<&Answer>,
        token: Option<Token>,
        trid: Trid,
    ) -> Result<(), Objection> {
        // PROTOCOL N-1: one that was not asked for is skipped.
        let Some(answer) = answer.filter(|_| self.directions().is_any()) else {
            self.resumption = None;
            return Ok(());
        };
        match &answer.resumed {
            Ok(claim) => {
                if self.token.is_none() || token.is_none() || !self.agrees(claim) {
                    // The service was set back, or makes this up: it is asked for a new one next time.
                    self.token = None;
                    return Err(Objection::Contradiction);
                }
                self.resume(claim, answer.directions)?;
                self.receiving.confirm_handshake();
                self.token = token;
            }
            Err(why) => {
                self.begin_anew(trid, *why, answer.directions);
                // One that was in conflict has no token of this session, and its counters are not those
                // of the one before; without a token its next session would take the place of the
                // rightful one (PROTOCOL N-5).
                self.token = if *why == NewReason::StateConflict {
                    Some(IN_CONFLICT)
                } else {
                    token
                };
            }
        }
        Ok(())
    }

    /// Service: a frame has come on the connection, so the client has read the acceptance
    /// (PROTOCOL N-4).
    #[cfg(feature = "alloc")]
    pub(crate) fn confirm_handshake(&mut self) {
        self.link.is_fresh = false;
        self.shown.is_unread = false;
        self.shown.forget();
        self.receiving.confirm_handshake();
    }

    /// The connection is over.
    pub(crate) fn detach(&mut self) {
        self.receiving.detach();
        self.resumption = None;
        self.link = Link::IDLE;
    }
}
