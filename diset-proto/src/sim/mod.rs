//! Two peers on a virtual clock: deterministic runs of the whole protocol (feature `sim`). A service with several
//! clients, sessions and faults is in [`world`]; [`trial`] judges those.
//!
//! A [`Pair`] is a client and a service with a pipe each way that splits, delays, stalls
//! and cuts. Everything follows from the seed: the same seed gives the same run. Use it to
//! test an application's handlers without sockets and without waiting.
//!
//! ```
//! use diset_proto::sim::{Happened, Pair};
//! # use diset_proto::{Schema, define_service, MessageOf};
//! # use serde::{Deserialize, Serialize};
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Ping { id: i64 }
//! define_service! { pub Echo = "Demo/Echo"; both: [Ping] }
//!
//! let mut pair = Pair::of::<Echo, Echo>().chunks_of(1).start();
//! pair.settle();
//! pair.client.conn.send(Ping::NUMBER, &Ping { id: 7 })?;
//! pair.settle();
//! assert!(matches!(pair.service.log.last(), Some(Happened::Message { name: "Ping", .. })));
//! # Ok::<(), diset_proto::SendError>(())
//! ```

#![allow(clippy::panic, reason = "a tool for tests: a wrong setup ends the test")]

mod halves;
mod peer;
mod pipe;
mod random;
pub mod trial;
pub mod world;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use postcard_schema::schema::NamedType;

pub use self::halves::{Halves, Later, Simulated};
pub use self::peer::{Decision, Happened, Peer};
pub use self::pipe::{Chunks, Pipe};
pub use self::random::Random;
use crate::conn::slot::NoSession;
use crate::conn::{AdoptConfig, ClientConfig};
use crate::definition::Digest;
use crate::error::Misuse;
use crate::id::{Identity, Trid};
use crate::limits::Limits;
use crate::schema::agree::Agreement;
use crate::schema::told::Descriptions;
use crate::schema::{Catalog, ServiceDef};
use crate::time::Instant;
use crate::wire::args::Arg;
use crate::wire::packet::Proposal;

/// Most turns of [`Pair::settle`] before it is taken for an endless loop.
const MAX_TURNS: usize = 1_000_000;

/// How a [`Pair`] begins.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Setup {
    /// `None`: it adopts the service's.
    client: Option<&'static Catalog>,
    client_structures: &'static [&'static NamedType],
    service: &'static Catalog,
    service_structures: &'static [&'static NamedType],
    told: Option<Descriptions>,
    identity: Identity,
    client_limits: Limits,
    service_limits: Limits,
    args: Vec<(&'static str, Arg<'static>)>,
    known: Vec<(Digest, Agreement)>,
    trid: Trid,
    start: Instant,
    output: usize,
    chunks: Chunks,
    delay: Duration,
    seed: u64,
    admit: Box<dyn FnMut(&Proposal<'_>) -> Decision>,
}

impl Setup {
    /// The limits of either side.
    #[must_use]
    pub fn limits(mut self, client: Limits, service: Limits) -> Self {
        (self.client_limits, self.service_limits) = (client, service);
        self
    }

    /// The client's identity.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// The connect arguments.
    #[must_use]
    pub fn args(mut self, args: &[(&'static str, Arg<'static>)]) -> Self {
        self.args = args.to_vec();
        self
    }

    /// An older catalog that the service knows by its digest.
    #[must_use]
    pub fn known(mut self, older: &Catalog) -> Self {
        self.known
            .push((older.digest(), Agreement::between(self.service, older)));
        self
    }

    /// The transport id that the service will give.
    #[must_use]
    pub fn trid(mut self, trid: Trid) -> Self {
        self.trid = trid;
        self
    }

    /// The time at which the run begins.
    #[must_use]
    pub fn at(mut self, start: Instant) -> Self {
        self.start = start;
        self
    }

    /// Size of both output buffers in bytes.
    #[must_use]
    pub fn output(mut self, bytes: usize) -> Self {
        self.output = bytes;
        self
    }

    /// Bytes arrive in pieces of this many.
    #[must_use]
    pub fn chunks_of(mut self, bytes: usize) -> Self {
        self.chunks = Chunks::Of(bytes);
        self
    }

    /// Bytes arrive in pieces of a length drawn from the seed.
    #[must_use]
    pub fn random_chunks(mut self, seed: u64) -> Self {
        self.chunks = Chunks::Random;
        self.seed = seed;
        self
    }

