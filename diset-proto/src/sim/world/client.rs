//! The clients of a world: each comes back as `Reconnect` says.

use super::link::{End, Link, Side};
use super::{App, Who, World};
use crate::conn::ClientConfig;
use crate::error::Cause;
use crate::id::Identity;
use crate::reconnect::{Reconnect, Retry};
use crate::sim::pipe::{Chunks, Pipe};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: usize,
    pub(super) reconnect: Reconnect,
    /// When it connects next.
    pub(super) attempt: Option<Instant>,
    pub(super) life: u64,
    /// How often it has connected.
    pub(super) attempts: u64,
}

impl<A: App> World<A> {
    /// A client with this principal and identity, which connects at once. Two with the same are two
    /// processes that claim to be one client.
    pub fn client(&mut self, principal: u8, identity: u8) -> Who {
        let pair = (principal, identity);
        let key = self.keys.iter().position(|key| *key == pair).unwrap_or(self.keys.len());
        if key == self.keys.len() {
            self.keys.push(pair);
        }
        let seed = self.random.any();
        self.lives += 1;
        self.clients.push(Client {
            key,
            reconnect: Reconnect::new(self.setup.reconnect, seed),
            attempt: Some(self.now),
            life: self.lives,
            attempts: 0,
        });
        let who = Who::Client(self.clients.len() - 1);
        self.parties.entry(who).or_default();
        who
    }

    /// What the service has of this client.
    pub fn service_of(&self, client: usize) -> Who {
        Who::Service(self.clients.get(client).map_or(0, |client| client.key))
    }

    /// How often this client has connected.
    pub fn attempts(&self, client: usize) -> u64 {
        self.clients.get(client).map_or(0, |client| client.attempts)
    }

    pub(super) fn life_of(&self, who: Who) -> u64 {
        match who {
            Who::Client(client) => self.clients.get(client).map_or(0, |client| client.life),
            Who::Service(_) => self.life,
        }
    }

    /// Those connect whose time has come.
    pub(super) fn connect_clients(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        for client in 0..self.clients.len() {
            let due = self
                .clients
                .get_mut(client)
                .is_some_and(|client| client.attempt.take_if(|at| *at <= now).is_some());
            if due {
                self.connect(client);
                busy = true;
            }
        }
        busy
    }

    /// A new connection of a client, with the session of the older one.
    pub(super) fn connect(&mut self, client: usize) {
        let who = Who::Client(client);
        let older = self.parties.get_mut(&who).and_then(|party| party.link.take());
        if let Some(older) = older
            && let Some(mut end) = self.links.get_mut(&older).and_then(|link| link.at_client.take())
        {
            self.detach(who, older, &mut end);
            if let Some(older) = self.links.get_mut(&older) {
                older.at_client = Some(end);
            }
        }
        let Some((principal, identity, key)) = self.clients.get_mut(client).and_then(|client| {
            client.attempts += 1;
            let (principal, identity) = self.keys.get(client.key)?;
            Some((*principal, *identity, client.key))
        }) else {
            return;
        };
        let absent = self.parties.get_mut(&who).and_then(|party| party.absent.take());
        let mut end = match absent {
            Some(mut absent) => {
                let id = absent.session;
                let (session, moved) = absent.hand_over(self.now);
                let mut end = End::new(&self.setup, who, session.map(|session| (id, session)));
                end.take_over(moved);
                end
            }
            None => {
                self.sessions_made += 1;
                let session = self.setup.client_stores.session();
                End::new(&self.setup, who, Some((self.sessions_made, session)))
            }
        };
        let mut name = [principal; 16];
        name[15] = identity;
        let config = ClientConfig {
            catalog: self.catalog,
            identity: Identity::from_bytes(name),
            limits: self.setup.client,
            args: &[],
        };
        if let Err(misuse) = end.rx.connect(self.now, &mut end.tx, &config) {
            panic!("the client cannot start: {misuse}");
        }
        self.links_made += 1;
        if let Some(party) = self.parties.get_mut(&who) {
            party.link = Some(self.links_made);
        }
        let link = self.link(client, key, end);
        self.links.insert(self.links_made, link);
    }

    fn link(&mut self, client: usize, key: usize, at_client: End) -> Link {
        let mut at_service = End::new(&self.setup, Who::Service(key), None);
        let End { rx, tx, .. } = &mut at_service;
        if let Err(misuse) = rx.listen(self.now, tx, self.catalog, self.setup.service) {
            panic!("the service cannot start: {misuse}");
        }
        let chunks = if self.setup.pieces {
            Chunks::Random
        } else {
            Chunks::Whole
        };
        let (delay, seed) = (self.setup.delay, self.random.any());
        Link {
            client,
            to_service: Pipe::new(chunks, delay, seed),
            to_client: Pipe::new(chunks, delay, !seed),
            at_client: Some(at_client),
            at_service: Some(at_service),
        }
    }

    /// Its connection is the one that counts.
    fn is_current(&self, link: u64) -> Option<usize> {
        let client = self.links.get(&link)?.client;
        let party = self.parties.get(&Who::Client(client))?;
        (party.link == Some(link)).then_some(client)
    }

    pub(super) fn client_opened(&mut self, link: u64) {
        let now = self.now;
        if let Some(client) = self.is_current(link).and_then(|client| self.clients.get_mut(client)) {
            client.reconnect.connected(now);
        }
    }

    pub(super) fn client_dropped(&mut self, link: u64, cause: &Cause) {
        let now = self.now;
        if let Some(client) = self.is_current(link).and_then(|client| self.clients.get_mut(client)) {
            client.attempt = match client.reconnect.dropped(now, cause) {
                Retry::At(at) => Some(at),
                Retry::Never => None,
            };
        }
    }

    pub(super) const fn stores(&self, who: Who) -> super::Stores {
        match who.side() {
            Side::Client => self.setup.client_stores,
            Side::Service => self.setup.service_stores,
        }
    }
}
