//! Servers that are what they say: rustls, and the server by hand where rustls does not show what is wanted.

use std::io::{Read, Write};
use std::sync::Arc;

use diset_embedded::blocking::{Channel as _, Open as _};
use diset_embedded::tls::{
    CertificateError, ClientKey, MAX_RECORDS, PinnedAuthority, SecretKey, SigningFailed, Tls, TlsBuffers, TlsConfig,
    TlsError, Validity,
};
use rand_core::OsRng;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::line::{End, Line, block_on, line, once};
use super::{Rule, Way, close, read, with_channel, write};
use crate::impostor::World;
use crate::impostor::certificates::{NAME, NOW};

/// As the service of diset-std for clients of 1 KiB, but for its tickets: mutual TLS 1.3, short records.
fn rustls_server(world: &World, end: End) -> StreamOwned<ServerConnection, End> {
    rustls_server_with(world, end, 2)
}

pub(crate) fn rustls_server_with(world: &World, end: End, tickets: usize) -> StreamOwned<ServerConnection, End> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(world.authority.certificate.clone()))
        .expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivatePkcs8KeyDer::from(world.service.pkcs8.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![world.service.certificate.clone().into()], key.into())
        .expect("a key for the certificate");
    config.alpn_protocols = vec![b"diset-1k/1".to_vec()];
    config.max_fragment_size = Some(1024);
    config.send_tls13_tickets = tickets;
    StreamOwned::new(ServerConnection::new(Arc::new(config)).expect("a configuration"), end)
}

/// Sends back all it gets; what comes after the client's end is `bye`.
fn echo(world: &World, end: End) -> Vec<u8> {
    let mut server = rustls_server(world, end);
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match server.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                all.extend(&buffer[..count]);
                server.write_all(&buffer[..count]).expect("the client takes it");
            }
            Err(error) => panic!("{error}, after {} bytes", all.len()),
        }
    }
    // A client that has seen enough is gone already.
    let _ = server.write_all(b"bye");
    server.conn.send_close_notify();
    let _ = server.flush();
    all
}

/// Bytes that show when one is missing.
fn pattern(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(length).collect()
}

// PROTOCOL
#[test]
fn data_go_both_ways_and_both_end_in_order() {
    let world = World::new();
    for (rule, way) in [Rule::Authority, Rule::Key]
        .into_iter()
        .zip([Way::Blocking, Way::Async])
        .chain([(Rule::Authority, Way::Trickling)])
    {
        let (client, server) = line();
        let sent = pattern(9000);
        let got = std::thread::scope(|scope| {
            let world = &world;
            let server = scope.spawn(move || echo(world, server));
            let outcome = with_channel(world, rule, way, client, |channel| {
                let mut back: Vec<u8> = Vec::new();
                let mut buffer = [0; 700];
                for part in sent.chunks(1500) {
                    write(channel, way, part).expect("the server takes it");
                    while back.len() < part.len() {
                        let count = read(channel, way, &mut buffer).expect("an echo");
                        back.extend(&buffer[..count]);
                    }
                    assert_eq!(back, part);
                    back.clear();
                }
                close(channel, way).expect("the line stands");
                close(channel, way).expect("again");
                assert_eq!(write(channel, way, b"more"), Err(TlsError::Closed));
                let count = read(channel, way, &mut buffer).expect("reading goes on");
                assert_eq!(&buffer[..count], b"bye");
                assert_eq!(read(channel, way, &mut buffer), Ok(0), "close_notify");
                assert_eq!(read(channel, way, &mut buffer), Ok(0), "it stays so");
            });
            assert_eq!(outcome, Ok(()), "{rule:?}, {way:?}");
            server.join().expect("the server has not panicked")
        });
        assert!(got == sent, "all of it, in order");
    }
}

