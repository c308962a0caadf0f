//! Peers that are silent, rude, late, or not who they should be, and what they are told.

mod common;

use core::time::Duration;
use std::sync::Arc;

use diset_std::diset_proto::{Instant, MAJOR, Notice};
use diset_std::rustls::pki_types::pem::PemObject;
use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use diset_std::rustls::{self, ClientConfig as TlsConfig, RootCertStore};
use diset_std::tls::throwaway::{expired, to_pem};
use diset_std::tls::{Certificate, ClientTls, ServerTls};
use diset_std::{Cause, ClientState, Code, Ended, Limits, Service};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::*;

const ALPN: &[u8] = b"diset/1";

/// A TLS client that is not ours.
async fn raw(
    world: &World,
    running: &Running<PingPong>,
    certificate: &Certificate,
    alpn: &[&[u8]],
) -> Result<TlsStream<TcpStream>, std::io::Error> {
    let (chain, key) = to_pem(certificate);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(std::io::Error::other)?;
    let mut roots = RootCertStore::empty();
    for authority in world.ca.authorities().certificates() {
        roots.add(authority.clone()).map_err(std::io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map_err(std::io::Error::other)?, key)
        .map_err(std::io::Error::other)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(&running.address).await?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

fn hurried() -> Service<PingPong> {
    answering().limits(Limits::SERVER.with_handshake(Duration::from_millis(500)))
}

#[tokio::test]
async fn silence_does_not_last_longer_than_a_handshake_may() -> TestResult {
    let world = World::new()?;
    let running = world.serve(hurried()).await?;
    // Before TLS.
    let mut silent = TcpStream::connect(&running.address).await?;
    let (_, end) = read_all(&mut silent).await;
    end?;
    // In the middle of TLS.
    let mut slow = TcpStream::connect(&running.address).await?;
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await?;
    read_all(&mut slow).await.1?;
    // After TLS.
    let mut polite = raw(&world, &running, &world.ca.client("alice")?, &[ALPN]).await?;
    let (told, end) = read_all(&mut polite).await;
    end?;
    let cause = Engine::new()?.fate(&told);
    assert!(
        matches!(&cause, Some(Cause::PeerError(notice)) if notice.code() == Code::HandshakeTimeout),
        "PROTOCOL H-9: {cause:?}"
    );
    Ok(())
}

/// Connections that never say a word.
async fn silent(running: &Running<PingPong>, count: usize) -> Result<Vec<TcpStream>, std::io::Error> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(TcpStream::connect(&running.address).await?);
    }
    Ok(all)
}

#[tokio::test]
async fn silent_connections_take_the_places_of_handshakes_only() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering().max_handshakes(4)).await?;
    let open = world.serve(answering()).await?;
    let (log, mut pongs) = log();
    let early = world
        .client(PingPong, &running, "early")?
        .on_ref::<Pong>(move |_, pong| {
            log.add(pong.id);
            Ok(())
        });
    let early = early.connect().await?;
    let mut silent = silent(&running, 4).await?;
    let late = world.client(PingPong, &running, "late")?.start()?;
    // Meanwhile others get in elsewhere.
    world.client(PingPong, &open, "late")?.connect().await?.close().await;
    assert!(
        matches!(late.state(), ClientState::Connecting),
        "all places are taken: {}",
        late.state()
    );
    // Who is in is not concerned.
    early.send(&Ping { id: 1 }).await?;
    assert_eq!(pongs.next().await, 1);
    silent.pop();
    connected(&late).await;
    // Who is in takes none of these places: one is enough for all, one after the other.
    let mut clients = vec![early, late];
    for name in ["one", "two", "three", "four", "five"] {
        clients.push(within("connected", world.client(PingPong, &running, name)?.connect()).await?);
    }
    assert_eq!(running.handle.connections().len(), clients.len());
    Ok(())
}

#[tokio::test]
async fn silent_connections_make_room_after_their_time() -> TestResult {
    let world = World::new()?;
    let running = world.serve(hurried().max_handshakes(4)).await?;
    let _silent = silent(&running, 4).await?;
    let client = world.client(PingPong, &running, "alice")?.start()?;
    connected(&client).await;
    Ok(())
}

