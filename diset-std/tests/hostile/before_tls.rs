//! Before and in TLS: who does not speak it, proves nothing, proves the wrong thing, or says
//! nothing at all.

use core::time::Duration;
use std::sync::Arc;

use diset_std::rustls::ClientConnection;
use diset_std::rustls::pki_types::ServerName;
use diset_std::tls::throwaway::{expired, not_yet_valid};
use diset_std::tls::{ClientTls, ServerTls};
use diset_std::{Client, ClientState, Code, Counter, Ended, TlsFailure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::*;
use crate::support::*;

fn failed(kind: TlsFailure) -> Counter {
    Counter::TlsFailed(kind)
}

#[tokio::test]
async fn who_does_not_speak_tls_is_sent_away() -> TestResult {
    for world in [World::new()?, World::open()?] {
        let mut scene = Scene::with(world, answering()).await?;
        let rows: [(&str, &[u8]); 4] = [
            ("a browser", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("SSH", b"SSH-2.0-x\r\n"),
            ("the DIRAC wire", b"12:{\"a\": 1}xxxx"),
            ("ones", &[0xff; 64]),
        ];
        for (what, bytes) in rows {
            let mut peer = TcpStream::connect(&scene.running.address).await?;
            peer.write_all(bytes).await?;
            let (told, end) = read_all(&mut peer).await;
            end?;
            assert_eq!(told.first(), Some(&21), "{what}: a TLS alert: {told:?}");
            drop(peer);
            scene.over(what, failed(TlsFailure::NotTls), 1).await;
        }
        scene.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_hangs_up_in_tls_leaves_nothing_behind() -> TestResult {
    for world in [World::new()?, World::open()?] {
        let mut scene = Scene::with(world, answering()).await?;
        for bytes in [&[][..], &[22, 3, 1, 2, 0, 1]] {
            let mut peer = TcpStream::connect(&scene.running.address).await?;
            peer.write_all(bytes).await?;
            drop(peer);
            scene.over("hangs up", failed(TlsFailure::Lost), 1).await;
        }
        scene.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn certificates_that_are_not_good_enough_are_refused_with_a_reason() -> TestResult {
    let mut world = World::new()?;
    let revoked = world.ca.client("eve")?;
    let other = World::new()?;
    world.server = ServerTls::builder(world.ca.server(&["localhost"])?, world.ca.authorities())
        .revocations(world.ca.revoke(&[&revoked])?)
        .build()?;
    let late = world.ca.client_valid("late", expired())?;
    let early = world.ca.client_valid("early", not_yet_valid())?;
    let stranger = other.ca.client("stranger")?;
    let mut scene = Scene::with(world, answering()).await?;
    for (certificate, reason, kind) in [
        (revoked, "has been revoked", TlsFailure::Revoked),
        (late, "has expired", TlsFailure::Expired),
        (early, "is not valid yet", TlsFailure::Expired),
        (
            stranger,
            "the ca.pem of the same authority?",
            TlsFailure::UnknownAuthority,
        ),
    ] {
        let tls = ClientTls::builder(certificate, scene.world.ca.authorities())
            .without_validity_check()
            .build()?;
        let client = Client::builder(PingPong, &scene.running.address).tls(tls);
        let why = client.connect().await.err().ok_or(reason)?;
        let Ended::Tls { reason: told, .. } = &why else {
            return Err(format!("{reason}: {why}").into());
        };
        assert!(told.contains(reason), "{told}");
        scene.over(reason, failed(kind), 1).await;
    }
    // TLS lets a client believe that all is well before it is told.
    let mut nobody = raw(&scene.world, &scene.running.address, None, &[ALPN]).await?;
    let (told, end) = read_all(&mut nobody).await;
    let error = end.err().ok_or("no certificate was needed")?.to_string();
    assert!(told.is_empty() && error.contains("CertificateRequired"), "{error}");
    drop(nobody);
    scene.over("no certificate", failed(TlsFailure::NoCertificate), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_client_that_does_not_believe_the_service_is_told_why_and_counted() -> TestResult {
    let mut world = World::new()?;
    world.server = ServerTls::new(world.ca.server(&["localhost", "elsewhere"])?, world.ca.authorities())?;
    let mut scene = Scene::with(world, answering()).await?;
    let address = format!("127.0.0.1:{}", scene.running.port());
    let client = Client::builder(PingPong, &address).tls(scene.world.tls("alice")?);
    let told = client
        .connect()
        .await
        .err()
        .ok_or("the name was not proved")?
        .to_string();
    assert!(
        told.contains("does not prove the name 127.0.0.1, but localhost, elsewhere;"),
        "{told}"
    );
    scene.over("a wrong name", failed(TlsFailure::EndedByPeer), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn who_does_not_offer_our_protocol_is_not_listened_to() -> TestResult {
    for world in [World::new()?, World::open()?] {
        let mut scene = Scene::with(world, answering()).await?;
        // None at all: TLS itself allows that, so the handshake may even succeed here.
        if let Ok(mut stream) = scene.raw(&[]).await {
            stream.write_all(&Engine::new()?.says()).await.ok();
            let (told, _) = read_all(&mut stream).await;
            assert!(told.is_empty(), "PROTOCOL X-2: {told:?}");
        }
        scene.over("no protocol", failed(TlsFailure::NoAlpn), 1).await;
        // Another one.
        let error = scene.raw(&[b"h2"]).await.err().ok_or("PROTOCOL X-2: h2 was accepted")?;
        assert!(
            error.to_string().contains("NoApplicationProtocol"),
            "PROTOCOL X-2: {error}"
        );
        scene.over("h2", failed(TlsFailure::NoAlpn), 1).await;
        scene.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn silence_does_not_last_longer_than_a_handshake_may() -> TestResult {
    let mut scene = Scene::new(hurried()).await?;
    // Before TLS, and in the middle of it.
    for bytes in [&[][..], &[22, 3, 1, 2, 0, 1]] {
        let mut silent = TcpStream::connect(&scene.running.address).await?;
        silent.write_all(bytes).await?;
        read_all(&mut silent).await.1?;
        drop(silent);
        scene.over("silence", failed(TlsFailure::Silent), 1).await;
    }
    // After TLS.
    let mut polite = Peer::connect(&scene).await?;
    let told = polite.error("after TLS").await?;
    assert_eq!(told.code(), Code::HandshakeTimeout, "PROTOCOL H-9");
    drop(polite);
    scene.over("silence after TLS", by_us(Code::HandshakeTimeout), 1).await;
    scene.finish().await
}

/// A byte every few milliseconds, until the peer takes no more.
async fn trickle(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> usize {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    for (count, byte) in bytes.iter().enumerate() {
        pace.tick().await;
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return count;
        }
    }
    bytes.len()
}

#[tokio::test]
async fn bytes_that_trickle_in_do_not_prolong_a_handshake() -> TestResult {
    for world in [World::new()?, World::open()?] {
        let mut scene = Scene::with(world, hurried()).await?;
        // A hello that is never whole: its record promises 4 KiB.
        let mut hello = vec![22, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3];
        hello.resize(4000, 0);
        let mut slow = TcpStream::connect(&scene.running.address).await?;
        let (mut from, mut to) = slow.split();
        let (sent, told) = tokio::join!(trickle(&mut to, &hello), read_all(&mut from));
        assert!(sent < hello.len(), "PROTOCOL H-9: it was cut off");
        told.1.ok();
        drop(slow);
        scene.over("a slow hello", failed(TlsFailure::Silent), 1).await;
        // A proposal that is never whole: its frame promises 1000 bytes.
        let mut long = [&PREAMBLE[..], &[0xe8, 0x07, 0x80]].concat();
        long.resize(1000, 0x81);
        let mut slow = Peer::connect(&scene).await?;
        let (from, mut to) = tokio::io::split(slow.stream);
        let mut from = from;
        let (sent, (told, _)) = tokio::join!(trickle(&mut to, &long), read_all(&mut from));
        assert!(sent < long.len(), "PROTOCOL H-9: it was cut off");
        let cause = slow.engine.fate(&told);
        assert_eq!(cause.and_then(|cause| cause.code()), Some(Code::HandshakeTimeout));
        drop((from, to));
        scene.over("a slow proposal", by_us(Code::HandshakeTimeout), 1).await;
        scene.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_a_hello() -> TestResult {
    for world in [World::new()?, World::open()?] {
        let mut scene = Scene::with(world, answering()).await?;
        let mut config = tls_config(&scene.world, Some(&scene.certificate))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let name = ServerName::try_from("localhost")?;
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        let mut hello = Vec::new();
        tls.write_tls(&mut hello)?;
        let mut peer = TcpStream::connect(&scene.running.address).await?;
        peer.set_nodelay(true)?;
        for byte in hello {
            peer.write_all(&[byte]).await?;
            // The service has a turn in between.
            tokio::task::yield_now().await;
        }
        let mut first = [0];
        within("an answer", peer.read_exact(&mut first)).await?;
        assert_eq!(first, [22], "a server's hello");
        drop(peer);
        scene.over("in single bytes", failed(TlsFailure::Lost), 1).await;
        scene.finish().await?;
    }
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
async fn two_thousand_half_open_connections_hold_64_places() -> TestResult {
    let scene = Scene::new(answering().max_handshakes(64)).await?;
    // Most wait in the queue of the system, or for a place in it.
    let port = scene.running.port();
    let mut half_open = tokio::task::JoinSet::new();
    for _ in 0..2000 {
        half_open.spawn(async move {
            let _silent = TcpStream::connect(("127.0.0.1", port)).await;
            core::future::pending::<()>().await;
        });
    }
    let in_handshake = || scene.running.handle.counters().get(Counter::InHandshake);
    wait_for("64 are in their handshake", || in_handshake() >= 64).await;
    // The listener has its turns, too.
    scene.neighbour.talks_on().await;
    assert_eq!(in_handshake(), 64, "no more than that are taken");
    half_open.shutdown().await;
    let client = scene.world.client(PingPong, &scene.running, "late")?.start()?;
    connected(&client).await;
    client.close().await;
    scene.finish().await
}
