//! Peers that do what is allowed, but all too often, or without ever listening.

use core::time::Duration;
use std::sync::Arc;

use diset_std::diset_proto::{AdoptConfig, Connection, GrowBuf, Instant, Notice, ServiceName};
use diset_std::{Code, Counter, Identity, Limits};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::common::*;
use crate::support::*;

#[tokio::test]
async fn a_flood_of_keep_alives_ends_the_connection() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut peer = Peer::open(&scene).await?;
    // As many as a peer may send between two looks; it is served all the same.
    let asked = [frame(0x86, &[]).repeat(64), frame(0, &[0, 2])].concat();
    peer.say(&asked).await?;
    let (mut told, mut part) = (Vec::new(), vec![0; 4096]);
    let pong = frame(0, &[2, 2]);
    while !told.windows(pong.len()).any(|window| window == pong) {
        let count = within("a Pong", peer.stream.read(&mut part)).await?;
        assert!(count > 0, "the service hung up");
        told.extend_from_slice(&part[..count]);
    }
    let answers = told.len() / frame(0x87, &[]).len();
    assert!(answers < 32, "PROTOCOL K-5: {answers} answers to 64");
    peer.say(&frame(0x86, &[]).repeat(8192)).await.ok();
    assert_eq!(peer.error("keep-alives").await?.code(), Code::Busy, "PROTOCOL L-7");
    drop(peer);
    scene.over("keep-alives", by_us(Code::Busy), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn one_who_says_go_away_again_is_ended() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut peer = Peer::open(&scene).await?;
    let deadline = Duration::from_secs(5);
    peer.engine
        .conn
        .go_away(Instant::ZERO, Notice::new(Code::Done), deadline)?;
    let away = peer.engine.says();
    peer.say(&away.repeat(5000)).await.ok();
    let told = peer.error("a second go-away").await?;
    assert_eq!(told.code(), Code::Unexpected, "PROTOCOL T-1");
    drop(peer);
    scene.over("go-aways", by_us(Code::Unexpected), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn one_who_displaces_itself_all_the_time_has_one_place() -> TestResult {
    // One for the neighbour, one for all of these.
    let mut scene = Scene::new(answering().max_connections(2)).await?;
    let mut open = Vec::new();
    for _ in 0..40 {
        // The place of the one before the last may not be free yet (PROTOCOL R-4).
        let peer = within("a place", async {
            loop {
                if let Ok(peer) = Peer::open(&scene).await {
                    return peer;
                }
            }
        });
        open.push(peer.await);
        let live = scene.running.handle.connections().len();
        assert!(live <= 3, "PROTOCOL D-2: {live} are open");
    }
    let refused = || scene.running.handle.counters().get(Counter::Refused(Code::Busy));
    let newest = open.pop().ok_or("none")?;
    for mut peer in open {
        assert_eq!(peer.error("displaced").await?.code(), Code::Displaced, "PROTOCOL D-2");
    }
    let refused = refused();
    drop(newest);
    let ends = [
        (by_us(Code::Displaced), 39),
        (Counter::Lost, 1),
        (Counter::Refused(Code::Busy), refused),
    ];
    scene.over_all("displaced", &ends).await;
    scene.finish().await
}

#[tokio::test]
async fn one_who_asks_for_the_catalog_and_never_reads_it_is_ended() -> TestResult {
    let limits = Limits::SERVER.with_max_silence(Duration::from_millis(300));
    let mut scene = Scene::new(answering().limits(limits)).await?;
    let mut peer = Peer::connect(&scene).await?;
    let config = AdoptConfig {
        service: ServiceName::parse("Framework/PingPong").ok_or("a name")?,
        identity: Identity::from_bytes([5; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    peer.engine.conn = Connection::adopting(Instant::ZERO, &config, GrowBuf::new(1 << 17))?;
    let proposal = peer.engine.says();
    peer.say(&proposal).await?;
    // Admitted, told, and then nothing comes back.
    scene.over("no answer", by_us(Code::Silent), 1).await;
    drop(peer);
    scene.finish().await
}

#[tokio::test]
async fn drop_callbacks_that_hang_hold_the_places_of_handshakes() -> TestResult {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let world = World::new()?;
    let service = answering().max_handshakes(2).on_drop(move |_, _| {
        let gate = Arc::clone(&held);
        async move { gate.acquire().await.map_or((), |permit| permit.forget()) }
    });
    let running = world.serve(service).await?;
    let neighbour = Talker::new(world.client(PingPong, &running, "neighbour")?).await?;
    for name in ["one", "two"] {
        world.client(PingPong, &running, name)?.connect().await?.close().await;
    }
    let in_handshake = || running.handle.counters().get(Counter::InHandshake);
    wait_for("both callbacks hang", || in_handshake() == 2).await;
    // A listener that waits for the next one already may take it; this one never speaks.
    let silent = TcpStream::connect(&running.address).await?;
    let late = world.client(PingPong, &running, "late")?.start()?;
    neighbour.talks_on().await;
    assert_eq!(late.trid(), None, "the late one waits before the door");
    gate.add_permits(10);
    connected(&late).await;
    drop(silent);
    late.close().await;
    neighbour.finish().await?.assert_short();
    running.stop().await;
    Ok(())
}
