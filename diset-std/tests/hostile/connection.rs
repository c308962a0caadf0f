//! Connections that break, end halfway, or go on after an error; descriptors that run out.

use core::time::Duration;
use std::sync::Arc;

use diset_std::diset_proto::{Instant, Notice};
use diset_std::{Cause, Client, Code, Counter, Rule, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::common::*;
use crate::support::*;

#[tokio::test]
async fn an_end_in_order_is_answered_in_order_and_a_cut_is_a_loss() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    // With a go-away.
    let mut peer = Peer::open(&scene).await?;
    peer.engine
        .conn
        .go_away(Instant::ZERO, Notice::new(Code::Done), Duration::from_secs(5))?;
    let away = peer.engine.says();
    peer.say(&away).await?;
    let (_, end) = read_all(&mut peer.stream).await;
    end.map_err(|error| format!("PROTOCOL X-4, G-2: {error}"))?;
    drop(peer);
    scene.over("in order", Counter::WentAway(Code::Done), 1).await;
    // close_notify without one, and then it reads.
    let mut peer = Peer::open(&scene).await?;
    peer.stream.shutdown().await?;
    let (_, end) = read_all(&mut peer.stream).await;
    end.map_err(|error| format!("PROTOCOL X-4: {error}"))?;
    drop(peer);
    scene.over("close_notify", Counter::Lost, 1).await;
    // The end of the stream without close_notify, and then it reads.
    let mut peer = Peer::open(&scene).await?;
    peer.stream.get_mut().0.shutdown().await?;
    read_all(&mut peer.stream).await.1.ok();
    drop(peer);
    scene.over("half an end", Counter::Lost, 1).await;
    // Nothing at all: the socket closes.
    drop(Peer::open(&scene).await?);
    scene.over("a cut", Counter::Lost, 1).await;
    // A reset.
    let peer = Peer::open(&scene).await?;
    peer.stream.get_ref().0.set_zero_linger()?;
    drop(peer);
    scene.over("a reset", Counter::Lost, 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_record_that_is_no_record_is_a_loss_with_a_reason() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut peer = Peer::open(&scene).await?;
    // An application record that nobody sealed.
    let forged = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    peer.stream.get_mut().0.write_all(&forged).await?;
    let error = read_all(&mut peer.stream).await.1.err().ok_or("it was taken")?;
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    drop(peer);
    scene.over("a forged record", Counter::Lost, 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_peer_that_streams_on_after_its_error_is_cut_off() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut peer = Peer::connect(&scene).await?;
    let mut taken = 0_u64;
    let streaming = async {
        // It never reads and never stops.
        while peer.stream.write_all(&[b'x'; 16_384]).await.is_ok() {
            taken += 16_384;
        }
    };
    within("PROTOCOL E-4: 256 KiB, then the end", streaming).await;
    // The system keeps some megabytes in its buffers; how much is read is shown at the driver.
    assert!(taken < 16 << 20, "PROTOCOL E-4: {taken} bytes were taken");
    drop(peer);
    scene.over("streams on", by_us(Code::NotDiset), 1).await;
    scene.finish().await
}

/// So many stream at the same time.
const AT_A_TIME: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_streams_at_full_speed_gets_its_error_a_thousand_times() -> TestResult {
    let scene = Scene::new(answering()).await?;
    let tls = scene.world.tls("alice")?;
    let client = || Client::builder(PingPong, &scene.running.address).tls(tls.clone());
    let mut under_way = JoinSet::new();
    // How many have come and gone since the neighbour got its last answer; and the most of these.
    let (mut answers, mut since, mut most) = (scene.neighbour.answers(), 0, 0);
    for started in 0..1000 {
        let client = client();
        under_way.spawn(async move {
            let (log, mut drops) = log();
            let client = client.on_drop(move |_, why| {
                log.add(why);
                async {}
            });
            let client = client.connect().await.map_err(|why| why.to_string())?;
            // The service has no handler for it.
            let blob = Blob { bytes: vec![7; 20_000] };
            while client.send(&blob).await.is_ok() {}
            let why = drops.next().await;
            client.stop();
            match why.cause() {
                Cause::PeerError(notice) if notice.code() == Code::NoHandler => Ok(()),
                other => Err(other.to_string()),
            }
        });
        if started >= AT_A_TIME {
            within("one more", under_way.join_next()).await.ok_or("none")???;
            let now = scene.neighbour.answers();
            since = if now > answers { 0 } else { since + 1 };
            (answers, most) = (now, most.max(since));
        }
    }
    while let Some(done) = within("the last ones", under_way.join_next()).await {
        done??;
    }
    // Some come back once before they are stopped, so these are not the only ends.
    let told = scene.running.handle.counters().get(by_us(Code::NoHandler));
    assert!(told >= 1000, "{told}");
    // Its turn comes, however busy the machine: it asks anew 2 ms after each answer, and one of them takes longer.
    assert!(
        most <= 4 * AT_A_TIME,
        "the neighbour had to wait until {most} had come and gone"
    );
    scene.settle().await;
    scene.finish_slowly().await
}

/// Runs in a process of its own with few descriptors: serves until its input ends.
#[tokio::test]
#[ignore = "a part of when_descriptors_run_out_others_are_served"]
async fn with_few_descriptors() -> TestResult {
    let service = answering().allow_connect(Rule::everyone());
    let bound = service.bind_plain_tcp("127.0.0.1:0").await?;
    println!("port {}", bound.local_addr().ok_or("no port")?.port());
    bound
        .run_until(async {
            let mut input = Vec::new();
            tokio::task::spawn_blocking(move || std::io::Read::read_to_end(&mut std::io::stdin(), &mut input))
                .await
                .ok();
        })
        .await;
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn when_descriptors_run_out_others_are_served() -> TestResult {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let own = std::env::current_exe()?;
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 40; exec \"$0\" --ignored --exact connection::with_few_descriptors --nocapture",
        ])
        .arg(own)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // Kept to the end: the child writes there, too, when it is done.
    let mut output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let port = output.find_map(|line| line.ok()?.split_once("port ")?.1.parse::<u16>().ok());
    let address = format!("127.0.0.1:{}", port.ok_or("no port")?);
    let client = || Client::builder(PingPong, &address).plain_tcp().reconnect(QUICK);
    let neighbour = Talker::new(client()).await?;
    // More than it has descriptors for; the last ones wait in the queue of the system.
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(TcpStream::connect(&address).await?);
    }
    // Each is one of its descriptors.
    let descriptors = format!("/proc/{}/fd", child.id());
    let is_full = || std::fs::read_dir(&descriptors).is_ok_and(|all| all.count() >= 40);
    wait_for("descriptors are used up", is_full).await;
    neighbour.talks_on().await;
    let late = client().start()?;
    // Silent ones without TLS wait for their handshake's time; these make room earlier.
    drop(crowd);
    connected(&late).await;
    late.close().await;
    neighbour.finish().await?.assert_short();
    drop(child.stdin.take());
    let code = tokio::task::spawn_blocking(move || child.wait()).await??;
    drop(output);
    assert!(code.success(), "no panic: {code}");
    Ok(())
}

