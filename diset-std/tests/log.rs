//! What stands in the log of a service when TLS, or a handler, fails.

mod common;

use diset_std::tls::ClientTls;
use diset_std::{ClientState, Failure};
use tracing::Level;

use crate::common::lines::lines;
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