#[tokio::test]
async fn who_does_not_speak_tls_is_sent_away() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let mut browser = TcpStream::connect(&running.address).await?;
    browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let (told, end) = read_all(&mut browser).await;
    end?;
    assert_eq!(told.first(), Some(&21), "a TLS alert: {told:?}");
    Ok(())
}

#[tokio::test]
async fn who_does_not_offer_our_protocol_is_not_listened_to() -> TestResult {
    let world = World::new()?;
    let running = world
        .serve(answering().on_connect(|_| async { panic!("PROTOCOL X-2: nothing is read") }))
        .await?;
    let certificate = world.ca.client("alice")?;
    // None at all: TLS itself allows that, so the handshake may even succeed here.
    if let Ok(mut stream) = raw(&world, &running, &certificate, &[]).await {
        let proposal = Engine::new()?.says();
        stream.write_all(&proposal).await.ok();
        let (told, _) = read_all(&mut stream).await;
        assert!(told.is_empty(), "PROTOCOL X-2: {told:?}");
    }
    // Another one.
    let other = raw(&world, &running, &certificate, &[b"h2"]).await;
    let error = other.err().ok_or("PROTOCOL X-2: h2 was accepted")?;
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "PROTOCOL X-2: {error}"
    );
    Ok(())
}

#[tokio::test]
async fn garbage_is_answered_before_the_end() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let certificate = world.ca.client("alice")?;
    let preamble = [0xd1, 0x53, 0x45, 0x54, MAJOR];
    // An unknown kind of frame; one too soon; one that is too long for a handshake.
    let cases: [(&[u8], &[u8], Code); 3] = [
        (&preamble, &[1, 0x86], Code::Unexpected),
        (&preamble, &[1, 0x9f], Code::UnknownKind),
        (&preamble, &[0xff, 0x7f, 0x80], Code::FrameTooLong),
    ];
    for (front, garbage, expected) in cases {
        for ends_at_once in [false, true] {
            let mut stream = raw(&world, &running, &certificate, &[ALPN]).await?;
            stream.write_all(&[front, garbage].concat()).await?;
            if ends_at_once {
                stream.shutdown().await?;
            } else {
                // Still talking when the error comes (PROTOCOL E-4).
                stream.write_all(&[b'x'; 100_000]).await?;
            }
            let (told, end) = read_all(&mut stream).await;
            end.map_err(|error| format!("PROTOCOL X-4: no close_notify: {error}"))?;
            let cause = Engine::new()?.fate(&told);
            assert!(
                matches!(&cause, Some(Cause::PeerError(notice)) if notice.code() == expected),
                "PROTOCOL E-3, E-4: {expected:?}, ended at once: {ends_at_once}: {cause:?}"
            );
        }
    }
    // Who does not speak DISET could not read an error.
    let mut stream = raw(&world, &running, &certificate, &[ALPN]).await?;
    stream.write_all(b"GET / HTTP/1.1\r\n").await?;
    let (told, end) = read_all(&mut stream).await;
    end.map_err(|error| format!("PROTOCOL X-4: no close_notify: {error}"))?;
    assert!(preamble.starts_with(&told), "PROTOCOL P-2: {told:?}");
    Ok(())
}

#[tokio::test]
async fn a_peer_that_streams_on_after_its_error_is_cut_off() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let mut stream = raw(&world, &running, &world.ca.client("alice")?, &[ALPN]).await?;
    let streaming = async {
        // It never reads and never stops.
        while stream.write_all(&[b'x'; 16_384]).await.is_ok() {}
    };
    within("PROTOCOL E-4: 256 KiB, then the end", streaming).await;
    Ok(())
}