#[tokio::test]
async fn an_error_survives_a_socket_full_of_unread_input() -> TestResult {
    // Nothing is read while the program decides: what the peer sends meanwhile fills the socket.
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (log, mut asked) = log();
    let held = Arc::clone(&gate);
    let first = Count::default();
    let service = Service::new(PingPong).on(answer).on_connect(move |_| {
        let gate = (first.add() > 0).then(|| Arc::clone(&held));
        log.add(());
        async move {
            if let Some(gate) = gate {
                gate.acquire()
                    .await
                    .map_err(|_| diset_std::Refusal::not_admitted("closed"))?
                    .forget();
                return Err(diset_std::Refusal::not_admitted("no"));
            }
            Ok(())
        }
    });
    let mut scene = Scene::new(service).await?;
    asked.next().await;
    for _ in 0..20 {
        let mut peer = Peer::connect(&scene).await?;
        let proposal = peer.engine.says();
        peer.say(&proposal).await?;
        asked.next().await;
        // Until the socket takes no more, or as much as a lingering service reads.
        let mut sent = 0;
        let blocks = async {
            while sent < 200 * 1024 {
                sent += peer.stream.write(&[0; 8192]).await.unwrap_or(usize::MAX / 2);
            }
        };
        tokio::time::timeout(Duration::from_millis(50), blocks).await.ok();
        assert!(sent > 64 * 1024, "{sent} bytes wait unread");
        gate.add_permits(1);
        let (told, _) = read_all(&mut peer.stream).await;
        let cause = peer.engine.fate(&told);
        assert!(
            matches!(&cause, Some(Cause::Refused(notice)) if notice.code() == Code::NotAdmitted),
            "PROTOCOL E-4: {cause:?}"
        );
    }
    scene
        .over("unread input", Counter::Refused(Code::NotAdmitted), 20)
        .await;
    scene.finish().await
}

