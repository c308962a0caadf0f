//! Clients that hold small records only, beside others, with the same settings of the service.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use rustls::client::{ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup};
use rustls::{RootCertStore, SignatureScheme};

use super::*;
use crate::tls::{ALPN, ALPN_SMALL, Certificate, SMALL_FRAGMENT, SMALL_RECORD, TlsBuilder};

/// Notes what a client is told in a handshake.
#[derive(Debug)]
struct Noted {
    key: Arc<CertifiedKey>,
    hints: Mutex<Vec<usize>>,
    tickets: AtomicUsize,
}

impl ResolvesClientCert for Noted {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.hints.lock().expect("no panic").push(hints.len());
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientSessionStore for Noted {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.tickets.fetch_add(1, Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// A client of rustls that knows no more than embedded-tls does, and what came to it.
struct Small {
    tls: ClientConnection,
    noted: Arc<Noted>,
    /// The records of the service: kind, and length with the header.
    records: Vec<(u8, usize)>,
    plaintext: Vec<u8>,
    error: Option<rustls::Error>,
}

impl Small {
    fn new(world: &World, certificate: &Certificate, protocols: &[&[u8]]) -> Result<Self, Box<dyn core::error::Error>> {
        let provider = world.server.now().config.crypto_provider().as_ref().clone();
        let key = provider.key_provider.load_private_key(certificate.key().clone_key())?;
        let noted = Arc::new(Noted {
            key: Arc::new(CertifiedKey::new(certificate.chain().to_vec(), key)),
            hints: Mutex::default(),
            tickets: AtomicUsize::new(0),
        });
        let mut roots = RootCertStore::empty();
        for authority in world.ca.authorities().certificates() {
            roots.add(authority.clone())?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(narrow(provider)))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::clone(&noted) as Arc<dyn ResolvesClientCert>);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = rustls::client::Resumption::store(Arc::clone(&noted) as Arc<dyn ClientSessionStore>);
        Ok(Self {
            tls: ClientConnection::new(Arc::new(config), name("localhost"))?,
            noted,
            records: Vec::new(),
            plaintext: Vec::new(),
            error: None,
        })
    }

    /// What it has to say.
    fn says(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut said).expect("a vector takes all");
        }
        said
    }

    /// Carries everything both ways.
    fn carry(&mut self, server: &mut End) {
        loop {
            let said = self.says();
            let answer = server.out.pending().to_vec();
            server.out.sent(answer.len());
            if said.is_empty() && answer.is_empty() {
                return;
            }
            if !said.is_empty() {
                server.input.extend_from_slice(&said);
                server.turn();
            }
            self.hears(&answer);
        }
    }

