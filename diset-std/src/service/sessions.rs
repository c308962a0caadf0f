//! The sessions of a service: which client has which, and for how long (PROTOCOL, part N).

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_proto::drive::{Rx, Tx};
use diset_proto::{
    Admission, Catalog, Code, Instant, Key, NewReason, Notice, Outcome, Resume, RetryAfter, Token, Trid, Unwelcome,
};

use super::conn::SessionId;
use super::handle::LeftBehind;
use super::registry::shrink;
use crate::handler::soon;
use crate::link::Link;
use crate::session::{Budget, SessionCell, SessionSettings, Std, StdSession, in_memory};
#[cfg(feature = "durable")]
use crate::store::DurableStore;
use crate::tls::Principal;
#[cfg(feature = "durable")]
pub(super) mod kept;

/// Longest time for which a next key is remembered.
const MAX_NEXT_KEY: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a service says as it ends: its clients come back after 100 ms, spread over 2 s.
pub(super) fn shutdown() -> Notice {
    let restart = RetryAfter::new(Duration::from_millis(100), Duration::from_secs(2));
    Notice::new(Code::Shutdown).with_retry(restart)
}

/// The sessions of one service.
pub(super) struct Sessions {
    known: Mutex<Known>,
    settings: SessionSettings,
    catalog: &'static Catalog,
    /// What all of them may store.
    all: Arc<Budget>,
    #[cfg(feature = "durable")]
    store: Option<DurableStore>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<SessionId, Entry>,
    by_principal: HashMap<Principal, Owner>,
    /// Under which name a session may come back, and until when.
    next: HashMap<SessionId, (SessionId, Instant)>,
    /// The service has ended: none begins any more.
    is_over: bool,
}

struct Entry {
    cell: Arc<SessionCell>,
    /// The name under which it may come back.
    next: Option<SessionId>,
}

/// What one principal has: nobody's session makes room for another's (PROTOCOL N-7).
struct Owner {
    sessions: usize,
    budget: Arc<Budget>,
}

/// A client that was admitted, on its way into its session.
pub(super) struct Entrance<'a> {
    pub(super) id: SessionId,
    /// The transport proves who it is.
    pub(super) proven: bool,
    pub(super) trid: Trid,
    pub(super) link: &'a Arc<Link>,
    pub(super) now: Instant,
    /// What its rights keep from it now (PROTOCOL M-5).
    pub(super) forbidden: &'a dyn Fn(Key) -> bool,
}

/// What a client was let into.
pub(super) struct Entered {
    pub(super) cell: Arc<SessionCell>,
    /// Of what was stored for it and is forbidden to it now.
    pub(super) outcomes: Vec<(u64, Outcome)>,
    /// The name that the session had until now: a connection of that name is an older one of this client.
    pub(super) former: Option<SessionId>,
}