    /// Bytes take this long, each way.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What the service decides on a proposal; without it everybody is admitted.
    #[must_use]
    pub fn admit(mut self, admit: impl FnMut(&Proposal<'_>) -> Decision + 'static) -> Self {
        self.admit = Box::new(admit);
        self
    }

    /// The two peers, with the proposal on its way.
    ///
    /// # Panics
    /// When the setup itself cannot be: limits that do not fit, too many arguments.
    pub fn start(self) -> Pair {
        let client = match self.client_halves() {
            Ok(client) => client,
            Err(misuse) => panic!("the client cannot start: {misuse}"),
        };
        let mut service = self.halves(&self.service_limits);
        if let Err(misuse) = service.listen(self.service, self.service_limits) {
            panic!("the service cannot start: {misuse}");
        }
        if let Some(told) = self.told {
            service.tx.telling(told);
        }
        Pair {
            now: self.start,
            client: Peer::new(client, self.client.unwrap_or(self.service), self.client_structures),
            service: Peer::new(service, self.service, self.service_structures)
                .admitting(self.admit, self.known, self.trid),
            to_service: Pipe::new(self.chunks, self.delay, self.seed),
            to_client: Pipe::new(self.chunks, self.delay, !self.seed),
            flights: 0,
            last_speaker: None,
        }
    }

    fn halves(&self, limits: &Limits) -> Halves {
        Halves::new(self.start, limits, self.output, NoSession)
    }

    fn client_halves(&self) -> Result<Halves, Misuse> {
        let mut client = self.halves(&self.client_limits);
        let (identity, limits, args) = (self.identity, self.client_limits, self.args.as_slice());
        match self.client {
            Some(catalog) => client.connect(&ClientConfig {
                catalog,
                identity,
                limits,
                args,
            }),
            None => client.adopt(&AdoptConfig {
                service: self.service.service(),
                identity,
                limits,
                args,
            }),
        }?;
        Ok(client)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Service,
}

/// A client and a service, a pipe each way, and the time.
#[derive(Debug)]
pub struct Pair {
    /// The virtual time.
    pub now: Instant,
    /// The client.
    pub client: Peer,
    /// The service.
    pub service: Peer,
    /// Bytes on their way from client to service.
    pub to_service: Pipe,
    /// Bytes on their way from service to client.
    pub to_client: Pipe,
    flights: usize,
    last_speaker: Option<Speaker>,
}

impl Pair {
    /// A setup for a client of `C` and a service `S`, which are the same service or two
    /// forms of it.
    pub fn of<C: ServiceDef, S: ServiceDef>() -> Setup {
        Setup {
            client: Some(C::CATALOG),
            client_structures: C::STRUCTURES,
            ..Self::adopting::<S>()
        }
    }

    /// A setup for a service `S` and a client that takes its catalog.
    pub fn adopting<S: ServiceDef>() -> Setup {
        Setup {
            client: None,
            client_structures: S::STRUCTURES,
            service: S::CATALOG,
            service_structures: S::STRUCTURES,
            told: Descriptions::of::<S>().ok(),
            identity: Identity::from_bytes([0x1d; 16]),
            client_limits: Limits::SERVER,
            service_limits: Limits::SERVER,
            args: Vec::new(),
            known: Vec::new(),
            trid: Trid::new(1),
            start: Instant::from_millis(1_000),
            output: 128 * 1024,
            chunks: Chunks::Whole,
            delay: Duration::ZERO,
            seed: 0,
            admit: Box::new(|_| Decision::Admit),
        }
    }

    /// One round: both sides write, then both read what has arrived by now. False when
    /// nothing happened.
    pub fn turn(&mut self) -> bool {
        let (wrote, mut busy) = self.client.write(self.now, &mut self.to_service);
        self.count(Speaker::Client, wrote);
        busy |= self.service.read(self.now, &mut self.to_service);
        let (wrote, happened) = self.service.write(self.now, &mut self.to_client);
        self.count(Speaker::Service, wrote);
        busy |= happened;
        busy | self.client.read(self.now, &mut self.to_client)
    }

    /// Turns until nothing more happens at this time, or on its way.
    ///
    /// # Panics
    /// After a million turns: the two never come to rest.
    pub fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            if self.turn() {
                continue;
            }
            match self.next_arrival() {
                Some(arrival) => self.now = self.now.max(arrival),
                None => return,
            }
        }
        panic!("the two peers never come to rest");
    }

    /// Lets so much time pass, with all that falls due on the way.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            while self.turn() {}
            let next = [self.client.conn.wake(), self.service.conn.wake(), self.next_arrival()];
            match next.into_iter().flatten().filter(|&time| time > self.now).min() {
                Some(next) if next <= end => self.now = next,
                _ => break,
            }
        }
        self.now = end;
        while self.turn() {}
    }

    /// The transport breaks: what is under way is lost, both sides see the end.
    pub fn cut(&mut self) {
        self.to_service.cut();
        self.to_client.cut();
    }

    /// How many flights there were so far: runs of bytes one way before the other answers.
    pub fn flights(&self) -> usize {
        self.flights
    }

    fn next_arrival(&self) -> Option<Instant> {
        [self.to_service.next_arrival(), self.to_client.next_arrival()]
            .into_iter()
            .flatten()
            .min()
    }

    fn count(&mut self, speaker: Speaker, wrote: bool) {
        if wrote && self.last_speaker != Some(speaker) {
            self.last_speaker = Some(speaker);
            self.flights += 1;
        }
    }
}
