//! The sessions of a service in a file: what the service does with the store.

use core::time::Duration;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use diset_proto::{Instant, Limits, Session};

use super::{Budget, Entrance, Entry, Principal, SessionCell, SessionId, SessionSettings, Sessions, StdSession};
use crate::link::Link;
use crate::session::{Incoming, Outgoing, keep};
use crate::store::{DurableStore, RestoredSession, StoreBounds};

/// What the store holds for each session of this service.
pub(in crate::service) fn bounds(settings: &SessionSettings, limits: &Limits) -> StoreBounds {
    let (bytes, messages) = limits.credit();
    let twice = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX).saturating_mul(2);
    StoreBounds {
        replay_messages: settings.messages,
        replay_bytes: settings.bytes,
        inbox_messages: twice(messages),
        inbox_bytes: twice(bytes),
        ..StoreBounds::default()
    }
}

/// A session that has not begun.
pub(super) fn begin(store: &DurableStore, id: SessionId, budget: Option<Arc<Budget>>) -> Box<StdSession> {
    let (replay, inbox) = store.begin(id);
    Box::new(Session::new(
        Outgoing::in_file(replay, budget),
        Incoming::File(Box::new(inbox)),
    ))
}

/// The session has welcomed its client: the acceptance waits until that is in the file.
pub(super) fn entered(session: &mut StdSession, entrance: &Entrance<'_>) {
    let Some(book) = session.inbox().book().cloned() else {
        return;
    };
    let link: Weak<Link> = Arc::downgrade(entrance.link);
    book.connected(entrance.trid);
    book.on_kept(Some(Arc::new(move || {
        if let Some(link) = link.upgrade() {
            // Its driver looks at what may leave now.
            link.with_conn_soon(|_| ());
        }
    })));
    keep(session);
    if let Incoming::File(inbox) = session.inbox_mut() {
        inbox.hold_opening();
    }
}

pub(super) fn forget(session: &StdSession) {
    if let Some(book) = session.inbox().book() {
        book.forget();
    }
}

pub(super) fn expect(session: &StdSession, principal: Principal, lasts: Duration) {
    if let Some(book) = session.inbox().book() {
        book.expect(Some((principal, unix_seconds().saturating_add(lasts.as_secs()))));
    }
}

pub(super) fn rename(session: &StdSession, principal: Principal) {
    if let Some(book) = session.inbox().book() {
        book.move_to(principal);
    }
}

impl Sessions {
    /// Goes on with what a former process has kept.
    pub(in crate::service) fn restore(&mut self, store: DurableStore, restored: Vec<RestoredSession>, now: Instant) {
        self.store = Some(store);
        for kept in restored {
            self.restore_one(kept, now);
        }
    }

    fn restore_one(&self, kept: RestoredSession, now: Instant) {
        let (id, expected) = (kept.id, kept.book().expected());
        let away = kept.away;
        let mut known = self.lock();
        let owner = known.owner(id.principal, &self.settings, &self.all);
        owner.sessions += 1;
        let budget = Some(Arc::clone(&owner.budget));
        let wrap = |replay, inbox| (Outgoing::in_file(replay, budget), Incoming::File(Box::new(inbox)));
        let Ok(session) = kept.into_session(wrap) else {
            tracing::error!(identity = %id.identity, "a session that was kept is damaged, and is left out");
            return known.disown(id.principal);
        };
        let cell = SessionCell::new(Box::new(session), self.catalog, self.settings.when_full, true);
        cell.was_away(away);
        let next = expected.map(|(principal, until)| {
            let left = Duration::from_secs(until.saturating_sub(unix_seconds()));
            let next = SessionId {
                principal,
                identity: id.identity,
            };
            known.next.insert(next, (id, now.after(left)));
            next
        });
        let entry = Entry { cell, next };
        known.by_id.insert(id, entry);
    }

    /// The file, if there is one.
    pub(in crate::service) const fn store(&self) -> Option<&DurableStore> {
        self.store.as_ref()
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
