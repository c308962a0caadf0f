//! In the handshake of DISET, after TLS: preambles, proposals and admissions that go wrong.

use core::time::Duration;
use std::sync::Arc;

use diset_std::diset_proto::{Misuse, Phase};
use diset_std::{ClientState, Code, Counter, Limits, Refusal, Service};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;

use crate::common::*;
use crate::support::*;

/// A proposal whose body is this.
fn proposing(body: &[u8]) -> Vec<u8> {
    [&PREAMBLE[..], &frame(0x80, body)].concat()
}

/// The body of a proposal with one more field.
fn with_field(tag: u8, value: &[u8]) -> Result<Vec<u8>, Misuse> {
    let mut body = proposal()?;
    body.push(tag);
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    if length >= 0x80 {
        body.push((length & 0x7f) as u8 | 0x80);
        body.push((length >> 7) as u8);
    } else {
        body.push(length as u8);
    }
    body.extend_from_slice(value);
    Ok(body)
}

/// Arguments `n: true` for each name.
fn args(names: &[&str]) -> Vec<u8> {
    let one = |name: &&str| [&[name.len() as u8][..], name.as_bytes(), &[0, 1]].concat();
    names.iter().flat_map(one).collect()
}

#[tokio::test]
async fn a_proposal_that_is_wrong_is_answered_before_the_end() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let names: Vec<String> = ('a'..='q').map(String::from).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let own = proposal()?;
    let cut = own.get(..own.len() - 1).ok_or("a proposal")?;
    let rows: [(&str, Vec<u8>, Code); 13] = [
        (
            "too soon",
            [&PREAMBLE[..], &frame(0x86, &[])].concat(),
            Code::Unexpected,
        ),
        (
            "a message too soon",
            [&PREAMBLE[..], &frame(0, &[0, 2])].concat(),
            Code::Unexpected,
        ),
        (
            "unknown kind",
            [&PREAMBLE[..], &frame(0x9f, &[])].concat(),
            Code::UnknownKind,
        ),
        ("too long", proposing(&[0x81; 1024]), Code::FrameTooLong),
        (
            "a header only",
            [&PREAMBLE[..], &[0xff, 0x7f, 0x80]].concat(),
            Code::FrameTooLong,
        ),
        ("no length", [&PREAMBLE[..], &[0, 0x80]].concat(), Code::FrameMalformed),
        ("cut fields", proposing(cut), Code::PacketMalformed),
        ("no fields", proposing(&[]), Code::PacketMalformed),
        (
            "an unknown critical field",
            proposing(&with_field(0xff, &[1])?),
            Code::UnknownField,
        ),
        (
            "a field twice",
            proposing(&with_field(0x84, &[1])?),
            Code::PacketMalformed,
        ),
        (
            "17 arguments",
            proposing(&with_field(7, &args(&names))?),
            Code::PacketMalformed,
        ),
        (
            "an argument twice",
            proposing(&with_field(7, &args(&["a", "a"]))?),
            Code::PacketMalformed,
        ),
        (
            "no name",
            proposing(&with_field(7, &args(&[""]))?),
            Code::PacketMalformed,
        ),
    ];
    for (what, bytes, expected) in rows {
        for ends_at_once in [false, true] {
            let mut peer = Peer::connect(&scene).await?;
            peer.say(&bytes).await?;
            if ends_at_once {
                tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await?;
            } else {
                // Still talking when the error comes (PROTOCOL E-4).
                peer.say(&[b'x'; 100_000]).await.ok();
            }
            let told = peer.error(what).await?;
            assert_eq!(told.code(), expected, "PROTOCOL E-3, E-4: {what}");
            drop(peer);
            scene.over(what, by_us(expected), 1).await;
        }
    }
    scene.finish().await
}

