//! Who is connected: by trid, and by session; who is about to; and how many there may be.

use core::hash::Hash;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_proto::{Identity, ServiceDef, Trid};
use tokio::sync::Notify;

use super::conn::{Conn, SessionId};
use super::source::Source;
use crate::link::Link;
use crate::tls::Principal;

/// How many connections there may be.
pub(super) struct Most {
    /// Admitted, or asking for it.
    pub(super) connections: usize,
    /// Of one principal; `None` when that is not looked at.
    pub(super) per_principal: Option<usize>,
    /// Of one address; `None` when that is not looked at.
    pub(super) per_address: Option<usize>,
    /// Without a place.
    pub(super) handshakes: usize,
}

/// The connections of one service.
pub(super) struct Registry<S: ServiceDef> {
    live: Mutex<Live<S>>,
    most: Most,
    /// One connection fewer is without a place.
    fewer: Notify,
}

struct Live<S: ServiceDef> {
    by_trid: HashMap<Trid, Conn<S>>,
    by_session: HashMap<SessionId, Session<S>>,
    /// Places of each principal, when there is a limit to them.
    by_principal: HashMap<Principal, usize>,
    /// Connections from each address, when there is a limit to them.
    by_address: HashMap<Source, FromThere>,
    /// Those that are not open yet, by a number of their own.
    joining: HashMap<u64, Arc<Link>>,
    next_joining: u64,
    /// Connections that were admitted, or may be: each holds a place.
    places: usize,
    /// Connections without one: not so far yet, or over and not gone yet.
    waiting: usize,
}

/// The connections from one address.
#[derive(Default)]
struct FromThere {
    all: usize,
    places: usize,
}

/// One client, as long as a connection of it is open, holds a place, or its drop callback runs.
struct Session<S: ServiceDef> {
    /// Its newest open connection.
    now: Option<Trid>,
    places: u32,
    /// Connections whose drop callback has not run to its end.
    leaving: Vec<Conn<S>>,
}

impl<S: ServiceDef> Default for Session<S> {
    fn default() -> Self {
        Self {
            now: None,
            places: 0,
            leaving: Vec::new(),
        }
    }
}

/// The former connections of a client.
pub(super) struct Older<S: ServiceDef> {
    /// The one that is open, and is to end now.
    pub(super) displaced: Option<Conn<S>>,
    /// Those whose drop callbacks run before anything of the newer one.
    pub(super) leaving: Vec<Conn<S>>,
}

/// A newer connection of the same client is open.
pub(super) struct Late;

impl<S: ServiceDef> Registry<S> {
    pub(super) fn new(most: Most) -> Self {
        let live = Live {
            by_trid: HashMap::new(),
            by_session: HashMap::new(),
            by_principal: HashMap::new(),
            by_address: HashMap::new(),
            joining: HashMap::new(),
            next_joining: 0,
            places: 0,
            waiting: 0,
        };
        Self {
            live: Mutex::new(live),
            most,
            fewer: Notify::new(),
        }
    }

    /// Whether there are so many connections from this address, or network, that one more
    /// is not even talked to: twice as many as may be admitted, so that all of these may come
    /// back at once.
    pub(super) fn is_crowd(&self, source: Option<Source>) -> bool {
        let (Some(most), Some(source)) = (self.most.per_address, source) else {
            return false;
        };
        let live = self.lock();
        let there = live.by_address.get(&source);
        there.is_some_and(|there| there.all >= most.saturating_mul(2))
    }

    /// A connection that is in its handshake; its number, for [`left`](Self::left).
    pub(super) fn join(&self, link: &Arc<Link>, source: Option<Source>) -> u64 {
        let mut live = self.lock();
        if let Some(source) = source.filter(|_| self.most.per_address.is_some()) {
            live.by_address.entry(source).or_default().all += 1;
        }
        let number = live.next_joining;
        live.next_joining += 1;
        live.waiting += 1;
        live.joining.insert(number, Arc::clone(link));
        number
    }

    /// A connection is gone for good. It gave back its place before.
    pub(super) fn left(&self, joining: u64, source: Option<Source>) {
        let mut live = self.lock();
        if let Some(there) = live.there(source) {
            there.all = there.all.saturating_sub(1);
        }
        if let Some(source) = source.filter(|source| live.is_empty(source)) {
            live.by_address.remove(&source);
            shrink(&mut live.by_address);
        }
        live.joining.remove(&joining);
        live.waiting = live.waiting.saturating_sub(1);
        shrink(&mut live.joining);
        drop(live);
        self.fewer.notify_one();
    }

    /// Whether one more connection may begin a handshake.
    pub(super) fn has_room(&self) -> bool {
        self.lock().waiting < self.most.handshakes
    }

    /// Waits until a connection has got a place, or is gone.
    pub(super) async fn fewer_waiting(&self) {
        self.fewer.notified().await;
    }