    fn hears(&mut self, mut answer: &[u8]) {
        let mut rest = answer;
        while let Some(([kind, _, _, high, low], behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            self.records.push((*kind, HEADER + length));
            rest = &behind[length..];
        }
        while !answer.is_empty() && self.error.is_none() {
            self.tls.read_tls(&mut answer).expect("there is room");
            match self.tls.process_new_packets() {
                Ok(state) => {
                    let mut piece = vec![0; state.plaintext_bytes_to_read()];
                    std::io::Read::read_exact(&mut self.tls.reader(), &mut piece).expect("it is there");
                    self.plaintext.extend(piece);
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn longest(&self) -> usize {
        self.records.iter().map(|(_, length)| *length).max().unwrap_or(0)
    }

    fn encrypted(&self) -> usize {
        self.records.iter().filter(|(kind, _)| *kind == 23).count()
    }
}

/// Only what embedded-tls offers: a share on P-256, one cipher.
fn narrow(mut provider: CryptoProvider) -> CryptoProvider {
    let cipher = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.retain(|suite| suite.suite() == cipher);
    provider.kx_groups.retain(|group| group.name() == NamedGroup::secp256r1);
    assert_eq!([provider.cipher_suites.len(), provider.kx_groups.len()], [1, 1]);
    provider
}

/// A world whose service serves such clients, too.
fn open_world() -> Result<World, Box<dyn core::error::Error>> {
    let mut world = World::new()?;
    world.server = open_settings(&world)?.build()?;
    Ok(world)
}

fn open_settings(world: &World) -> Result<TlsBuilder<ServerTls>, Box<dyn core::error::Error>> {
    let certificate = world.ca.server(&["localhost"])?;
    Ok(ServerTls::builder(certificate, world.ca.authorities()).small_records(None))
}

/// What the features bring, as it comes.
fn providers() -> Vec<CryptoProvider> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        rustls::crypto::aws_lc_rs::default_provider(),
        #[cfg(feature = "ring")]
        rustls::crypto::ring::default_provider(),
    ]
}

#[test]
fn records_are_small_and_nothing_is_said_in_vain() -> TestResult {
    let mut world = World::new()?;
    for provider in providers() {
        let settings = open_settings(&world)?.crypto_provider(Arc::new(provider));
        world.server = settings.build()?;
        small_records_with(&world)?;
    }
    Ok(())
}

/// What a client with small records gets, of this service.
fn small_records_with(world: &World) -> TestResult {
    let mut client = Small::new(world, &world.ca.client("sensor")?, &[ALPN_SMALL])?;
    let mut server = End::new(server(&world.server))?;
    client.carry(&mut server);
    assert!(client.error.is_none() && server.error.is_none(), "{:?}", server.error);
    assert_eq!(
        client.tls.handshake_kind(),
        Some(HandshakeKind::Full),
        "without another hello"
    );
    assert_eq!(server.subject(), "CN=sensor,O=diset throwaway");
    // PROTOCOL X-8: one record from EncryptedExtensions to Finished, no names of authorities, no tickets.
    assert_eq!(client.encrypted(), 1, "{:?}", client.records);
    println!("the records of the service in the handshake: {:?}", client.records);
    assert_eq!(*client.noted.hints.lock().expect("no panic"), [0]);

    client.records.clear();
    server.channel.seal(&bytes(16 * 1024), &mut server.out)?;
    client.carry(&mut server);
    assert_eq!(client.plaintext, bytes(16 * 1024));
    assert_eq!(client.encrypted(), (16 * 1024usize).div_ceil(SMALL_FRAGMENT));
    assert_eq!(client.longest(), SMALL_RECORD, "PROTOCOL X-8: header included");
    assert_eq!(client.noted.tickets.load(Relaxed), 0, "PROTOCOL X-8");

    // The other way nothing is special.
    std::io::Write::write_all(&mut client.tls.writer(), b"a reading")?;
    client.carry(&mut server);
    assert_eq!(server.plaintext, b"a reading");
    Ok(())
}

#[test]
fn others_keep_full_records_and_tickets() -> TestResult {
    let world = open_world()?;
    for (chunk, resumed) in [(usize::MAX, false), (usize::MAX, true), (1, true)] {
        let (mut client, mut server) = meet(&world.client, &world.server, chunk)?;
        assert_eq!(server.resumed(), Some(resumed));
        let before = server.out.pending().len();
        server.channel.seal(&bytes(16 * 1024), &mut server.out)?;
        assert_eq!(whole_records(&server.out.pending()[before..], 0).1, 1);
        carry(&mut client, &mut server, usize::MAX);
        part(&mut client, &mut server)?;
    }
    // They are told of the authority, too.
    let mut client = Small::new(&world, &world.ca.client("alice")?, &[ALPN])?;
    let mut server = End::new(server(&world.server))?;
    client.carry(&mut server);
    assert_eq!(*client.noted.hints.lock().expect("no panic"), [1]);
    assert!(client.noted.tickets.load(Relaxed) > 0);
    Ok(())
}

#[test]
fn who_offers_both_gets_the_small_ones_and_who_offers_neither_is_refused() -> TestResult {
    let (world, closed) = (open_world()?, World::new()?);
    let try_it = |world: &World, protocols: &[&[u8]]| -> Result<_, Box<dyn core::error::Error>> {
        let mut client = Small::new(world, &world.ca.client("sensor")?, protocols)?;
        let mut server = End::new(server(&world.server))?;
        client.carry(&mut server);
        Ok((client.tls.alpn_protocol().map(<[u8]>::to_vec), server))
    };
    for protocols in [[ALPN, ALPN_SMALL], [ALPN_SMALL, ALPN]] {
        let (agreed, server) = try_it(&world, &protocols)?;
        assert_eq!(agreed.as_deref(), Some(ALPN_SMALL));
        assert!(server.channel.is_established());
    }
    let refused: [(&World, &[&[u8]]); 4] = [
        (&world, &[]),
        (&world, &[b"h2"]),
        (&closed, &[ALPN_SMALL]),
        (&world, &[b"diset-1k/2"]),
    ];
    for (world, protocols) in refused {
        let (_, server) = try_it(world, protocols)?;
        assert!(
            matches!(server.error, Some(ChannelError::NoAlpn)),
            "PROTOCOL X-2: {:?}",
            server.error
        );
        assert!(server.established.is_none());
    }
    Ok(())
}

#[test]
fn certificates_are_judged_as_those_of_others() -> TestResult {
    let world = open_world()?;
    let revoked = world.ca.client("revoked")?;
    let enter =
        |certificate: &Certificate, meanwhile: &dyn Fn() -> TestResult| -> Result<_, Box<dyn core::error::Error>> {
            let mut client = Small::new(&world, certificate, &[ALPN_SMALL])?;
            let mut server = End::new(server(&world.server))?;
            server.input.extend(client.says());
            server.turn();
            meanwhile()?;
            client.carry(&mut server);
            Ok(server)
        };
    let stranger = ThrowawayCa::new()?.client("stranger")?;
    let server = enter(&stranger, &|| Ok(()))?;
    assert!(
        matches!(server.error, Some(ChannelError::CertificateRefused(..))),
        "{:?}",
        server.error
    );

    let live = enter(&revoked, &|| Ok(()))?;
    assert!(live.channel.is_established());
    // PROTOCOL X-5: what is accepted changes in the middle of a handshake.
    let revoke = || {
        let lists = world.ca.revoke(&[&revoked])?;
        Ok(world.server.change(|tls| tls.revocations(lists))?)
    };
    let server = enter(&revoked, &revoke)?;
    let Some(ChannelError::NoLongerAccepted(rustls::Error::InvalidCertificate(CertificateError::Revoked), _)) =
        server.error
    else {
        return Err(format!("{:?}", server.error).into());
    };
    // The live one can be looked at again.
    assert!(live.channel.recheck(Duration::ZERO).is_err());
    let server = enter(&revoked, &|| Ok(()))?;
    assert!(matches!(
        server.error,
        Some(ChannelError::CertificateRefused(CertificateError::Revoked, _))
    ));
    assert!(enter(&world.ca.client("sensor")?, &|| Ok(()))?.channel.is_established());
    Ok(())
}

#[test]
fn a_hello_that_is_not_one_record_is_not_waited_for() -> TestResult {
    let world = open_world()?;
    let mut client = Small::new(&world, &world.ca.client("sensor")?, &[ALPN_SMALL])?;
    let hello = client.says();
    let (first, second) = hello[HEADER..].split_at(100);
    let record = |piece: &[u8]| {
        let length = u16::try_from(piece.len()).expect("short").to_be_bytes();
        [&[22, 3, 1][..], &length, piece].concat()
    };
    let mut split = End::new(server(&world.server))?;
    split.input = [record(first), record(second)].concat();
    split.turn();
    assert!(
        matches!(split.error, Some(ChannelError::NoAlpn)),
        "PROTOCOL X-8: {:?}",
        split.error
    );
    // Byte by byte is no matter.
    let mut slow = End::new(server(&world.server))?;
    for byte in &hello {
        assert!(slow.out.is_empty());
        slow.input.push(*byte);
        slow.turn();
    }
    client.carry(&mut slow);
    assert!(slow.channel.is_established(), "{:?}", slow.error);
    Ok(())
}

#[test]
fn nonsense_in_place_of_a_hello_is_refused_as_ever() -> TestResult {
    let (world, closed) = (open_world()?, World::new()?);
    let nonsense: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xd1, b'S', b'E', b'T', 1],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[22, 3, 1, 0, 0],
        &[23, 3, 3, 0, 1, 0],
        &[22, 3, 1, 0xff, 0xff],
    ];
    for bytes in nonsense {
        let say = |world: &World| -> Result<_, ChannelError> {
            let mut end = End::new(server(&world.server))?;
            end.input.extend_from_slice(bytes);
            end.turn();
            Ok((format!("{:?}", end.error), end.out.pending().to_vec(), end.input.len()))
        };
        assert_eq!(say(&world)?, say(&closed)?, "{bytes:?}");
    }
    // Who is sent away before the hello is told so, and nothing is heard of it after that.
    let mut early = End::new(server(&world.server))?;
    assert!(matches!(
        early.channel.seal(b"x", &mut early.out),
        Err(ChannelError::NotEstablished)
    ));
    early.channel.close(&mut early.out);
    assert_eq!(early.out.pending(), CLOSE_IN_CLEAR);
    let mut late = Small::new(&world, &world.ca.client("late")?, &[ALPN_SMALL])?.says();
    let received = early
        .channel
        .receive(&mut late, &mut early.out, &mut |_| panic!("it has ended"))?;
    assert_eq!(received.consumed, late.len());
    Ok(())
}

#[test]
fn no_more_records_go_out_than_the_peer_can_take() -> TestResult {
    let world = open_world()?;
    let mut client = Small::new(&world, &world.ca.client("sensor")?, &[ALPN_SMALL])?;
    let mut server = End::new(server(&world.server))?;
    client.carry(&mut server);
    client.records.clear();
    server.channel.limit_records(20);
    // PROTOCOL G-6: both directions count, each by itself.
    for _ in 0..11 {
        server.channel.seal(b"x", &mut server.out)?;
        std::io::Write::write_all(&mut client.tls.writer(), b"y")?;
        client.carry(&mut server);
        assert!(!server.channel.is_near_record_limit());
    }
    std::io::Write::write_all(&mut client.tls.writer(), b"y")?;
    client.carry(&mut server);
    assert!(server.channel.is_near_record_limit());

    let sealed = server.channel.seal(&bytes(20_000), &mut server.out)?;
    assert_eq!(sealed, 8 * SMALL_FRAGMENT);
    let refused = server.channel.seal(b"x", &mut server.out);
    assert!(matches!(refused, Err(ChannelError::NoRecordsLeft)), "{refused:?}");
    server.channel.close(&mut server.out);
    client.carry(&mut server);
    assert_eq!(client.encrypted(), 20, "PROTOCOL G-6: the last one tells the end");
    assert!(client.error.is_none());
    Ok(())
}
