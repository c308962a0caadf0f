//! Who is connected: by trid, and by session.

use core::hash::Hash;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use diset_proto::{ServiceDef, Trid};

use super::conn::{Conn, SessionId};

/// The live connections of one service.
pub(super) struct Registry<S: ServiceDef>(Mutex<Live<S>>);

struct Live<S: ServiceDef> {
    by_trid: HashMap<Trid, Conn<S>>,
    by_session: HashMap<SessionId, Trid>,
}

impl<S: ServiceDef> Registry<S> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Live {
            by_trid: HashMap::new(),
            by_session: HashMap::new(),
        }))
    }

    /// Puts a connection in; gives the older one of the same session that it displaces
    /// (PROTOCOL D-2).
    pub(super) fn insert(&self, conn: &Conn<S>) -> Option<Conn<S>> {
        let mut live = self.lock();
        live.by_trid.insert(conn.trid(), conn.clone());
        let older = live.by_session.insert(conn.session(), conn.trid())?;
        live.by_trid.get(&older).cloned()
    }

    /// Takes a connection out; a newer one of its session stays.
    pub(super) fn remove(&self, conn: &Conn<S>) {
        let mut live = self.lock();
        live.by_trid.remove(&conn.trid());
        if live.by_session.get(&conn.session()) == Some(&conn.trid()) {
            live.by_session.remove(&conn.session());
        }
        shrink(&mut live.by_trid);
        shrink(&mut live.by_session);
    }

    pub(super) fn find(&self, trid: Trid) -> Option<Conn<S>> {
        self.lock().by_trid.get(&trid).cloned()
    }

    pub(super) fn find_session(&self, session: SessionId) -> Option<Conn<S>> {
        let live = self.lock();
        let trid = live.by_session.get(&session)?;
        live.by_trid.get(trid).cloned()
    }

    /// All of them, in the order in which they came.
    pub(super) fn all(&self) -> Vec<Conn<S>> {
        let mut all: Vec<_> = self.lock().by_trid.values().cloned().collect();
        all.sort_unstable_by_key(Conn::trid);
        all
    }

    pub(super) fn count(&self) -> usize {
        self.lock().by_trid.len()
    }

    fn lock(&self) -> MutexGuard<'_, Live<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives memory back after a crowd has left.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}