    /// A place for a client, when one is free, else why not. One that comes back takes the
    /// place of its older connection, so there is always one for it; until the older one is
    /// gone there is no other.
    pub(super) fn take_place(&self, session: &SessionId, source: Option<Source>) -> Result<(), &'static str> {
        let mut live = self.lock();
        let returns = live
            .by_session
            .get(session)
            .is_some_and(|known| known.now.is_some() && known.places == 1);
        let own = live.by_principal.get(&session.principal).copied().unwrap_or(0);
        if !returns && live.places >= self.most.connections {
            return Err("too many connections");
        }
        if !returns && self.most.per_principal.is_some_and(|most| own >= most) {
            return Err("too many connections of this principal");
        }
        let there = live.there(source).map_or(0, |there| there.places);
        if !returns && self.most.per_address.is_some_and(|most| there >= most) {
            return Err("too many connections from this address");
        }
        if let Some(there) = live.there(source) {
            there.places += 1;
        }
        live.places += 1;
        live.waiting = live.waiting.saturating_sub(1);
        live.by_session.entry(*session).or_default().places += 1;
        if self.most.per_principal.is_some() {
            live.by_principal.insert(session.principal, own + 1);
        }
        drop(live);
        self.fewer.notify_one();
        Ok(())
    }

    /// The connection is over; it waits for its end without a place.
    pub(super) fn free_place(&self, session: &SessionId, source: Option<Source>) {
        let mut live = self.lock();
        if let Some(there) = live.there(source) {
            there.places = there.places.saturating_sub(1);
        }
        live.places = live.places.saturating_sub(1);
        live.waiting += 1;
        if let Some(known) = live.by_session.get_mut(session) {
            known.places = known.places.saturating_sub(1);
        }
        live.forget(session);
        if let Some(own) = live.by_principal.get_mut(&session.principal) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                live.by_principal.remove(&session.principal);
                shrink(&mut live.by_principal);
            }
        }
    }

    /// All engines, those in their handshake included.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let live = self.lock();
        let open = live.by_trid.values().map(|conn| &conn.0.link);
        open.chain(live.joining.values()).cloned().collect()
    }

    /// Puts a connection in that was joining; gives the older one of the same session that it displaces, and
    /// all whose end it must wait for (PROTOCOL D-2). `Err`: a newer one was faster, and stays (PROTOCOL N-9).
    pub(super) fn insert(&self, joining: u64, conn: &Conn<S>) -> Result<Older<S>, Late> {
        let mut live = self.lock();
        live.joining.remove(&joining);
        live.by_trid.insert(conn.trid(), conn.clone());
        let known = live.by_session.entry(conn.session()).or_default();
        if known.now > Some(conn.trid()) {
            return Err(Late);
        }
        let displaced = known.now.replace(conn.trid());
        let leaving = known.leaving.clone();
        Ok(live.older_of(displaced, leaving))
    }

    /// The connections of a session under a name that it has no more.
    pub(super) fn older(&self, former: SessionId) -> Older<S> {
        let live = self.lock();
        let known = live.by_session.get(&former);
        let (now, leaving) = known.map_or((None, Vec::new()), |known| (known.now, known.leaving.clone()));
        live.older_of(now, leaving)
    }

    /// Puts a connection in that was joining and that is not the one of its client: a copy, which displaces
    /// nobody and is not found by its name (PROTOCOL N-5).
    pub(super) fn insert_copy(&self, joining: u64, conn: &Conn<S>) {
        let mut live = self.lock();
        live.joining.remove(&joining);
        live.by_trid.insert(conn.trid(), conn.clone());
    }

    /// The drop callback of a connection has run to its end.
    pub(super) fn gone(&self, conn: &Conn<S>) {
        let mut live = self.lock();
        let session = conn.session();
        if let Some(known) = live.by_session.get_mut(&session) {
            known.leaving.retain(|leaving| leaving.trid() != conn.trid());
        }
        live.forget(&session);
    }

    /// Takes a connection out, if it was open; a newer one of its session stays. Whether it was.
    pub(super) fn remove(&self, conn: &Conn<S>) -> bool {
        let mut live = self.lock();
        let was_open = live.by_trid.remove(&conn.trid()).is_some();
        let session = conn.session();
        if let Some(known) = live.by_session.get_mut(&session) {
            known.now = known.now.filter(|now| *now != conn.trid());
            if was_open {
                known.leaving.push(conn.clone());
            }
        }
        live.forget(&session);
        shrink(&mut live.by_trid);
        was_open
    }

    pub(super) fn find(&self, trid: Trid) -> Option<Conn<S>> {
        self.lock().by_trid.get(&trid).cloned()
    }

    pub(super) fn find_session(&self, session: SessionId) -> Option<Conn<S>> {
        let live = self.lock();
        live.open(live.by_session.get(&session)?)
    }

    pub(super) fn find_identity(&self, identity: Identity) -> Vec<Conn<S>> {
        let live = self.lock();
        let known = live.by_session.iter().filter(|(id, _)| id.identity == identity);
        known.filter_map(|(_, session)| live.open(session)).collect()
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Conn<S>> {
        self.lock().by_trid.values().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().by_trid.len()
    }

    fn lock(&self) -> MutexGuard<'_, Live<S>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: ServiceDef> Live<S> {
    /// The one that is open, and with it those whose drop callbacks have not run to their end.
    fn older_of(&self, open: Option<Trid>, mut leaving: Vec<Conn<S>>) -> Older<S> {
        let displaced = open.and_then(|open| self.by_trid.get(&open).cloned());
        leaving.extend(displaced.clone());
        Older { displaced, leaving }
    }

    fn open(&self, session: &Session<S>) -> Option<Conn<S>> {
        self.by_trid.get(&session.now?).cloned()
    }

    fn is_empty(&self, source: &Source) -> bool {
        self.by_address.get(source).is_some_and(|there| there.all == 0)
    }

    fn there(&mut self, source: Option<Source>) -> Option<&mut FromThere> {
        self.by_address.get_mut(&source?)
    }

    /// Takes a session out of which nothing is left.
    fn forget(&mut self, session: &SessionId) {
        let known = self.by_session.get(session);
        if known.is_some_and(|known| known.now.is_none() && known.places == 0 && known.leaving.is_empty()) {
            self.by_session.remove(session);
            shrink(&mut self.by_session);
        }
    }
}