#[tokio::test]
async fn an_error_survives_behind_answers_that_are_not_read_yet() -> TestResult {
    let mut scene = Scene::new(answering().on_ref::<Note<'_>>(|conn, note| {
        conn.try_send(&Note { text: note.text })?;
        Ok(())
    }))
    .await?;
    let mut tls = tls_config(&scene.world, Some(&scene.certificate))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = Arc::new(tls);
    let note = [&[4, 0xa0, 0x9c, 1][..], &[b'x'; 20_000]].concat();
    for round in 1..=50 {
        // It has no room for the answers, so the error waits behind them in the service's socket. A
        // socket that is closed while input comes, as it does here, forgets what waits in it.
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let socket = socket.connect(([127, 0, 0, 1], scene.running.port()).into()).await?;
        let mut peer = Peer {
            stream: over(socket, Arc::clone(&tls)).await?,
            engine: Engine::new()?,
        };
        let proposal = peer.engine.says();
        peer.propose(&proposal).await?;
        peer.say(&[frame(0, &note).repeat(3), frame(0x9f, &[])].concat())
            .await?;
        let ended = || scene.running.handle.counters().get(by_us(Code::UnknownKind));
        wait_for("the service has ended it", || ended() == round).await;
        for _ in 0..32 {
            // It may be broken already, if the service does not read on.
            peer.say(&[b'x'; 2048]).await.ok();
            tokio::task::yield_now().await;
        }
        let (told, _) = read_all(&mut peer.stream).await;
        assert_eq!(
            code_in(&told),
            Some(Code::UnknownKind),
            "PROTOCOL E-4: {} bytes came",
            told.len()
        );
    }
    scene.over("behind answers", by_us(Code::UnknownKind), 50).await;
    scene.finish().await
}

/// How a bad end looks in the stream of a peer that reads on after it.
#[tokio::test]
async fn nothing_comes_after_an_error() -> TestResult {
    let mut scene = Scene::new(answering()).await?;
    let mut peer = Peer::open(&scene).await?;
    // Answers that were due leave before the error (PROTOCOL E-3).
    peer.say(
        &[
            frame(0, &[0, 2]),
            frame(0, &[0, 4]),
            frame(0x9f, &[]),
            frame(0, &[0, 6]),
        ]
        .concat(),
    )
    .await?;
    let mut told = Vec::new();
    within("the end", peer.stream.read_to_end(&mut told)).await?;
    let cause = peer.engine.fate(&told);
    assert_eq!(cause.and_then(|cause| cause.code()), Some(Code::UnknownKind));
    assert_eq!(
        peer.engine.messages, 2,
        "PROTOCOL E-3: what was queued before, then the error"
    );
    drop(peer);
    scene.over("an error", by_us(Code::UnknownKind), 1).await;
    scene.finish().await
}
