//! The service of a world: who comes in, with which session, and who must leave.

use alloc::boxed::Box;
use core::time::Duration;

use super::link::{End, Side};
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
        let who = self.who(link, Side::Service);
        // They ascend as transports open.
        let trid = Trid::new(link);
        let party = self.parties.entry(who).or_default();
        let absent = party.absent.as_ref();
        if party.link > Some(link) || absent.is_some_and(|(_, session)| session.is_late(trid)) {
            self.tell(who, &What::Fault(Fault::Overtaken));
            // Its client has given it up (PROTOCOL N-9), or it is a copy.
            let retry = RetryAfter::new(Duration::from_millis(50), Duration::from_millis(200));
            if let Err(misuse) = end.conn.refuse(Notice::new(Code::Displaced).with_retry(retry)) {
                panic!("a client is not refused: {misuse}")
            }
            return;
        }
        let older = party.link.replace(link);
        if let Some(older) = older.filter(|older| *older != link)
            && let Some(mut old) = self.links.get_mut(&older).and_then(|link| link.at_service.take())
        {
            self.detach(who, older, &mut old);
            old.conn.disconnect(Notice::new(Code::Displaced));
            if let Some(older) = self.links.get_mut(&older) {
                older.at_service = Some(old);
            }
        }
        let Some(request) = end.conn.resume_request().cloned() else {
            panic!("a client of this world keeps a session")
        };
        let (id, session, is_kept) = self.session_for(who, &request, trid);
        (end.session, end.is_kept) = (id, is_kept);
        let admission = Admission::new(trid).with_forbidden(self.setup.forbidden);
        match end.conn.accept_in_session(self.now, admission, Some(session)) {
            Ok(Some(_)) => self.opened(link, Side::Service, end),
            Ok(None) => panic!("both sides have one catalog"),
            Err((misuse, _)) => panic!("a client is not accepted: {misuse}"),
        }
    }

    /// The session that a client goes on with, or a new one; and whether it outlives the connection.
    fn session_for(&mut self, who: Who, request: &Resume, trid: Trid) -> (u64, Box<SimSession>, bool) {
        let token = Token::from_bytes(self.random.bytes());
        let kept = self.parties.get_mut(&who).and_then(|party| party.absent.take());
        let why = match kept {
            Some((id, mut session)) => match session.welcome(request, trid, self.setup.proven, token) {
                Ok(()) => return (id, session, true),
                // Whose outcomes are taken when it is left, and who comes late was refused before.
                Err(Unwelcome::Refused(notice)) => panic!("a client is refused: {notice}"),
                Err(Unwelcome::Passing(why)) => {
                    if let Some(party) = self.parties.get_mut(&who) {
                        party.absent = Some((id, session));
                    }
                    why
                }
            },
            None if self.kept_sessions() >= self.setup.sessions => NewReason::NoRoom,
            None if request.is_return() => NewReason::Forgotten,
            None => NewReason::First,
        };
        self.sessions_made += 1;
        let is_kept = why.is_kept();
        let mut stores = self.setup.service_stores;
        if !is_kept {
            stores.keeps = Keeps::Nothing;
        }
        let mut session = stores.session();
        session.begin_with(request, trid, why, is_kept.then_some(token));
        (self.sessions_made, session, is_kept)
    }

    /// How many sessions the service has.
    fn kept_sessions(&self) -> usize {
        let services = self.parties.iter().filter(|(who, _)| matches!(who, Who::Service(_)));
        services
            .filter(|(_, party)| {
                let connected = party.link.and_then(|link| self.links.get(&link)?.look(Side::Service));
                party.absent.is_some() || connected.is_some_and(|end| end.is_kept && end.conn.session().is_some())
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
            && let Some((session, _)) = party.absent.take()
        {
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
            && let Some(session) = end.conn.session_mut()
            && let Some(party) = self.parties.get_mut(&who)
        {
            party.disk = Some(Disk::keep(session));
        }
    }
}
