//! Who is connected: by trid, and by session; who is about to; and how many there may be.

use core::hash::Hash;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_proto::{ServiceDef, Trid};

use super::conn::{Conn, SessionId};
use crate::link::Link;

/// The connections of one service.
pub(super) struct Registry<S: ServiceDef>(Mutex<Live<S>>);

struct Live<S: ServiceDef> {
    by_trid: HashMap<Trid, Conn<S>>,
    by_session: HashMap<SessionId, Trid>,
    /// Those that are not open yet, by a number of their own.
    joining: HashMap<u64, Arc<Link>>,
    next_joining: u64,
    /// Connections that were admitted, or may be: each holds a place.
    places: usize,
}

impl<S: ServiceDef> Registry<S> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Live {
            by_trid: HashMap::new(),
            by_session: HashMap::new(),
            joining: HashMap::new(),
            next_joining: 0,
            places: 0,
        }))
    }

    /// A connection that is in its handshake; its number, for [`left`](Self::left).
    pub(super) fn join(&self, link: &Arc<Link>) -> u64 {
        let mut live = self.lock();
        let number = live.next_joining;
        live.next_joining += 1;
        live.joining.insert(number, Arc::clone(link));
        number
    }

    /// A connection in its handshake is gone, or open.
    pub(super) fn left(&self, joining: u64) {
        let mut live = self.lock();
        live.joining.remove(&joining);
        shrink(&mut live.joining);
    }

    /// A place for a client, if fewer than `most` are taken. One that comes back takes the
    /// place of its older connection, so there is always one for it.
    pub(super) fn take_place(&self, session: &SessionId, most: usize) -> bool {
        let mut live = self.lock();
        let free = live.places < most || live.by_session.contains_key(session);
        live.places += usize::from(free);
        free
    }

    pub(super) fn free_place(&self) {
        let mut live = self.lock();
        live.places = live.places.saturating_sub(1);
    }

    /// All engines, those in their handshake included.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let live = self.lock();
        let open = live.by_trid.values().map(|conn| &conn.0.link);
        open.chain(live.joining.values()).cloned().collect()
    }

    /// Puts a connection in that was joining; gives the older one of the same session that
    /// it displaces (PROTOCOL D-2).
    pub(super) fn insert(&self, joining: u64, conn: &Conn<S>) -> Option<Conn<S>> {
        let mut live = self.lock();
        live.joining.remove(&joining);
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
