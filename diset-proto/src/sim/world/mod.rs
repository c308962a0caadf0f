//! One service and several clients with sessions, on a virtual clock, under faults.
//!
//! A [`World`] does what an adapter does: it keeps the sessions of absent clients, finds the one of
//! a client that comes, displaces its older connection, gives each session one lane of handlers
//! that outlives its connections, and lets clients come back. The [`App`] says what becomes of
//! each message and is told what happens. Everything follows from the seed.
//!
//! ```
//! use core::time::Duration;
//! use diset_proto::sim::world::{App, Arrived, Delivery, Handling, Setup, What, Who, World};
//! # use diset_proto::{Instant, Schema, define_service, MessageOf};
//! # use serde::{Deserialize, Serialize};
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Reading { value: u32 }
//! define_service! { pub Meter = "Demo/Meter"; both: [Reading] }
//!
//! #[derive(Default)]
//! struct Count(u32);
//! impl App for Count {
//!     fn handle(&mut self, _: Instant, _: Who, _: &Arrived<'_>) -> Handling {
//!         self.0 += 1;
//!         Handling::Run { takes: Duration::from_millis(5), result: Ok(()) }
//!     }
//! }
//!
//! let mut world = World::of::<Meter>(Setup::default(), Count::default());
//! let client = world.client(0, 1);
//! world.run_for(Duration::from_millis(10));
//! for value in 0..10 {
//!     let _ = world.send(client, Reading::NUMBER, &Reading { value }, Delivery::Acked(Default::default()))?;
//!     world.run_for(Duration::from_millis(7));
//!     if value % 3 == 0 { world.cut(0); }
//! }
//! world.run_for(Duration::from_secs(60));
//! assert_eq!(world.app.0, 10);
//! # Ok::<(), diset_proto::SendError>(())
//! ```

mod app;
mod client;
mod ends;
mod faults;
mod handlers;
mod link;
mod service;
mod store;
mod tap;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use postcard_schema::schema::NamedType;
use serde::Serialize;

pub use self::app::{App, Arrived, Delivery, Fault, Handling, Sent, What, Who};
use self::client::Client;
use self::handlers::Running;
pub use self::link::Side;
use self::link::{End, Link, Parts};
use self::store::Disk;
pub use self::store::{Keeps, SimInbox, SimReplay, SimSession, Stores};
use crate::definition::MessageSet;
use crate::error::SendError;
use crate::limits::Limits;
use crate::reconnect::ReconnectPolicy;
use crate::schema::{Catalog, ServiceDef};
use crate::session::Delivered;
use crate::sim::random::Random;
use crate::time::Instant;

/// Most turns at one moment before it is taken for an endless loop.
const MAX_TURNS: usize = 20_000;

/// How a world is.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that tests fill in")]
pub struct Setup {
    /// Everything random follows from it.
    pub seed: u64,
    /// The limits of clients.
    pub client: Limits,
    /// The limits of the service.
    pub service: Limits,
    /// Size of the output buffers, in bytes.
    pub output: usize,
    /// Most bytes under way before a transport takes no more.
    pub window: usize,
    /// How long bytes take, each way, on connections that begin from now on.
    pub delay: Duration,
    /// Bytes arrive in random pieces.
    pub pieces: bool,
    /// The stores of clients.
    pub client_stores: Stores,
    /// The stores of the service.
    pub service_stores: Stores,
    /// How long the service keeps the session of an absent client.
    pub retention: Duration,
    /// Most sessions that the service keeps.
    pub sessions: usize,
    /// Transports prove who the client is.
    pub proven: bool,
    /// How clients come back.
    pub reconnect: ReconnectPolicy,
    /// What is not for clients that connect from now on.
    pub forbidden: MessageSet,
    /// How long the callbacks of either side take that are told of connections. None is called when it is no time.
    pub callback: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 0,
            client: Limits::SERVER.with_max_silence(Duration::from_secs(4)),
            service: Limits::SERVER.with_max_silence(Duration::from_secs(4)),
            output: 4096,
            window: 4096,
            delay: Duration::from_millis(2),
            pieces: false,
            client_stores: Stores::MEMORY,
            service_stores: Stores::MEMORY,
            retention: Duration::from_secs(600),
            sessions: 100,
            proven: true,
            reconnect: ReconnectPolicy::DEFAULT,
            forbidden: MessageSet::EMPTY,
            callback: Duration::ZERO,
        }
    }
}

