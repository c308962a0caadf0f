//! One name with several addresses, the first of which cannot be reached, or never speaks.

use core::time::Duration;

use diset_std::{ClientState, Ended, Limits, Rule};

use super::{BlackHole, Failed, Mute, address_of, client_at, plain_client_at, refusing};
use crate::common::*;

#[tokio::test]
async fn a_dead_address_before_a_good_one_does_not_cost_the_attempt() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let (hole, good) = (BlackHole::new().await?, address_of(&running));
    let refusing = refusing().await?;
    for addresses in [
        vec![hole.address, good],
        vec![refusing, good],
        vec![hole.address, refusing, hole.address, good],
    ] {
        // It would fail with the first attempt that fails.
        let client = within("connected", client_at(&world, &addresses)?.connect()).await?;
        client.close().await;
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_mute_address_is_left_within_the_attempt_and_tried_last_later() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let mute = Mute::new().await?;
    let client = client_at(&world, &[mute.address, address_of(&running)])?;
    let client = client.limits(Limits::SERVER.with_handshake(Duration::from_secs(6)));
    let client = within("connected", client.connect()).await?;
    assert_eq!(mute.visits.value(), 1);
    for _ in 0..3 {
        let before = client.trid();
        client.cut();
        until(
            &client,
            "connected again",
            |state| matches!(state, ClientState::Connected(trid) if Some(*trid) != before),
        )
        .await;
    }
    assert_eq!(mute.visits.value(), 1, "it is tried last");
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn one_that_hangs_later_is_left_when_the_time_of_a_handshake_is_over() -> TestResult {
    let world = World::new()?;
    let short = Limits::SERVER.with_handshake(Duration::from_millis(1500));
    // It proves itself, and does not come to a decision.
    let hanging = world.serve(answering().on_connect(|_| core::future::pending())).await?;
    let running = world.serve(answering()).await?;
    let client = client_at(&world, &[address_of(&hanging), address_of(&running)])?.limits(short);
    let client = within("connected", client.connect()).await?;
    conn_of(&running, &client).await;
    client.close().await;
    hanging.kill().await;
    running.stop().await;

    // Without TLS nobody proves anything.
    let mute = Mute::new().await?;
    let plain = answering().allow_connect(Rule::everyone());
    let running = run(plain.bind_plain_tcp("127.0.0.1:0").await?);
    let client = plain_client_at(&[mute.address, address_of(&running)])
        .plain_tcp()
        .limits(short);
    within("connected", client.connect()).await?.close().await;
    running.stop().await;
    Ok(())
}

/// All of them fail, with so much time for each step.
async fn why(world: &World, addresses: &[core::net::SocketAddr], span: Duration) -> Result<Ended, Failed> {
    let client = client_at(world, addresses)?.limits(Limits::SERVER.with_handshake(span));
    Ok(within("given up", client.connect()).await.err().ok_or("connected")?)
}

#[tokio::test]
async fn the_error_says_what_happened_at_each_address() -> TestResult {
    let world = World::new()?;
    let (hole, mute, refusing) = (BlackHole::new().await?, Mute::new().await?, refusing().await?);
    let span = Duration::from_millis(900);
    let text = why(&world, &[hole.address, refusing], span).await?.to_string();
    assert!(text.starts_with("cannot reach localhost:1: "), "{text}");
    assert!(
        text.contains(&format!("{}: no answer within 900 ms", hole.address)),
        "{text}"
    );
    assert!(text.contains(&format!("{refusing}: Connection refused")), "{text}");

    let text = why(&world, &[mute.address, refusing], span).await?.to_string();
    let silent = format!(
        "{}: it takes connections and does not answer within 300 ms",
        mute.address
    );
    assert!(text.contains(&silent) && text.contains(&refusing.to_string()), "{text}");

    // With what went furthest first.
    let stranger = World::new()?;
    let other = stranger.serve(answering()).await?;
    let ended = why(&world, &[refusing, address_of(&other)], Duration::from_secs(5)).await?;
    let text = ended.to_string();
    assert!(matches!(ended, Ended::Tls { .. }), "{text}");
    let place = format!("TLS with localhost:1 ({}) failed: ", address_of(&other));
    assert!(text.starts_with(&place), "{text}");
    assert!(
        text.contains(&format!("; and {refusing}: Connection refused")),
        "{text}"
    );
    other.stop().await;
    Ok(())
}

#[tokio::test]
async fn all_black_holes_together_have_one_time_limit() -> TestResult {
    let world = World::new()?;
    let mut holes = Vec::new();
    for _ in 0..4 {
        holes.push(BlackHole::new().await?);
    }
    let addresses: Vec<_> = holes.iter().map(|hole| hole.address).collect();
    let text = why(&world, &addresses, Duration::from_secs(2)).await?.to_string();
    for address in addresses {
        assert!(text.contains(&format!("{address}: no answer within 2000 ms")), "{text}");
    }
    Ok(())
}
