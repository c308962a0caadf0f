//! The service of a world: who comes in, with which session, and who must leave.

use alloc::boxed::Box;
use core::time::Duration;

use super::link::{End, Moved, Side};
use super::store::{Disk, Keeps};
use super::{App, Fault, SimSession, What, Who, World};
use crate::conn::Admission;
use crate::id::{Token, Trid};
use crate::session::Unwelcome;
use crate::status::{Code, Notice, RetryAfter};
use crate::wire::session::{NewReason, Resume};

impl<A: App> World<A> {
    /// A client proposes: it is admitted, and displaces its older connection (PROTOCOL D-2, N-1); unless
    /// it comes late.
    pub(super) fn admit(&mut self, link: u64, end: &mut End) {
        let (who, now) = (end.who, self.now);
        // They ascend as transports open.
        let trid = Trid::new(link);
        let party = self.parties.entry(who).or_default();
        let absent = party
            .absent
            .as_ref()
            .and_then(|absent| absent.tx.connection().session());
        if party.link > Some(link) || absent.is_some_and(|session| session.is_late(trid)) {
            self.tell(who, &What::Fault(Fault::Overtaken));
            // Its client has given it up (PROTOCOL N-9), or it is a copy.
            let retry = RetryAfter::new(Duration::from_millis(50), Duration::from_millis(200));
            let notice = Notice::new(Code::Displaced).with_retry(retry);
            if let Err(misuse) = end.rx.refuse(&mut end.tx, notice) {
                panic!("a client is not refused: {misuse}")
            }
            return;
        }
        let older = party.link.replace(link);
        if let Some(older) = older.filter(|older| *older != link)
            && let Some(mut old) = self.links.get_mut(&older).and_then(|link| link.at_service.take())
        {
            old.tx.disconnect(Notice::new(Code::Displaced));
            self.detach(who, older, &mut old);
            if let Some(older) = self.links.get_mut(&older) {
                older.at_service = Some(old);
            }
        }
        let Some(request) = end.tx.connection().resume_request().cloned() else {
            panic!("a client of this world keeps a session")
        };
        let token = Token::from_bytes(self.random.bytes());
        let (id, session, is_kept) = match self.session_of(who, &request, trid, token) {
            Ok((id, session, moved)) => {
                end.take_over(moved);
                (id, Some(session), true)
            }
            Err(why) => {
                self.sessions_made += 1;
                let is_kept = why.is_kept();
                let mut stores = self.setup.service_stores;
                if !is_kept {
                    stores.keeps = Keeps::Nothing;
                }
                let mut session = stores.session();
                session.begin_with(&request, trid, why, is_kept.then_some(token));
                (self.sessions_made, Some(session), is_kept)
            }
        };
        (end.session, end.is_kept) = (id, is_kept);
        // One lane of handlers for each client (PROTOCOL D-2).
        end.held = self.parties.get(&who).is_some_and(|party| !party.strays.is_empty());
        if end.held {
            end.rx.hold();
        }
        let admission = Admission::new(trid).with_forbidden(self.setup.forbidden);
        if let Err((misuse, _)) = end.rx.admit_in_session(now, &mut end.tx, admission, session) {
            panic!("a client is not accepted: {misuse}")
        }
        self.look(link, Side::Service, end);
        assert!(end.opened, "both sides have one catalog");
    }

    /// The session that a client goes on with, or why it gets a new one.
    #[expect(clippy::panic_in_result_fn, reason = "a world that breaks its own promises stops")]
    fn session_of(
        &mut self,
        who: Who,
        request: &Resume,
        trid: Trid,
        token: Token,
    ) -> Result<(u64, Box<SimSession>, Moved), NewReason> {
        let absent = self.parties.get_mut(&who).and_then(|party| party.absent.take());
        let Some(mut absent) = absent else {
            return Err(match request.is_return() {
                _ if self.kept_sessions() >= self.setup.sessions => NewReason::NoRoom,
                true => NewReason::Forgotten,
                false => NewReason::First,
            });
        };
        let id = absent.session;
        let (Some(mut session), moved) = absent.hand_over(self.now) else {
            panic!("what is absent has a session")
        };
        match session.welcome(request, trid, self.setup.proven, token) {
            Ok(()) => Ok((id, session, moved)),
            // Whose outcomes are taken when it is left, and who comes late was refused before.
            Err(Unwelcome::Refused(notice)) => panic!("a client is refused: {notice}"),
            Err(Unwelcome::Passing(why)) => {
                let mut absent = End::new(&self.setup, who, Some((id, session)));
                absent.take_over(moved);
                if let Some(party) = self.parties.get_mut(&who) {
                    party.absent = Some(absent);
                }
                Err(why)
            }
        }
    }

    /// How many sessions the service has.
    fn kept_sessions(&self) -> usize {
        let services = self.parties.iter().filter(|(who, _)| matches!(who, Who::Service(_)));
        services
            .filter(|(_, party)| {
                let connected = party.link.and_then(|link| self.links.get(&link)?.look(Side::Service));
                let absent = party.absent.is_some();
                absent || connected.is_some_and(|end| end.is_kept && end.has_session())
            })
            .count()
    }

    /// Forgets a session whose client was away for too long (PROTOCOL N-7).
    pub(super) fn forget_absent(&mut self, who: Who) {
        let (now, retention) = (self.now, self.setup.retention);
        let Who::Service(_) = who else { return };
        let Some(party) = self.parties.get_mut(&who) else {
            return;
        };
        if party.is_stale(now, retention)
            && let Some(mut absent) = party.absent.take()
        {
            let session = absent.session;
            absent.gone = true;
            party.strays.push(absent);
            party.disk = None;
            self.tell(who, &What::Fault(Fault::Forgotten));
            self.tell(who, &What::Gone { session });
        }
    }

    /// Keeps the session of an end that is not in its place.
    pub(super) fn sync_end(&mut self, who: Who, end: &mut End) {
        let stores = self.stores(who);
        if end.is_kept
            && stores.late
            && let Some(session) = end.tx.session_mut()
            && let Some(party) = self.parties.get_mut(&who)
        {
            party.disk = Some(Disk::keep(session));
        }
    }
}
