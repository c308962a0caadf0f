//! How much memory a service takes for each session that has no connection. On request, as it takes its time:
//! `cargo test -p diset-std --test sockets processes::memory::absent -- --ignored --nocapture`.

use std::fs;

use diset_std::{Client, ClientBuilder, Conn, Failure, Identity, Rule, Service, SessionId, SessionSettings};
use tokio::task::JoinSet;

use super::child::{Process, place, tell};
use crate::common::*;

const SESSIONS: u32 = 10_000;
/// Sessions before those that are measured: what the first ones cost only once is not counted.
const WARM_UP: u32 = 500;
const AT_A_TIME: u32 = 10;
/// What a session may take: a bound for regressions, far above what was measured.
const MOST: u64 = 4096;

fn identity(number: u32) -> Identity {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Identity::from_bytes(bytes)
}

/// Memory of this process that is not a file's, in bytes.
fn memory() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.ok_or_else(|| Failure::new("no RssAnon"))?.parse::<u64>()? * 1024)
}

#[tokio::test]
#[ignore = "a part of another test"]
async fn child() -> TestResult {
    if place()?.is_none() {
        return Ok(());
    }
    let settings = SessionSettings::default().sessions_per_principal(2 * SESSIONS as usize);
    let service = Service::new(PingPong)
        .sessions(settings)
        .allow_connect(Rule::everyone())
        .on(|conn: Conn<PingPong>, _: Ping| async move {
            let (all, absent) = conn.service().sessions();
            tell(&format!("{} {all} {absent}", memory()?));
            Ok(())
        })
        .on(|conn: Conn<PingPong>, _: Shout| async move {
            // One message of 100 bytes for each.
            for number in 0..SESSIONS {
                let session = SessionId {
                    identity: identity(WARM_UP + number),
                    ..conn.session()
                };
                let text = "x".repeat(99);
                conn.service().send_acked(session, &News { text }).await?;
            }
            Ok(())
        });
    let bound = service.bind_plain_tcp("127.0.0.1:0").await?;
    tell(&bound.local_addr().ok_or("a port")?.to_string());
    bound.run().await;
    Ok(())
}

/// So many clients come and go, each with an identity of its own.
async fn come_and_go(address: &str, numbers: core::ops::Range<u32>) -> TestResult {
    let mut tasks = JoinSet::new();
    for part in 0..AT_A_TIME {
        let numbers: Vec<_> = numbers.clone().filter(|number| number % AT_A_TIME == part).collect();
        let address = address.to_owned();
        tasks.spawn(async move {
            for number in numbers {
                let client = client(&address, number).connect().await.expect("it is let in");
                client.close().await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    Ok(())
}

fn client(address: &str, number: u32) -> ClientBuilder<PingPong> {
    let client = Client::builder(PingPong, address).plain_tcp();
    client.identity(identity(number))
}

/// The memory of the service when so many sessions are away.
async fn asked(
    asking: &Client<PingPong>,
    service: &mut Process,
    away: u32,
) -> Result<u64, Box<dyn core::error::Error>> {
    loop {
        asking.send(&Ping { id: 0 }).await?;
        let line = service.line().await?.ok_or("it ended")?;
        let words: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        if words[2] == u64::from(away) {
            return Ok(words[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes its time"]
async fn absent() -> TestResult {
    let world = World::new()?;
    let mut service = Process::start(
        "processes::memory::child",
        &world,
        &world.ca.client("unused")?,
        "unused",
    )?;
    let address = service.line().await?.ok_or("an address")?;
    let asking = client(&address, u32::MAX).connect().await?;
    come_and_go(&address, 0..WARM_UP).await?;
    let before = asked(&asking, &mut service, WARM_UP).await?;
    come_and_go(&address, WARM_UP..WARM_UP + SESSIONS).await?;
    let empty = asked(&asking, &mut service, WARM_UP + SESSIONS).await?;
    asking.send(&Shout { text: String::new() }).await?;
    let full = asked(&asking, &mut service, WARM_UP + SESSIONS).await?;
    let each = |bytes: u64| bytes.saturating_sub(before) / u64::from(SESSIONS);
    println!(
        "{SESSIONS} absent sessions: {} bytes each without a message, {} with one of 100 bytes",
        each(empty),
        each(full),
    );
    assert!(each(full) <= MOST, "{} bytes each", each(full));
    service.kill().await.map(drop)
}