#[tokio::test]
async fn an_end_in_order_is_answered_in_order_and_a_cut_is_a_loss() -> TestResult {
    let world = World::new()?;
    let (log, mut drops) = log();
    let running = world
        .serve(answering().on_drop(move |_, why| {
            log.add(why);
            async {}
        }))
        .await?;
    let certificate = world.ca.client("alice")?;
    for in_order in [true, false] {
        let mut engine = Engine::new()?;
        let mut stream = raw(&world, &running, &certificate, &[ALPN]).await?;
        engine.open(&mut stream).await?;
        if in_order {
            engine
                .conn
                .go_away(Instant::ZERO, Notice::new(Code::Done), Duration::from_secs(5))?;
            stream.write_all(&engine.says()).await?;
            let (_, end) = read_all(&mut stream).await;
            end.map_err(|error| format!("PROTOCOL X-4, G-2: {error}"))?;
            stream.shutdown().await.ok();
            let why = drops.next().await;
            assert!(matches!(why.cause(), Cause::WentAway(_)), "PROTOCOL G-2: {why}");
        } else {
            drop(stream);
            let why = drops.next().await;
            assert!(matches!(why.cause(), Cause::Lost), "PROTOCOL X-4: {why}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn certificates_that_are_not_good_enough_are_refused_with_a_reason() -> TestResult {
    let world = World::new()?;
    let revoked = world.ca.client("eve")?;
    let other = World::new()?;
    let server = ServerTls::builder(world.ca.server(&["localhost"])?, world.ca.authorities())
        .revocations(world.ca.revoke(&[&revoked])?)
        .build()?;
    let running = run(answering().bind("127.0.0.1:0", server).await?);
    let late = world.ca.client_valid("late", expired())?;
    let stranger = other.ca.client("stranger")?;
    for (certificate, reason) in [
        (revoked, "has been revoked"),
        (late, "has expired"),
        (stranger, "the ca.pem of the same authority?"),
    ] {
        let tls = ClientTls::builder(certificate, world.ca.authorities())
            .without_validity_check()
            .build()?;
        let client = world.client(PingPong, &running, "nobody")?.tls(tls).start()?;
        let waiting = until(&client, reason, |state| matches!(state, ClientState::Waiting { .. })).await;
        let ClientState::Waiting { why, .. } = waiting else {
            return Err("not waiting".into());
        };
        let Ended::Tls { reason: told, .. } = &why else {
            return Err(format!("{reason}: {why}").into());
        };
        assert!(told.contains(reason), "{told}");
    }
    // A service that cannot prove its name.
    let wrong = run(answering()
        .bind(
            "127.0.0.1:0",
            ServerTls::new(world.ca.server(&["elsewhere"])?, world.ca.authorities())?,
        )
        .await?);
    let refused = world.client(PingPong, &wrong, "alice")?.connect().await;
    let told = refused.err().ok_or("the name was not proved")?.to_string();
    assert!(
        told.contains("does not prove the name localhost, but elsewhere;"),
        "{told}"
    );
    // A service of another authority.
    let strange = run(answering()
        .bind(
            "127.0.0.1:0",
            ServerTls::new(other.ca.server(&["localhost"])?, world.ca.authorities())?,
        )
        .await?);
    let refused = world.client(PingPong, &strange, "alice")?.connect().await;
    let told = refused.err().ok_or("its authority was not trusted")?.to_string();
    assert!(told.contains("this side does not trust its authority"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_peer_that_vanishes_is_missed() -> TestResult {
    let world = World::new()?;
    let (log, mut drops) = log();
    let running = world
        .serve(
            answering()
                .limits(Limits::SERVER.with_max_silence(Duration::from_millis(200)))
                .on_drop(move |_, why| {
                    log.add(why);
                    async {}
                }),
        )
        .await?;
    let mut engine = Engine::new()?;
    let mut stream = raw(&world, &running, &world.ca.client("alice")?, &[ALPN]).await?;
    stream.write_all(&engine.says()).await?;
    // Its socket stays, nobody is behind it.
    let why = drops.next().await;
    assert!(matches!(why.cause(), Cause::Silent), "PROTOCOL K-4: {why}");
    let (told, _) = read_all(&mut stream).await;
    let cause = engine.fate(&told);
    assert!(
        matches!(&cause, Some(Cause::PeerError(notice)) if notice.code() == Code::Silent),
        "PROTOCOL K-4: {cause:?}"
    );
    Ok(())
}
