//! One name with several addresses, the first of which is somebody else's, or says no.

use core::net::SocketAddr;
use core::time::Duration;

use diset_std::tls::ServerTls;
use diset_std::{ClientState, Code, ReconnectPolicy, Refusal, Rule, Service, define_service};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Failed, address_of, client_at, plain_client_at};
use crate::common::*;

define_service! { Other = "Framework/Other"; from_client: [Ping], from_service: [Pong] }

/// Says this to whoever comes, and hangs up.
async fn talker(says: &'static [u8]) -> Result<(SocketAddr, JoinHandle<()>), Failed> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((mut guest, _)) = socket.accept().await {
            guest.write_all(says).await.ok();
        }
    });
    Ok((address, task))
}

#[tokio::test]
async fn an_address_of_somebody_else_is_left_within_the_attempt() -> TestResult {
    let (world, foreign) = (World::new()?, World::new()?);
    let running = world.serve(answering()).await?;
    // Of another authority; of ours under another name; one that speaks HTTP; one that hangs up.
    let stranger = foreign.serve(answering()).await?;
    let elsewhere = ServerTls::new(world.ca.server(&["elsewhere.test"])?, world.ca.authorities())?;
    let neighbour = run(answering().bind("127.0.0.1:0", elsewhere).await?);
    let (web, web_task) = talker(b"HTTP/1.0 400 Bad Request\r\n\r\n").await?;
    let (rude, rude_task) = talker(b"").await?;
    // And another service of ours, which proves the name.
    let other = world.serve(Service::new(Other)).await?;
    let other_address = ([127, 0, 0, 1], other.port()).into();
    let bad = [address_of(&stranger), address_of(&neighbour), web, rude, other_address];
    for bad in bad {
        let client = client_at(&world, &[bad, address_of(&running)])?;
        within("connected", client.connect()).await?.close().await;
    }
    let all: Vec<_> = bad.into_iter().chain([address_of(&running)]).collect();
    let client = client_at(&world, &all)?;
    within("connected", client.connect()).await?.close().await;
    web_task.abort();
    rude_task.abort();
    other.stop().await;
    for service in [running, stranger, neighbour] {
        service.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_service_is_left_within_the_attempt_without_tls_too() -> TestResult {
    let bound = answering().allow_connect(Rule::everyone());
    let running = run(bound.bind_plain_tcp("127.0.0.1:0").await?);
    let (web, task) = talker(b"HTTP/1.0 400 Bad Request\r\n\r\n").await?;
    let client = plain_client_at(&[web, address_of(&running)]).plain_tcp();
    within("connected", client.connect()).await?.close().await;
    task.abort();
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_wrong_address_does_not_stop_a_client_whose_service_is_only_away() -> TestResult {
    let (web, task) = talker(b"HTTP/1.0 400 Bad Request\r\n\r\n").await?;
    let place = TcpListener::bind("127.0.0.1:0").await?;
    let address = place.local_addr()?;
    drop(place);
    // Who is refused comes back after hours; this one was not.
    let slow = ReconnectPolicy {
        refused: Duration::from_secs(24 * 60 * 60),
        ..QUICK
    };
    let client = plain_client_at(&[web, address]).reconnect(slow).plain_tcp().start()?;
    let state = until(&client, "an attempt is over", |state| {
        !matches!(state, ClientState::Connecting)
    })
    .await;
    assert!(matches!(state, ClientState::Waiting { .. }), "{state}");
    let running = run(answering()
        .allow_connect(Rule::everyone())
        .bind_plain_tcp(address)
        .await?);
    connected(&client).await;
    client.close().await;
    task.abort();
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_service_that_says_no_is_the_answer_and_asked_last_the_next_time() -> TestResult {
    let world = World::new()?;
    let visits = Count::default();
    let count = visits.clone();
    let full = world
        .serve(answering().on_connect(move |_| {
            count.add();
            async { Err(Refusal::busy("full").retry_after(Duration::from_millis(10))) }
        }))
        .await?;
    let good = world.serve(answering()).await?;
    let addresses = [address_of(&full), address_of(&good)];
    let refused = within("refused", client_at(&world, &addresses)?.connect()).await;
    let why = refused.err().ok_or("admitted")?;
    assert_eq!(why.code(), Some(Code::Busy), "{why}");
    assert!(good.handle.connections().is_empty(), "no is an answer");

    let client = client_at(&world, &addresses)?.start()?;
    connected(&client).await;
    assert_eq!(visits.value(), 2, "once by each client");
    client.close().await;
    full.stop().await;
    good.stop().await;
    Ok(())
}