#[tokio::test]
async fn who_speaks_another_language_or_version_is_told_nothing_it_could_not_read() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let rows: [(&str, &[u8], Code); 3] = [
        ("HTTP inside TLS", b"GET / HTTP/1.1\r\n", Code::NotDiset),
        (
            "the last byte is wrong",
            &[0xd1, b'S', b'E', b'X', 1, 0],
            Code::NotDiset,
        ),
        ("version 2", &[0xd1, b'S', b'E', b'T', 2, 3, 0x80], Code::Version),
    ];
    for (what, bytes, expected) in rows {
        let mut peer = Peer::connect(&scene).await?;
        peer.say(bytes).await?;
        let (told, end) = read_all(&mut peer.stream).await;
        end.map_err(|error| format!("PROTOCOL X-4: no close_notify: {error}"))?;
        assert!(PREAMBLE.starts_with(&told), "PROTOCOL P-2: {what}: {told:?}");
        assert!(expected != Code::Version || told == PREAMBLE, "PROTOCOL P-2: {what}");
        drop(peer);
        scene.over(what, by_us(expected), 1).await;
    }
    scene.finish().await
}

#[tokio::test]
async fn a_handshake_that_is_cut_anywhere_leaves_nothing_behind() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let whole = Engine::new()?.says();
    for cut in 0..whole.len() {
        let mut peer = Peer::connect(&scene).await?;
        peer.say(&whole[..cut]).await?;
        drop(peer);
    }
    scene
        .over("cut at every byte", Counter::Lost, u64::try_from(whole.len())?)
        .await;
    scene.finish().await
}

