//! TLS against impostors, traitors and honest servers, by both clients.
//!
//! What must hold for every impostor: a typed error, no panic, and the impostor has read neither a byte of the
//! application nor the client's certificate.

mod honest;
mod impostors;
mod limits;
mod line;
mod upstream;

use diset_embedded::tls::{
    MAX_RECORDS, PinnedAuthority, PinnedKey, SecretKey, Tls, TlsBuffers, TlsChannel, TlsConfig, TlsError, Validity,
    VerifyServer,
};
use diset_embedded::{Channel, Open};
use rand_core::OsRng;

use crate::impostor::World;
use crate::impostor::certificates::{NAME, NOW};
use line::{End, Line, block_on};

/// How a client is driven.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Blocking,
    Async,
    /// A byte at a time, and each call of the transport waits first.
    Trickling,
}

const WAYS: [Way; 3] = [Way::Blocking, Way::Async, Way::Trickling];

/// What a client wants of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Authority,
    Key,
}

/// Opens a channel with the device of the world, and uses it.
fn with_channel<R>(
    world: &World,
    rule: Rule,
    way: Way,
    end: End,
    then: impl FnOnce(&mut TlsChannel<'_, Line>) -> R,
) -> Result<R, TlsError> {
    let authorities: [&[u8]; 1] = [&world.authority.certificate];
    let pins = [[1; 32], world.service.pin()];
    let (by_authority, by_key);
    let server: &dyn VerifyServer = match rule {
        Rule::Authority => {
            by_authority = PinnedAuthority::new(&authorities, NAME, Validity::At(NOW));
            &by_authority
        }
        Rule::Key => {
            by_key = PinnedKey::new(&pins);
            &by_key
        }
    };
    opened(world, server, MAX_RECORDS, way, end, then)
}

fn opened<R>(
    world: &World,
    server: &dyn VerifyServer,
    max_records: u32,
    way: Way,
    end: End,
    then: impl FnOnce(&mut TlsChannel<'_, Line>) -> R,
) -> Result<R, TlsError> {
    let buffers: TlsBuffers = TlsBuffers::new();
    let mut key = SecretKey::from_bytes(&world.device.scalar()).expect("a key");
    let config = TlsConfig {
        server,
        certificate: &world.device.certificate,
        key: &mut key,
        random: &mut OsRng,
        max_records,
    };
    let line = if way == Way::Trickling {
        Line::trickling(end)
    } else {
        Line::new(end)
    };
    let tls = Tls::new(line, config, &buffers)?.ending_with(limits::hang_up);
    let mut channel = match way {
        Way::Blocking => diset_embedded::blocking::Open::open(tls)?,
        _ => block_on(Open::open(tls))?,
    };
    Ok(then(&mut channel))
}

fn read(channel: &mut TlsChannel<'_, Line>, way: Way, buffer: &mut [u8]) -> Result<usize, TlsError> {
    match way {
        Way::Blocking => diset_embedded::blocking::Channel::read(channel, buffer),
        _ => block_on(Channel::read(channel, buffer)),
    }
}

fn write(channel: &mut TlsChannel<'_, Line>, way: Way, mut bytes: &[u8]) -> Result<(), TlsError> {
    while !bytes.is_empty() {
        let count = match way {
            Way::Blocking => diset_embedded::blocking::Channel::write(channel, bytes),
            _ => block_on(Channel::write(channel, bytes)),
        }?;
        bytes = &bytes[count..];
    }
    match way {
        Way::Blocking => diset_embedded::blocking::Channel::flush(channel),
        _ => block_on(Channel::flush(channel)),
    }
}

fn close(channel: &mut TlsChannel<'_, Line>, way: Way) -> Result<(), TlsError> {
    match way {
        Way::Blocking => diset_embedded::blocking::Channel::close(channel),
        _ => block_on(Channel::close(channel)),
    }
}