#[test]
fn what_is_dropped_at_every_step_loses_nothing() {
    let world = World::new();
    let (client, server) = line();
    let sent = pattern(1500);
    let got = std::thread::scope(|scope| {
        let world = &world;
        let server = scope.spawn(move || echo(world, server));
        let outcome = with_channel(world, Rule::Key, Way::Trickling, client, |channel| {
            let mut rest = &sent[..];
            let mut back: Vec<u8> = Vec::new();
            // Every future is looked at once and dropped. Each call of the line waits first, and moves one byte.
            while !rest.is_empty() {
                if let Some(count) = once(diset_embedded::Channel::write(channel, rest)) {
                    rest = &rest[count.expect("the server takes it")..];
                }
            }
            while once(diset_embedded::Channel::flush(channel)).is_none() {}
            let mut buffer = [0; 7];
            while back.len() < sent.len() {
                match once(diset_embedded::Channel::read(channel, &mut buffer)) {
                    Some(count) => back.extend(&buffer[..count.expect("an echo")]),
                    None => std::thread::yield_now(),
                }
            }
            assert!(back == sent, "all of it, in order");
            while once(diset_embedded::Channel::close(channel)).is_none() {}
        });
        assert_eq!(outcome, Ok(()));
        server.join().expect("the server has not panicked")
    });
    assert!(got == sent, "all of it, in order");
}

#[test]
fn a_polled_client_takes_what_is_there_and_does_not_wait() {
    let world = World::new();
    let (client, server) = line();
    std::thread::scope(|scope| {
        let world = &world;
        let server = scope.spawn(move || echo(world, server));
        let outcome = with_channel(world, Rule::Key, Way::Blocking, client, |channel| {
            assert_eq!(channel.write_ready(), Ok(true));
            // Nothing leaves before a flush, so nothing comes back.
            assert_eq!(channel.write(b"one"), Ok(3));
            assert_eq!(channel.write(b"two"), Ok(3));
            assert_eq!(channel.read_ready(), Ok(false));
            assert_eq!(channel.flush(), Ok(()));
            while channel.read_ready() != Ok(true) {
                std::thread::yield_now();
            }
            let mut buffer = [0; 4];
            assert_eq!(channel.read(&mut buffer), Ok(4));
            assert_eq!(channel.read_ready(), Ok(true), "there is more of the record");
            assert_eq!(channel.read(&mut buffer), Ok(2));
            assert_eq!(channel.read_ready(), Ok(false));
            channel.close().expect("the line stands");
        });
        assert_eq!(outcome, Ok(()));
        assert_eq!(server.join().expect("the server has not panicked"), b"onetwo");
    });
}

#[test]
fn the_buffers_serve_one_connection_after_the_other() {
    let world = World::new();
    let buffers: TlsBuffers = TlsBuffers::new();
    let authorities: [&[u8]; 2] = [&world.crooked.self_signed.certificate, &world.authority.certificate];
    let rule = PinnedAuthority::new(&authorities, "GATEWAY.test", Validity::At(NOW));
    let mut key = SecretKey::from_bytes(&world.device.scalar()).expect("a key");
    assert_eq!(format!("{key:?}"), "SecretKey(..)");
    std::thread::scope(|scope| {
        let world = &world;
        let mut held = None;
        for round in 0..3 {
            let (client, server) = line();
            let server = scope.spawn(move || echo(world, server));
            let config = TlsConfig {
                server: &rule,
                certificate: &world.device.certificate,
                key: &mut key,
                random: &mut OsRng,
                max_records: MAX_RECORDS,
            };
            let tls = Tls::new(Line::new(client), config, &buffers).expect("long enough");
            let mut channel = match round {
                0 => tls.open().expect("a server as it should be"),
                // The variable of the client lives on, with the buffers in its type.
                1 => {
                    drop(held.take());
                    block_on(diset_embedded::Open::open(tls)).expect("a server as it should be")
                }
                _ => {
                    assert_eq!(tls.open().map(drop), Err(TlsError::BuffersInUse));
                    let _ = server.join().expect_err("the client has gone");
                    continue;
                }
            };
            channel.write(b"x").expect("room");
            channel.close().expect("the line stands");
            assert_eq!(server.join().expect("the server has not panicked"), b"x");
            held = Some(channel);
        }
    });
}