#[tokio::test]
async fn an_unknown_field_that_may_be_ignored_is() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut peer = Peer::connect(&scene).await?;
    peer.engine.says();
    peer.propose(&proposing(&with_field(0x7f, b"of a later version")?))
        .await?;
    peer.say(&frame(0, &[0, 2])).await?;
    peer.messages(1).await?;
    drop(peer);
    scene.over("an ignorable field", Counter::Lost, 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_service_that_is_not_here_and_a_second_proposal_are_refused() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut other = proposal()?;
    let name = other
        .windows(8)
        .position(|part| part == b"PingPong")
        .ok_or("the name")?;
    other[name..name + 8].copy_from_slice(b"PingPang");
    let mut peer = Peer::connect(&scene).await?;
    peer.say(&proposing(&other)).await?;
    let told = peer.error("another service").await?;
    assert_eq!(told.code(), Code::UnknownService, "PROTOCOL H-6");
    drop(peer);
    scene
        .over("another service", Counter::Refused(Code::UnknownService), 1)
        .await;

    let mut peer = Peer::open(&scene).await?;
    peer.say(&frame(0x80, &proposal()?)).await?;
    let told = peer.error("a second proposal").await?;
    assert_eq!(told.code(), Code::Unexpected, "PROTOCOL T-1");
    drop(peer);
    scene.over("a second proposal", by_us(Code::Unexpected), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_message_before_the_acceptance_reaches_no_handler() -> TestResult {
    let handled = Count::default();
    let count = handled.clone();
    let service = answering().on(move |_, _: Shout| {
        count.add();
        async { Ok(()) }
    });
    let mut scene = Scene::new(service).await?;
    let mut peer = Peer::connect(&scene).await?;
    let both = [peer.engine.says(), frame(0, &[1, 1, b'x'])].concat();
    peer.say(&both).await?;
    let told = peer.error("in one record with the proposal").await?;
    assert_eq!(told.code(), Code::Unexpected, "PROTOCOL H-4, T-1");
    drop(peer);
    scene.over("a message too soon", by_us(Code::Unexpected), 1).await;
    assert_eq!(handled.value(), 0, "PROTOCOL H-4");
    scene.finish().await
}

/// A peer that was admitted and asked for its definitions, as its catalog is unknown.
async fn asked(scene: &Scene) -> Result<Peer, Box<dyn core::error::Error>> {
    let mut peer = Peer::connect(scene).await?;
    let mut proposal = peer.engine.says();
    let digest = proposal
        .windows(2)
        .position(|part| part == [0x83, 16])
        .ok_or("the digest")?;
    proposal[digest + 2] ^= 1;
    peer.say(&proposal).await?;
    let mut told = [0; 64];
    while peer.engine.conn.phase() == Phase::Proposing {
        let count = within("Describe", peer.stream.read(&mut told)).await?;
        assert!(count > 0 && peer.engine.fate(&told[..count]).is_none());
    }
    assert_eq!(peer.engine.conn.phase(), Phase::Describing);
    Ok(peer)
}

#[tokio::test]
async fn definitions_that_are_wrong_or_missing_end_a_client_that_was_admitted() -> TestResult {
    let mut scene = Scene::new(hurried()).await?;
    let key = [7; 16];
    let one = |entry: u8, name: &[u8]| [&[0, 2, entry, name.len() as u8][..], name, &key].concat();
    let rows: [(&str, Vec<u8>, Code); 9] = [
        ("none of two", frame(0x84, &[0, 2]), Code::PacketMalformed),
        ("the second first", frame(0x84, &[1, 2]), Code::PacketMalformed),
        ("more than there may be", frame(0x84, &[0, 129]), Code::PacketMalformed),
        (
            "an unknown direction",
            frame(0x84, &one(8, b"Ping")),
            Code::PacketMalformed,
        ),
        ("an unknown kind", frame(0x84, &one(21, b"Ping")), Code::PacketMalformed),
        ("no name", frame(0x84, &one(1, b"")), Code::PacketMalformed),
        (
            "a name that is too long",
            frame(0x84, &one(1, &[b'x'; 65])),
            Code::PacketMalformed,
        ),
        ("a message instead", frame(0, &[0, 2]), Code::Unexpected),
        ("nothing", Vec::new(), Code::HandshakeTimeout),
    ];
    for (what, bytes, expected) in rows {
        let mut peer = asked(&scene).await?;
        peer.say(&bytes).await?;
        let told = peer.error(what).await?;
        assert_eq!(told.code(), expected, "PROTOCOL H-8, H-9: {what}");
        drop(peer);
        scene.over(what, by_us(expected), 1).await;
    }
    // Half of them, then the end.
    let mut peer = asked(&scene).await?;
    peer.say(&frame(0x84, &one(1, b"Ping"))).await?;
    drop(peer);
    scene.over("half of them", Counter::Lost, 1).await;
    scene.finish().await
}

/// A service that admits the neighbour and treats everybody else like this.
fn admitting<R>(others: impl Fn() -> R + Send + Sync + 'static) -> Service<PingPong>
where
    R: Future<Output = Result<(), Refusal>> + Send + 'static,
{
    let first = Count::default();
    hurried().on_connect(move |_| {
        let other = (first.add() > 0).then(&others);
        async move {
            match other {
                Some(decision) => decision.await,
                None => Ok(()),
            }
        }
    })
}

#[tokio::test]
async fn an_admission_that_refuses_hangs_or_panics_is_told_and_counted() -> TestResult {
    let refuses = admitting(|| async { Err(Refusal::not_admitted("no\x1b[2J")) });
    let hangs = admitting(core::future::pending);
    let panics = admitting(|| async { panic!("{SECRET}") });
    for (what, service, expected) in [
        ("refuses", refuses, Code::NotAdmitted),
        ("hangs", hangs, Code::AdmissionTimeout),
        ("panics", panics, Code::Internal),
    ] {
        let mut scene = Scene::new(service).await?;
        let mut peer = Peer::connect(&scene).await?;
        let proposal = peer.engine.says();
        peer.say(&proposal).await?;
        let told = peer.error(what).await?;
        assert_eq!(told.code(), expected, "PROTOCOL H-4: {what}");
        assert_eq!(
            told.retry().is_none(),
            expected == Code::NotAdmitted,
            "PROTOCOL R-4: {what}"
        );
        drop(peer);
        scene.over(what, Counter::Refused(expected), 1).await;
        scene.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn there_is_a_limit_to_all_to_one_principal_and_to_one_address() -> TestResult {
    let limited = [
        ("too many connections", answering().max_connections(2)),
        (
            "too many connections of this principal",
            answering().max_connections_per_principal(1),
        ),
        (
            "too many connections from this address",
            answering().max_connections_per_address(2),
        ),
    ];
    for (what, service) in limited {
        let mut scene = Scene::new(service).await?;
        let kept = Peer::open(&scene).await?;
        for _ in 0..3 {
            let mut more = Peer::connect(&scene).await?;
            let other = other_client(&mut more)?;
            more.say(&other).await?;
            let told = more.error(what).await?;
            assert_eq!((told.code(), told.text()), (Code::Busy, what), "PROTOCOL R-4");
            assert!(told.retry().is_some(), "PROTOCOL R-4");
        }
        drop(kept);
        let ends = [(Counter::Refused(Code::Busy), 3), (Counter::Lost, 1)];
        scene.over_all(what, &ends).await;
        // The place is free again, each time.
        for _ in 0..3 {
            let mut next = Peer::connect(&scene).await?;
            let other = other_client(&mut next)?;
            next.propose(&other).await.map_err(|why| format!("{what}: {why}"))?;
            drop(next);
            scene.over(what, Counter::Lost, 1).await;
        }
        scene.finish().await?;
    }
    Ok(())
}

/// The proposal of another client than [`Engine`] is: one that comes back finds its place.
fn other_client(peer: &mut Peer) -> Result<Vec<u8>, &'static str> {
    let mut proposal = peer.engine.says();
    let identity = [&[0x82, 16][..], &[3; 16]].concat();
    let at = proposal.windows(18).position(|part| part == identity);
    let at = at.ok_or("the identity")?;
    proposal[at + 2] = 4;
    Ok(proposal)
}

#[tokio::test]
async fn a_crowd_from_one_address_is_turned_away_before_tls() -> TestResult {
    let scene = Scene::new(answering().max_connections_per_address(2)).await?;
    // With the neighbour these are as many as are talked to.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(tokio::net::TcpStream::connect(&scene.running.address).await?);
    }
    let mut more = tokio::net::TcpStream::connect(&scene.running.address).await?;
    let (told, _) = read_all(&mut more).await;
    assert!(told.is_empty(), "closed without a word");
    let counters = scene.running.handle.counters();
    assert_eq!(
        (counters.get(Counter::TurnedAway), counters.get(Counter::Accepted)),
        (1, 4)
    );
    drop(silent);
    // Nobody is shut out for longer than the crowd is there.
    let client = scene.world.client(PingPong, &scene.running, "alice")?.start()?;
    connected(&client).await;
    client.close().await;
    scene.finish().await
}

#[tokio::test]
async fn a_client_without_a_decision_does_not_hold_up_others() -> TestResult {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let (log, mut asked) = log();
    let first = Count::default();
    let service = answering()
        .limits(Limits::SERVER.with_handshake(Duration::from_secs(8)))
        .on_connect(move |_| {
            let gate = (first.add() == 1).then(|| Arc::clone(&held));
            log.add(());
            async move {
                match gate {
                    Some(gate) => gate
                        .acquire()
                        .await
                        .map(drop)
                        .map_err(|_| Refusal::not_admitted("closed")),
                    None => Ok(()),
                }
            }
        });
    let scene = Scene::new(service).await?;
    asked.next().await;
    let waits = scene.world.client(PingPong, &scene.running, "waits")?.start()?;
    asked.next().await;
    let other = scene.world.client(PingPong, &scene.running, "other")?.connect().await?;
    assert!(matches!(waits.state(), ClientState::Connecting));
    gate.add_permits(1);
    connected(&waits).await;
    other.close().await;
    waits.close().await;
    scene.finish().await
}