/// Gives memory back after a crowd has left.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use diset_proto::{Schema, define_service};
    use serde::{Deserialize, Serialize};
    use std::sync::OnceLock;
    use tokio::sync::SetOnce;

    use super::super::Service;
    use super::super::conn::Inner;
    use super::super::shared::Shared;
    use super::*;
    use crate::args::ConnectArgs;
    use crate::link::SlowPolicy;
    use crate::tls::Credentials;

    #[derive(Serialize, Deserialize, Schema)]
    struct Word {
        text: String,
    }

    define_service! { Words = "Test/Words"; both: [Word] }

    const HERE: Option<Source> = Some(Source::V6([1, 2, 3, 4]));

    fn shared() -> Arc<Shared<Words>> {
        let service = Service::new(Words)
            .max_connections_per_principal(100)
            .max_connections_per_address(100);
        Shared::new(service.handlers, service.callbacks, service.rules, service.settings).expect("a service")
    }

    /// The connection of this user, which has taken its place and is open.
    fn open(service: &Arc<Shared<Words>>, uid: u32) -> (u64, Conn<Words>) {
        let link = Link::new(None, SlowPolicy::Fail);
        let joining = service.registry.join(&link, HERE);
        let conn = Conn::new(Inner {
            link,
            service: Arc::clone(service),
            trid: service.next_trid(),
            identity: Identity::from_bytes([0; 16]),
            credentials: Credentials::Unix { uid, gid: 0, pid: None },
            args: ConnectArgs::default(),
            peer: String::new(),
            gone: SetOnce::new(),
            cell: OnceLock::new(),
            #[cfg(feature = "durable")]
            committed: OnceLock::new(),
            forbidden_now: OnceLock::new(),
            revoked: OnceLock::new(),
            asked: Mutex::default(),
        });
        service.registry.take_place(&conn.session(), HERE).expect("a place");
        assert!(service.registry.insert(joining, &conn).is_ok(), "it is the newest");
        (joining, conn)
    }

    /// What the registry knows: connections by trid, sessions, principals, addresses, those that
    /// join; places, and connections without one.
    fn known(registry: &Registry<Words>) -> [usize; 7] {
        let live = registry.lock();
        [
            live.by_trid.len(),
            live.by_session.len(),
            live.by_principal.len(),
            live.by_address.len(),
            live.joining.len(),
            live.places,
            live.waiting,
        ]
    }

    #[test]
    fn nothing_is_known_of_those_that_are_gone() {
        let service = shared();
        let registry = &service.registry;
        let mut all: Vec<_> = (0..20).map(|uid| open(&service, uid)).collect();
        // Some come back while they are still here.
        all.extend((0..5).map(|uid| open(&service, uid)));
        // Some never get a place.
        let stuck = Link::new(None, SlowPolicy::Fail);
        let stuck: Vec<_> = (0..3).map(|_| registry.join(&stuck, HERE)).collect();
        assert_eq!(known(registry), [25, 20, 20, 1, 3, 25, 3]);
        for (joining, conn) in all {
            assert!(registry.remove(&conn), "it was open");
            registry.gone(&conn);
            registry.free_place(&conn.session(), HERE);
            registry.left(joining, HERE);
        }
        assert_eq!(known(registry), [0, 0, 0, 1, 3, 0, 3]);
        for joining in stuck {
            registry.left(joining, HERE);
        }
        assert_eq!(known(registry), [0; 7]);
    }

    #[test]
    fn an_address_gets_its_places_back() {
        let service = shared();
        let registry = &service.registry;
        // Somebody stays, so that the address is known all the time.
        let _kept = open(&service, 0);
        for uid in 1..300 {
            let (joining, conn) = open(&service, uid);
            registry.remove(&conn);
            registry.gone(&conn);
            registry.free_place(&conn.session(), HERE);
            registry.left(joining, HERE);
        }
        assert_eq!(known(registry), [1, 1, 1, 1, 0, 1, 0]);
    }
}