/// A key that a chip keeps, and the chip is broken.
struct Broken;

impl ClientKey for Broken {
    fn sign(&mut self, _digest: &[u8; 32]) -> Result<[u8; 64], SigningFailed> {
        Err(SigningFailed)
    }
}

#[test]
fn a_client_that_cannot_prove_itself_says_so() {
    let world = World::new();
    let buffers: TlsBuffers<1046, 1046> = TlsBuffers::new();
    let authorities: [&[u8]; 1] = [&world.authority.certificate];
    let rule = PinnedAuthority::new(&authorities, NAME, Validity::At(NOW));
    std::thread::scope(|scope| {
        let world = &world;
        let (client, server) = line();
        let server = scope.spawn(move || rustls_server(world, server).read(&mut [0; 9]).map_err(drop));
        let config = TlsConfig {
            server: &rule,
            certificate: &world.device.certificate,
            key: &mut Broken,
            random: &mut OsRng,
            max_records: MAX_RECORDS,
        };
        let tls = Tls::new(Line::new(client), config, &buffers).expect("long enough");
        assert_eq!(tls.open().map(drop), Err(TlsError::Signing));
        assert_eq!(server.join().expect("no panic"), Err(()));

        // In TLS 1.3 a server's refusal comes after the client's handshake is over.
        let (client, server) = line();
        let server = scope.spawn(move || rustls_server(world, server).read(&mut [0; 9]).map_err(drop));
        let mut key = SecretKey::from_bytes(&world.device.scalar()).expect("a key");
        let config = TlsConfig {
            server: &rule,
            certificate: &world.crooked.self_signed.certificate,
            key: &mut key,
            random: &mut OsRng,
            max_records: MAX_RECORDS,
        };
        let tls = Tls::new(Line::new(client), config, &buffers).expect("long enough");
        let mut channel = tls.open().expect("the server is all right");
        assert!(matches!(channel.read(&mut [0; 9]), Err(TlsError::Alert(42..=51))));
        assert_eq!(server.join().expect("no panic"), Err(()));
    });
}

#[test]
fn settings_that_cannot_work_are_found_before_anything_is_sent() {
    let world = World::new();
    let rule = PinnedAuthority::new(&[], NAME, Validity::At(NOW));
    let config = |max_records| TlsConfig {
        server: &rule,
        certificate: &world.device.certificate,
        key: Box::leak(Box::new(Broken)),
        random: Box::leak(Box::new(OsRng)),
        max_records,
    };
    let new = || Line::new(line().0);
    let (short_read, short_write) = (TlsBuffers::<255, 1046>::new(), TlsBuffers::<1046, 400>::new());
    let tls = Tls::new(new(), config(MAX_RECORDS), &short_read);
    assert_eq!(tls.map(drop), Err(TlsError::ReadBuffer));
    let tls = Tls::new(new(), config(MAX_RECORDS), &short_write);
    assert_eq!(tls.map(drop), Err(TlsError::WriteBuffer));
    // More than AES-GCM allows, and fewer than an end in order takes.
    let buffers: TlsBuffers = TlsBuffers::new();
    for (max_records, fits) in [
        (0, false),
        (63, false),
        (64, true),
        (1 << 24, true),
        ((1 << 24) + 1, false),
        (u32::MAX, false),
    ] {
        let tls = Tls::new(new(), config(max_records), &buffers);
        assert_eq!(
            tls.map(drop),
            if fits { Ok(()) } else { Err(TlsError::MaxRecords) },
            "{max_records}"
        );
    }
    assert_eq!(
        TlsError::Certificate(CertificateError::Expired).to_string(),
        "the server's certificate is refused: expired; check the clock"
    );
    assert_eq!(
        TlsError::Alert(48).to_string(),
        "the peer ended the connection with TLS alert 48: it refuses the client's certificate"
    );
}