impl Sessions {
    pub(super) fn new(settings: SessionSettings, catalog: &'static Catalog) -> Self {
        Self {
            known: Mutex::default(),
            all: Budget::new(settings.bytes_in_all, None),
            settings,
            catalog,
            #[cfg(feature = "durable")]
            store: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a client that keeps sessions, in the one it has or in a new one.
    ///
    /// # Errors
    /// With which notice to refuse it: it comes late, its session cannot take what it tells now, or nothing can be said of
    /// its session, as the service is over or has no randomness. It may be in the file for the next process then, so that
    /// there is none, or no room, would be a lie that costs the client its outcomes.
    pub(super) fn accept(
        &self,
        entrance: &Entrance<'_>,
        request: &Resume,
        admission: Admission,
        (rx, tx): (&mut Rx<Std>, &mut Tx<Std>),
    ) -> Result<Entered, Notice> {
        let token = token().ok_or_else(|| {
            let notice = Notice::new(Code::Internal).with_text("the service has no randomness");
            notice.with_retry(soon())
        })?;
        let mut outcomes = Vec::new();
        let (found, former) = self.find_or_begin(entrance, request);
        let entered = match found {
            Some(cell) => {
                let enter = |session: &mut StdSession| {
                    if session.began() == Trid::new(0) {
                        let why = if request.is_return() {
                            NewReason::Forgotten
                        } else {
                            NewReason::First
                        };
                        session.begin_with(request, entrance.trid, why, Some(token));
                    } else {
                        session.welcome(request, entrance.trid, entrance.proven, token)?;
                    }
                    #[cfg(feature = "durable")]
                    kept::entered(session, entrance);
                    Ok(())
                };
                let fits = |session: &mut StdSession| {
                    let begins = session.began() == Trid::new(0);
                    if begins {
                        Ok(())
                    } else {
                        session.may_welcome(request, entrance.trid, entrance.proven)
                    }
                };
                let halves = (&mut *rx, &mut *tx);
                put(&cell, entrance, admission.clone(), halves, &mut outcomes, fits, enter).map(|()| (cell, former))
            }
            None => Err(Unwelcome::Passing(NewReason::NoRoom)),
        };
        // It ends before it lets go of its sessions, so whoever missed one sees this.
        if entered.is_err() && self.lock().is_over {
            return Err(shutdown());
        }
        let (cell, former) = entered.or_else(|unwelcome| {
            let why = match unwelcome {
                Unwelcome::Passing(why) => why,
                Unwelcome::Refused(notice) => return Err(notice),
            };
            // One that ends with its connection.
            let session = in_memory(&self.settings, Some(self.budget(entrance.id)));
            let cell = SessionCell::new(session, self.catalog, self.settings.when_full, false);
            let enter = |session: &mut StdSession| {
                session.begin_with(request, entrance.trid, why, None);
                Ok(())
            };
            // It fits, and is not forgotten.
            let _ = put(&cell, entrance, admission, (rx, tx), &mut outcomes, |_| Ok(()), enter);
            Ok((cell, None))
        })?;
        Ok(Entered { cell, outcomes, former })
    }

    /// The session of this client, if it has one or may have one more; and the name that it had until now.
    fn find_or_begin(
        &self,
        entrance: &Entrance<'_>,
        request: &Resume,
    ) -> (Option<Arc<SessionCell>>, Option<SessionId>) {
        let mut known = self.lock();
        let former = self.rename(&mut known, entrance, request);
        (self.known_or_new(&mut known, entrance.id), former)
    }

    fn known_or_new(&self, known: &mut Known, id: SessionId) -> Option<Arc<SessionCell>> {
        if let Some(entry) = known.by_id.get(&id) {
            return Some(Arc::clone(&entry.cell));
        }
        let is_full = known.by_id.len() >= self.settings.sessions;
        if known.is_over || is_full || known.count_of(id.principal) >= self.settings.per_principal {
            return None;
        }
        let owner = known.owner(id.principal, &self.settings, &self.all);
        owner.sessions += 1;
        let budget = Some(Arc::clone(&owner.budget));
        let cell = SessionCell::new(
            self.new_session(id, budget),
            self.catalog,
            self.settings.when_full,
            true,
        );
        let entry = Entry {
            cell: Arc::clone(&cell),
            next: None,
        };
        known.by_id.insert(id, entry);
        Some(cell)
    }

    /// A session that has not begun, in the file if there is one.
    fn new_session(&self, id: SessionId, budget: Option<Arc<Budget>>) -> Box<StdSession> {
        #[cfg(feature = "durable")]
        if let Some(store) = &self.store {
            return kept::begin(store, id, budget);
        }
        let _ = id;
        in_memory(&self.settings, budget)
    }

    /// A session that was announced to come back under this name has it from now on, when the
    /// client shows its token (PROTOCOL N-8). The name it had.
    fn rename(&self, known: &mut Known, entrance: &Entrance<'_>, request: &Resume) -> Option<SessionId> {
        let id = entrance.id;
        // Who shows no token does not know of this: somebody else may have named its key.
        let (former, until) = known.next.get(&id).copied().filter(|_| request.is_return())?;
        let welcome = known.by_id.get(&former).is_some_and(|entry| {
            let fits = |session: &mut StdSession| session.may_welcome(request, entrance.trid, false).is_ok();
            entry.cell.with_session(fits).unwrap_or(false)
        });
        let has_room = known.count_of(id.principal) < self.settings.per_principal || former.principal == id.principal;
        if !welcome || until <= entrance.now || known.by_id.contains_key(&id) || !has_room {
            return None;
        }
        known.next.remove(&id);
        let mut entry = known.by_id.remove(&former)?;
        entry.next = None;
        let owner = known.owner(id.principal, &self.settings, &self.all);
        owner.sessions += 1;
        let budget = Arc::clone(&owner.budget);
        entry.cell.with_session(|session| {
            session.replay_mut().count_for(budget);
            #[cfg(feature = "durable")]
            kept::rename(session, id.principal);
        });
        known.disown(former.principal);
        known.by_id.insert(id, entry);
        Some(former)
    }

    /// What a principal may store, for a session that is not kept.
    fn budget(&self, id: SessionId) -> Arc<Budget> {
        let known = self.lock();
        match known.by_principal.get(&id.principal) {
            Some(owner) => Arc::clone(&owner.budget),
            None => Budget::new(self.settings.bytes_per_principal, Some(Arc::clone(&self.all))),
        }
    }

    /// The session of this client.
    pub(super) fn find(&self, id: SessionId) -> Option<Arc<SessionCell>> {
        self.lock().by_id.get(&id).map(|entry| Arc::clone(&entry.cell))
    }

    /// Whether this client's session was on a newer connection than this one (PROTOCOL N-9).
    pub(super) fn is_late(&self, id: SessionId, trid: Trid) -> bool {
        let late = |session: &mut StdSession| session.is_late(trid);
        self.find(id).and_then(|cell| cell.with_session(late)).unwrap_or(false)
    }

    /// How many there are; how many of them have no connection.
    pub(super) fn count(&self) -> (usize, usize) {
        let known = self.lock();
        let now = crate::clock::now();
        let absent = known
            .by_id
            .values()
            .filter(|entry| entry.cell.absent_for(now).is_some());
        (known.by_id.len(), absent.count())
    }

    /// Forgets those that have been away for too long: what they stored comes to an end.
    pub(super) fn sweep(&self, now: Instant) -> Vec<(SessionId, Vec<(u64, Outcome)>)> {
        let too_long = |away: Duration| away >= self.settings.retention;
        #[cfg(feature = "durable")]
        if let Some(store) = &self.store {
            store.note_uptime();
        }
        let over: Vec<SessionId> = {
            let mut known = self.lock();
            known.next.retain(|_, (_, until)| *until > now);
            let away = known.by_id.iter().filter(|(_, entry)| {
                // What was told to be received is to be handled, however long its client is away.
                entry.cell.absent_for(now).is_some_and(too_long) && !entry.cell.has_unhandled()
            });
            away.map(|(id, _)| *id).collect()
        };
        // It may have been here meanwhile.
        over.into_iter()
            .filter_map(|id| {
                Some((
                    id,
                    self.forget_if(id, |away, unhandled| too_long(away) && unhandled == 0)?,
                ))
            })
            .collect()
    }

    /// How often to [`sweep`](Self::sweep).
    pub(super) fn sweep_interval(&self) -> Duration {
        (self.settings.retention / 4).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    /// Those that have no connection, and have received what is still to be handled.
    pub(super) fn left_behind(&self) -> Vec<LeftBehind> {
        let now = crate::clock::now();
        let known = self.lock();
        let found = known.by_id.iter().filter_map(|(id, entry)| {
            let (messages, bytes, away) = entry.cell.left_behind(now)?;
            Some(LeftBehind {
                session: *id,
                messages,
                bytes,
                away,
            })
        });
        found.collect()
    }

    /// Forgets a session that has no connection, and has received nothing that is still to be handled, or
    /// `insist`; the outcomes of what it stored. `None` when there is no such one.
    pub(super) fn forget(&self, id: SessionId, insist: bool) -> Option<Vec<(u64, Outcome)>> {
        self.forget_if(id, |_, unhandled| insist || unhandled == 0)
    }

    /// Forgets a session that `may` go, by how long it has had no connection and how many messages it has received
    /// that are still to be handled.
    fn forget_if(&self, id: SessionId, may: impl FnOnce(Duration, usize) -> bool) -> Option<Vec<(u64, Outcome)>> {
        let mut known = self.lock();
        // Under both locks, or a client could come in between.
        let outcomes = known.by_id.get(&id)?.cell.end_if_absent(may, |session| {
            #[cfg(feature = "durable")]
            kept::forget(session);
            #[cfg(not(feature = "durable"))]
            let _ = session;
        })?;
        let entry = known.by_id.remove(&id)?;
        shrink(&mut known.by_id);
        if let Some(next) = entry.next
            && known.next.get(&next).is_some_and(|(of, _)| *of == id)
        {
            known.next.remove(&next);
        }
        known.disown(id.principal);
        Some(outcomes)
    }

    /// The service ends: all sessions, and what they stored, come to their end. Those in a file go on with
    /// the next process.
    pub(super) fn end(&self) -> Vec<(SessionId, Vec<(u64, Outcome)>)> {
        let over = Known {
            is_over: true,
            ..Known::default()
        };
        // A connection that is told to end may still be at work.
        let known = core::mem::replace(&mut *self.lock(), over);
        #[cfg(feature = "durable")]
        if self.store.is_some() {
            known.by_id.values().for_each(|entry| entry.cell.close());
            return Vec::new();
        }
        let cells = known.by_id.into_iter().map(|(id, entry)| (id, entry.cell.end()));
        cells.collect()
    }

    /// The client of this session will come back under another key; for how long that is remembered.
    pub(super) fn announce(&self, id: SessionId, hash: [u8; 32], lasts: Duration, now: Instant) -> Option<Duration> {
        let next = SessionId {
            principal: hash.into(),
            identity: id.identity,
        };
        let lasts = lasts.min(MAX_NEXT_KEY);
        let mut known = self.lock();
        // Somebody is known under it, or will be.
        let taken = known.by_id.contains_key(&next) || known.next.get(&next).is_some_and(|(of, _)| *of != id);
        let entry = known.by_id.get_mut(&id).filter(|_| !taken)?;
        let before = entry.next.replace(next);
        #[cfg(feature = "durable")]
        entry
            .cell
            .with_session(|session| kept::expect(session, next.principal, lasts));
        if let Some(before) = before {
            known.next.remove(&before);
        }
        known.next.insert(next, (id, now.after(lasts)));
        Some(lasts)
    }
}

impl Known {
    /// How many sessions a principal has.
    fn count_of(&self, principal: Principal) -> usize {
        self.by_principal.get(&principal).map_or(0, |owner| owner.sessions)
    }

    fn owner(&mut self, principal: Principal, settings: &SessionSettings, all: &Arc<Budget>) -> &mut Owner {
        self.by_principal.entry(principal).or_insert_with(|| Owner {
            sessions: 0,
            budget: Budget::new(settings.bytes_per_principal, Some(Arc::clone(all))),
        })
    }

    fn disown(&mut self, principal: Principal) {
        if let Some(owner) = self.by_principal.get_mut(&principal) {
            owner.sessions = owner.sessions.saturating_sub(1);
            if owner.sessions == 0 {
                self.by_principal.remove(&principal);
                shrink(&mut self.by_principal);
            }
        }
    }
}

/// Puts the session of a cell into the engine of a new connection. Outcomes that become known by it, such as those of
/// what may not be sent any more, go to `outcomes`, also when it was not put there.
fn put(
    cell: &SessionCell,
    entrance: &Entrance<'_>,
    admission: Admission,
    (rx, tx): (&mut Rx<Std>, &mut Tx<Std>),
    outcomes: &mut Vec<(u64, Outcome)>,
    fits: impl FnOnce(&mut StdSession) -> Result<(), Unwelcome>,
    enter: impl FnOnce(&mut StdSession) -> Result<(), Unwelcome>,
) -> Result<(), Unwelcome> {
    let mut entered = Ok(());
    let moved = cell.move_to(entrance.link, fits, |mut session| {
        let mut outcomes = Vec::new();
        // What nobody has taken before the last connection ended leaves no room for what this one tells.
        while let Some(outcome) = session.take_outcome() {
            outcomes.push(outcome);
        }
        entered = enter(&mut session);
        if entered.is_err() {
            return (Some(session), outcomes);
        }
        session.retract(entrance.forbidden, |number, outcome| outcomes.push((number, outcome)));
        match rx.admit_in_session(entrance.now, tx, admission, Some(session)) {
            Ok(()) => (None, outcomes),
            // In another phase the engine has given the client up meanwhile.
            Err((_, session)) => (session, outcomes),
        }
    });
    match moved {
        Some(Ok(known)) => {
            outcomes.extend(known);
            entered
        }
        Some(Err(why)) => Err(why),
        // It was forgotten just now.
        None => Err(Unwelcome::Passing(NewReason::Forgotten)),
    }
}

fn token() -> Option<Token> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(Token::from_bytes(bytes))
}

#[cfg(test)]
mod tests;