/// What one side has of a session, with or without a connection.
#[derive(Debug)]
struct Party {
    /// The session, when no connection has it, and what is left of the last one.
    absent: Option<End>,
    /// What is left of connections whose session is gone.
    strays: Vec<End>,
    since: Instant,
    /// The connection that counts.
    link: Option<u64>,
    disk: Option<Disk>,
}

impl Default for Party {
    fn default() -> Self {
        Self {
            absent: None,
            strays: Vec::new(),
            since: Instant::ZERO,
            link: None,
            disk: None,
        }
    }
}

impl Party {
    /// What has no connection.
    fn detached(&self) -> impl Iterator<Item = &End> {
        self.absent.iter().chain(&self.strays)
    }
}

/// A service, clients, their connections, and the time.
#[derive(Debug)]
pub struct World<A> {
    /// The virtual time.
    pub now: Instant,
    /// What handles the messages.
    pub app: A,
    /// How it is; connections that begin from now on follow changes.
    pub setup: Setup,
    catalog: &'static Catalog,
    structures: &'static [&'static NamedType],
    random: Random,
    clients: Vec<Client>,
    /// Principal and identity of each number.
    keys: Vec<(u8, u8)>,
    parties: BTreeMap<Who, Party>,
    links: BTreeMap<u64, Link>,
    /// Which process the service is.
    life: u64,
    lives: u64,
    links_made: u64,
    sessions_made: u64,
    told: BTreeMap<u64, Delivered>,
}

impl<A: App> World<A> {
    /// A service of `S`, nobody connected.
    pub fn of<S: ServiceDef>(setup: Setup, app: A) -> Self {
        Self {
            now: Instant::from_millis(1_000),
            app,
            setup,
            catalog: S::CATALOG,
            structures: S::STRUCTURES,
            random: Random::new(setup.seed),
            clients: Vec::new(),
            keys: Vec::new(),
            parties: BTreeMap::new(),
            links: BTreeMap::new(),
            life: 0,
            lives: 0,
            links_made: 0,
            sessions_made: 0,
            told: BTreeMap::new(),
        }
    }

    /// Sends a message by its number in the catalog.
    ///
    /// # Errors
    /// It was not taken. [`SendError::NotOpen`] also when the service has no session of this client,
    /// or the client is killed.
    pub fn send<T: Serialize + ?Sized>(
        &mut self,
        who: Who,
        number: u8,
        message: &T,
        delivery: Delivery,
    ) -> Result<Sent, SendError> {
        let party = self.parties.get_mut(&who).ok_or(SendError::NotOpen)?;
        let link = party.link;
        let end = link
            .and_then(|link| self.links.get_mut(&link))
            .and_then(|link| link.end(who.side()).as_mut())
            .filter(|end| end.has_session());
        match (end, delivery) {
            (Some(end), Delivery::Plain) => {
                end.tx.send(number, message)?;
                let session = end.session;
                Ok(Sent {
                    session,
                    number: None,
                    link,
                })
            }
            (Some(end), Delivery::Acked(unsure)) => {
                let number = end.tx.send_acked(number, message, unsure)?;
                let session = end.session;
                Ok(Sent {
                    session,
                    number: Some(number),
                    link,
                })
            }
            (None, Delivery::Plain) => Err(SendError::NotOpen),
            (None, Delivery::Acked(unsure)) => {
                let absent = party.absent.as_mut().ok_or(SendError::NotOpen)?;
                let session = absent.tx.session_mut().ok_or(SendError::NotOpen)?;
                let number = session.store(self.catalog, number, message, unsure)?;
                Ok(Sent {
                    session: absent.session,
                    number: Some(number),
                    link: None,
                })
            }
        }
    }

    /// The session of this side, wherever it is.
    pub fn session(&mut self, who: Who) -> Option<(u64, &mut SimSession)> {
        let party = self.parties.get_mut(&who)?;
        let end = party
            .link
            .and_then(|link| self.links.get_mut(&link))
            .and_then(|link| link.end(who.side()).as_mut());
        if let Some(end) = end {
            let id = end.session;
            if let Some(session) = end.tx.session_mut() {
                return Some((id, session));
            }
        }
        let absent = party.absent.as_mut()?;
        Some((absent.session, absent.tx.session_mut()?))
    }

    /// Whether this side has an open connection.
    pub fn is_open(&self, who: Who) -> bool {
        let link = self.parties.get(&who).and_then(|party| party.link);
        link.and_then(|link| self.links.get(&link))
            .and_then(|link| link.look(who.side()))
            .is_some_and(End::is_open)
    }

