//! What stands in the log of a service and of a client when TLS, a handler or an attempt fails, and that a peer
//! cannot forge it.

use diset_std::tls::ClientTls;
use diset_std::{ClientState, Failure, Refusal};
use tracing::Level;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::lines::{lines, lines_of_clients};
use crate::common::*;

#[tokio::test]
async fn a_handshake_that_fails_is_told_once_with_address_and_reason() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let (world, other) = (World::new()?, World::new()?);
    let running = world.serve(answering()).await?;
    // A client of another authority, then one that does not trust ours.
    let stranger = ClientTls::new(other.ca.client("stranger")?, world.ca.authorities())?;
    let doubter = ClientTls::new(world.ca.client("doubter")?, other.ca.authorities())?;
    for (tls, reason) in [
        (stranger, "this side does not trust its authority"),
        (doubter, "it does not trust the authority of this side's certificate"),
    ] {
        let client = diset_std::Client::builder(PingPong, &running.address).tls(tls);
        assert!(client.connect().await.is_err());
        let line = lines.next().await;
        assert!(
            line.contains("a TLS handshake failed") && line.contains("peer=\"127.0.0.1:") && line.contains(reason),
            "{line}"
        );
    }
    // One that gets in, and ends, is not told of.
    world
        .client(PingPong, &running, "alice")?
        .connect()
        .await?
        .close()
        .await;
    running.stop().await;
    assert_eq!(lines.now(), None);
    Ok(())
}

#[tokio::test]
async fn a_handler_that_fails_is_told_once_with_the_client_and_what_the_client_is_not_told() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let world = World::new()?;
    let running = world
        .serve(answering().on(|conn, shout: Shout| async move {
            tokio::task::yield_now().await;
            if shout.text == "fail" {
                return Err(Failure::new("the disk is full\n"));
            }
            // An end that the program wants is no failure, although sending fails after it.
            conn.disconnect("enough");
            conn.send(&Pong { id: 1 }).await?;
            Ok(())
        }))
        .await?;
    for text in ["stop", "fail"] {
        let client = world.client(PingPong, &running, "alice")?.connect().await?;
        let trid = client.trid().ok_or("not connected")?;
        client.send(&Shout { text: text.into() }).await?;
        until(&client, "ended", |state| matches!(state, ClientState::Waiting { .. })).await;
        client.stop();
        if text == "fail" {
            let line = lines.next().await;
            for part in [
                &format!("trid={trid}"),
                "peer=\"127.0.0.1:",
                "code=35",
                r#"why="the disk is full\n""#,
            ] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
    }
    running.stop().await;
    assert_eq!(lines.now(), None);
    Ok(())
}

/// What a peer says to look like fields and a line of its own.
const FORGED: &str = "x\" why=\"ok\" peer=\"10.9.9.9:1\"\u{2028}INFO fake";
/// What is to be seen of it.
const SHOWN: &str = r#": x\" why=\"ok\" peer=\"10.9.9.9:1\"\\u{2028}INFO fake"#;

#[tokio::test]
async fn a_client_forges_no_field_in_the_log_of_a_service() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let client = world.client(PingPong, &running, "mallory")?;
    let client = client
        .on(|_, _: Pong| async { Err(Failure::told(FORGED)) })
        .connect()
        .await?;
    client.send(&Ping { id: 1 }).await?;
    let line = lines.next().await;
    assert!(
        line.contains("reason=\"") && line.contains(SHOWN),
        "PROTOCOL E-2: {line}"
    );
    client.stop();
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_service_forges_no_field_in_the_log_of_a_client() -> TestResult {
    let (_guard, mut lines) = lines_of_clients(Level::INFO);
    let world = World::new()?;
    let shouting = answering().on(|_, _: Shout| async { Err(Failure::told(FORGED)) });
    let running = world.serve(shouting).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    client.send(&Shout { text: String::new() }).await?;
    let line = lines.find(|line| line.contains("disconnected")).await;
    assert!(
        line.contains("code=35 reason=\"") && line.contains(SHOWN),
        "PROTOCOL E-2: {line}"
    );
    client.stop();
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn each_attempt_of_a_client_that_fails_has_a_line() -> TestResult {
    let (_guard, mut lines) = lines_of_clients(Level::INFO);
    let (world, other) = (World::new()?, World::new()?);
    let refusing = answering().on_connect(|_| async { Err(Refusal::not_admitted("no guests")) });
    let running = world.serve(refusing).await?;
    // One that is refused, one of another authority, one that finds nobody.
    let stranger = ClientTls::new(other.ca.client("stranger")?, world.ca.authorities())?;
    for (address, tls, parts) in [
        (&*running.address, world.tls("alice")?, ["code=51 ", "no guests"]),
        (
            &*running.address,
            stranger,
            ["TLS with localhost", "this side's certificate"],
        ),
        (
            "localhost:1",
            world.tls("bob")?,
            ["cannot reach localhost:1", "service=\"Framework/PingPong\""],
        ),
    ] {
        let client = diset_std::Client::builder(PingPong, address).tls(tls);
        assert!(client.connect().await.is_err());
        let line = lines.next().await;
        assert!(line.contains("did not get in") && line.contains("reason=\""), "{line}");
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        assert_eq!(lines.now(), None, "one line");
    }
    running.stop().await;
    Ok(())
}

/// The number in a line that tells how many were left out.
fn left_out(line: &str) -> usize {
    let number = line
        .split_whitespace()
        .find_map(|field| field.strip_prefix("left_out="));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_crowd_without_tls_hides_nobody_and_is_told_to_the_last_one() -> TestResult {
    const CROWD: usize = 60;
    let (_guard, mut lines) = lines(Level::INFO);
    let (world, other) = (World::new()?, World::new()?);
    let running = world.serve(answering()).await?;
    let stranger = ClientTls::new(other.ca.client("stranger")?, world.ca.authorities())?;
    for _ in 0..CROWD {
        let mut socket = TcpStream::connect(("127.0.0.1", running.port())).await?;
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        // Its end may be a reset.
        read_all(&mut socket).await.1.ok();
    }
    let client = diset_std::Client::builder(PingPong, &running.address).tls(stranger);
    assert!(client.connect().await.is_err());
    // The certificate has its line whatever the crowd does, and the rest of the crowd is told of
    // although nobody comes any more.
    let (mut told, mut strangers) = (0, 0);
    while told < CROWD || strangers == 0 {
        let line = lines.next().await;
        assert!(line.contains("did not get in") || line.contains("kind="), "{line}");
        if line.contains("does not trust its authority") {
            strangers += 1;
        } else {
            told += left_out(&line) + usize::from(line.contains("peer="));
        }
    }
    assert_eq!((told, strangers), (CROWD, 1));
    // A shutdown does not wait for the second to be over.
    for _ in 0..CROWD {
        let mut socket = TcpStream::connect(("127.0.0.1", running.port())).await?;
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        read_all(&mut socket).await.1.ok();
    }
    running.stop().await;
    let mut told = 0;
    while let Some(line) = lines.now() {
        told += left_out(&line) + usize::from(line.contains("peer="));
    }
    assert_eq!(told, CROWD);
    Ok(())
}
