//! Both clients over TLS against the service of diset-std: real sockets, real certificates.

mod careless;
mod host;
mod lines;
mod refused;
mod story;
mod tap;
mod worn;

use diset_embedded::tls::{MAX_RECORDS, PinnedAuthority, PinnedKey, TlsBuffers, TlsError, Validity, VerifyServer};
use diset_embedded::{Config, Limits};
use tokio::runtime::Runtime;

use crate::agents::{Agent, Awaited, IDENTITY, Memory, Polled, Store};
use crate::impostor::certificates::{Credentials, NAME, NOW, World};
use lines::{Ends, Tls};

/// How a client is driven.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Blocking,
    Async,
}

const WAYS: [Way; 2] = [Way::Blocking, Way::Async];

/// What a client is made with.
struct Made<'m> {
    device: &'m Credentials,
    server: &'m dyn VerifyServer,
    limits: Limits,
    max_records: u32,
    /// It counts its records, too, and does not leave that to the service.
    says_worn: bool,
}

impl<'m> Made<'m> {
    fn new(world: &'m World, server: &'m dyn VerifyServer) -> Self {
        Self {
            device: &world.device,
            server,
            limits: Limits::CHIP,
            max_records: MAX_RECORDS,
            says_worn: true,
        }
    }
}

/// Makes a client, and tells its story.
fn with_agent(runtime: &Runtime, way: Way, made: &Made<'_>, story: impl FnOnce(&mut dyn Agent<TlsError>, &Ends)) {
    let ends = Ends::default();
    let records: TlsBuffers = TlsBuffers::new();
    let (mut buffers, mut outbox) = (Memory::new(), Store::with_inbox());
    let lines = Tls::new(made, &records, &ends);
    let config = Config {
        limits: made.limits,
        ..Config::new(IDENTITY, 7)
    };
    match way {
        Way::Blocking => story(&mut Polled::new(config, &mut buffers, &mut outbox, lines), &ends),
        Way::Async => story(
            &mut Awaited::new(config, &mut buffers, &mut outbox, lines, runtime),
            &ends,
        ),
    }
}

/// What judges the service: its authority, or its key.
fn with_rules(world: &World, mut then: impl FnMut(&dyn VerifyServer)) {
    let authorities: [&[u8]; 1] = [&world.authority.certificate];
    then(&PinnedAuthority::new(&authorities, NAME, Validity::At(NOW)));
    let pins = [world.service.pin()];
    then(&PinnedKey::new(&pins));
}