    /// All sides.
    pub fn sides(&self) -> impl Iterator<Item = Who> {
        self.parties.keys().copied()
    }

    /// The open connection of this side, when its peer has that open, too.
    pub fn connection(&self, who: Who) -> Option<u64> {
        let id = self.parties.get(&who)?.link?;
        let link = self.links.get(&id)?;
        let open = |end: Option<&End>| end.is_some_and(End::is_open);
        (open(link.look(Side::Client)) && open(link.look(Side::Service))).then_some(id)
    }

    /// Whether a handler of this side runs.
    pub fn is_handling(&self, who: Who) -> bool {
        let connected = self.links.values().filter_map(|link| link.look(who.side()));
        let others = self.parties.get(&who).into_iter().flat_map(Party::detached);
        let mut ends = connected.filter(|end| end.who == who).chain(others);
        ends.any(|end| end.running.is_some())
    }

    /// Lets so much time pass, with all that falls due on the way.
    ///
    /// # Panics
    /// When the world never comes to rest at one moment.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now.after(span);
        let mut still = 0;
        loop {
            self.settle();
            match self.next() {
                Some(next) if next <= end => {
                    still = if next > self.now { 0 } else { still + 1 };
                    assert!(still < MAX_TURNS, "the world never comes to rest");
                    self.now = next.max(self.now);
                }
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Lets happen what happens at this moment.
    fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            if !self.turn() {
                return;
            }
        }
        panic!("the world never comes to rest");
    }

    fn turn(&mut self) -> bool {
        let mut busy = self.connect_clients();
        let links: Vec<u64> = self.links.keys().copied().collect();
        for link in links {
            busy |= self.turn_end(link, Side::Client);
            busy |= self.turn_end(link, Side::Service);
        }
        let sides: Vec<Who> = self.parties.keys().copied().collect();
        for &who in &sides {
            busy |= self.turn_absent(who);
            self.forget_absent(who);
            self.observe(who);
        }
        self.links
            .retain(|_, link| link.at_client.is_some() || link.at_service.is_some());
        busy
    }

    /// One turn of what has no connection.
    fn turn_absent(&mut self, who: Who) -> bool {
        let Some(party) = self.parties.get_mut(&who) else {
            return false;
        };
        let (absent, strays) = (party.absent.take(), core::mem::take(&mut party.strays));
        let mut busy = false;
        let mut turn = |end: &mut End| busy |= self.turn_detached(end);
        let absent = absent.map(|mut end| {
            turn(&mut end);
            end
        });
        let mut left = Vec::new();
        for mut end in strays {
            turn(&mut end);
            if !end.rx.is_cold() {
                left.push(end);
            }
        }
        if let Some(party) = self.parties.get_mut(&who) {
            (party.absent, party.strays) = (absent, left);
        }
        busy
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut at = |time: Option<Instant>| {
            if let Some(time) = time {
                next = Some(next.map_or(time, |next| next.min(time)));
            }
        };
        for link in self.links.values() {
            for (side, pipe) in [(Side::Client, &link.to_client), (Side::Service, &link.to_service)] {
                if let Some(end) = link.look(side) {
                    at(end.wake);
                    at(end.running.as_ref().map(Running::until));
                    at(pipe.next_arrival());
                }
            }
        }
        for client in &self.clients {
            at(client.attempt);
        }
        for party in self.parties.values() {
            for end in party.detached() {
                at(end.wake);
                at(end.running.as_ref().map(Running::until));
            }
        }
        next
    }

    /// Tells the application what it has not been told of a session.
    fn observe(&mut self, who: Who) {
        loop {
            let Some((session, kept)) = self.session(who) else {
                return;
            };
            let (outcome, delivered) = (kept.take_outcome(), kept.delivered());
            if let Some((number, outcome)) = outcome {
                self.tell(
                    who,
                    &What::Outcome {
                        session,
                        number,
                        outcome,
                    },
                );
                continue;
            }
            if self.told.insert(session, delivered) != Some(delivered) {
                self.tell(who, &What::Delivered { session, delivered });
            }
            return;
        }
    }

    fn tell(&mut self, who: Who, what: &What) {
        self.app.happened(self.now, who, what);
    }

    /// The connection of this side that counts.
    fn end_of(&mut self, who: Who) -> Option<&mut End> {
        let link = self.parties.get(&who)?.link?;
        self.links.get_mut(&link)?.end(who.side()).as_mut()
    }
}
