//! Clients without definitions: they learn what a service speaks, and send, get and print its messages by name.

use diset_std::diset_proto::postcard_schema::schema::NamedType;
use diset_std::diset_proto::{Catalog, Direction, EntryKind, MessageDef, ServiceDef};
use diset_std::{
    BadSettings, BadValue, Cause, Client, ClientEvent, Code, Conn, Ended, SendError, Service, SlowPolicy, Verdict,
};
use diset_std::{Schema, define_service};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::common::*;

#[derive(Debug, Serialize, Deserialize, Schema)]
enum Kind {
    Plain,
    Level(u8),
    Range { from: i32, to: i32 },
}

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Sample {
    name: String,
    value: f64,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Report {
    host: String,
    samples: Vec<Sample>,
    kind: Kind,
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Echo {
    report: Report,
    number: u64,
}

define_service! {
    /// Sends each report back with a number.
    Reports = "Test/Reports";
    from_client: [Report],
    from_service: [Echo],
}

fn echoing() -> Service<Reports> {
    Service::new(Reports).on(|conn: Conn<Reports>, report: Report| async move {
        conn.send(&Echo {
            report,
            number: u64::MAX,
        })
        .await?;
        Ok(())
    })
}

#[tokio::test]
async fn a_client_learns_what_a_service_speaks() -> TestResult {
    let world = World::new()?;
    let running = world.serve(echoing()).await?;
    let (client, mut events) = Client::generic("Test/Reports", &running.address)
        .tls(world.tls("alice")?)
        .events(8)?;
    assert!(client.catalog().is_none());
    assert_eq!(
        client.value("Report", json!({})).err(),
        Some(BadValue::NotConnected),
        "nothing is known yet"
    );
    connected(&client).await;
    let catalog = client.catalog().ok_or("no catalog")?;
    let shown: Vec<_> = catalog.messages().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "Report { host: str, samples: [ { name: str, value: f64 } ], kind: Plain | Level(u8) | Range { from: i32, to: i32 }, note: option str }",
            "Echo { report: { host: str, samples: [ { name: str, value: f64 } ], kind: Plain | Level(u8) | Range { from: i32, to: i32 }, note: option str }, number: u64 }",
        ],
        "PROTOCOL H-11"
    );
    assert!(client.verdicts().iter().all(|(_, verdict)| *verdict == Verdict::Same));

    // Attributes in any order, an optional one left out.
    let report =
        json!({"kind": {"Range": {"to": 9, "from": -1}}, "host": "node1", "samples": [{"value": 0.5, "name": "load"}]});
    client.send_any(&client.value("Report", report)?).await?;
    let mut next = async || loop {
        match within("an event", events.next()).await {
            Some(ClientEvent::Message(message)) => break message,
            Some(_) => {}
            None => panic!("the client has stopped"),
        }
    };
    let echo = next().await;
    assert_eq!(echo.name(), "Echo");
    assert_eq!(
        serde_json::to_string(&echo)?,
        r#"{"report":{"host":"node1","samples":[{"name":"load","value":0.5}],"kind":{"Range":{"from":-1,"to":9}},"note":null},"number":18446744073709551615}"#
    );
    assert_eq!(format!("{echo:?}"), format!("Echo of {} bytes", echo.bytes().len()));
    // What the service alone sends cannot be sent.
    assert_eq!(client.send_any(&echo).await, Err(SendError::WrongDirection));
    client.close().await;
    Ok(())
}

/// A service with a call and a message, listed by hand.
#[derive(Debug, Clone, Copy)]
struct Asked;

impl ServiceDef for Asked {
    const CATALOG: &'static Catalog = &Catalog::new(
        "Test/Asked",
        &[
            MessageDef::asked::<Sample, Kind>(EntryKind::Call, "Ask", Direction::FromClient),
            MessageDef::new::<Sample>("Sample", Direction::Both),
        ],
    );
    const STRUCTURES: &'static [&'static NamedType] = &[Sample::SCHEMA, Sample::SCHEMA];
    const ANSWERS: &'static [&'static NamedType] = &[Kind::SCHEMA];
}

#[tokio::test]
async fn what_is_no_message_is_shown_and_cannot_be_sent() -> TestResult {
    let world = World::new()?;
    let running = world.serve(Service::new(Asked)).await?;
    let client = Client::generic("Test/Asked", &running.address)
        .tls(world.tls("alice")?)
        .connect()
        .await?;
    let catalog = client.catalog().ok_or("no catalog")?;
    let shown: Vec<_> = catalog.messages().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "call Ask { name: str, value: f64 } -> Plain | Level(u8) | Range { from: i32, to: i32 }",
            "Sample { name: str, value: f64 }",
        ],
        "PROTOCOL S-7"
    );
    assert!(client.verdicts().iter().all(|(_, verdict)| *verdict == Verdict::Same));
    let sample = json!({"name": "load", "value": 0.5});
    let refused = client.value("Ask", sample.clone()).err();
    assert_eq!(
        refused.map(|why| why.to_string()).as_deref(),
        Some("Ask is a call of the service: only messages can be sent")
    );
    client.value("Sample", sample)?;
    client.close().await;
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_told_in_words() -> TestResult {
    let world = World::new()?;
    let running = world.serve(echoing()).await?;
    let client = Client::generic("Test/Reports", &running.address)
        .tls(world.tls("alice")?)
        .connect()
        .await?;
    let told = |name: &str, value| {
        client
            .value(name, value)
            .map_or_else(|why| why.to_string(), |_| String::new())
    };
    assert_eq!(
        told("Ping", json!({"id": 7})),
        "the service has no message `Ping`; it has Report, Echo"
    );
    let bad =
        json!({"host": "h", "samples": [{"name": "a", "value": 1}, {"name": "b", "value": "x"}], "kind": "Plain"});
    assert_eq!(
        told("Report", bad),
        "Report: `samples[1].value`: expected a number, or the text NaN, inf or -inf, got the text \"x\""
    );
    client.close().await;
    Ok(())
}

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Count {
    whole: u128,
}

define_service! { Counts = "Test/Counts"; from_client: [Count] }

#[tokio::test]
async fn json_is_taken_as_it_is_written() -> TestResult {
    let world = World::new()?;
    let (counts, mut seen) = log();
    let service = Service::new(Counts).on(move |_: Conn<Counts>, count: Count| {
        counts.add(count.whole);
        async { Ok(()) }
    });
    let running = world.serve(service).await?;
    let client = Client::generic("Test/Counts", &running.address)
        .tls(world.tls("alice")?)
        .connect()
        .await?;
    let value = |text| client.value("Count", &mut serde_json::Deserializer::from_str(text));
    client.try_send_any(&value(r#"{"whole": 340282366920938463463374607431768211455}"#)?)?;
    assert_eq!(seen.next().await, u128::MAX);
    let twice = value(r#"{"whole": 1, "whole": 2}"#).err().map(|why| why.to_string());
    assert!(twice.as_ref().is_some_and(|why| why.contains("twice")), "{twice:?}");
    client.close().await;
    running.stop().await;
    Ok(())
}

/// Two forms of one service, as before and after an upgrade.
mod upgrade {
    use super::{Deserialize, Schema, Serialize, define_service};

    pub(super) mod before {
        use super::{Deserialize, Schema, Serialize, define_service};
        #[derive(Debug, Serialize, Deserialize, Schema)]
        pub(crate) struct Job {
            pub(crate) id: i64,
        }
        define_service! { pub(crate) Jobs = "Test/Jobs"; both: [Job] }
    }
    pub(super) mod after {
        use super::{Deserialize, Schema, Serialize, define_service};
        #[derive(Debug, Serialize, Deserialize, Schema)]
        pub(crate) struct Hello {}
        #[derive(Debug, Serialize, Deserialize, Schema)]
        pub(crate) struct Job {
            pub(crate) id: i64,
            pub(crate) queue: String,
        }
        define_service! { pub(crate) Jobs = "Test/Jobs"; both: [Hello, Job] }
    }
}

#[tokio::test]
async fn a_service_that_comes_back_with_other_definitions_is_learned_anew() -> TestResult {
    let world = World::new()?;
    let old = world
        .serve(Service::new(upgrade::before::Jobs).on(|_, _: upgrade::before::Job| async { Ok(()) }))
        .await?;
    let (address, port) = (old.address.clone(), old.port());
    let client = Client::generic("Test/Jobs", &address)
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .connect()
        .await?;
    let stale = client.value("Job", json!({"id": 1}))?;
    client.send_any(&stale).await?;
    let before = client.catalog().ok_or("no catalog")?.digest();
    old.stop().await;

    let (log, mut jobs) = log();
    let new = Service::new(upgrade::after::Jobs).on(move |_, job: upgrade::after::Job| {
        log.add((job.id, job.queue));
        async { Ok(()) }
    });
    let _new = run(new.bind(("127.0.0.1", port), world.server.clone()).await?);
    let mut states = client.watch();
    within("the new definitions", async {
        while client.catalog().is_some_and(|catalog| catalog.digest() == before) {
            states.changed().await.expect("the client lives");
        }
    })
    .await;
    connected(&client).await;
    // Made for the old definition: it does not leave under the number of another message.
    assert_eq!(
        client.send_any(&stale).await,
        Err(SendError::NotAgreed(Verdict::Differs)),
        "PROTOCOL S-6"
    );
    client
        .send_any(&client.value("Job", json!({"id": 2, "queue": "short"}))?)
        .await?;
    assert_eq!(jobs.next().await, (2, "short".to_owned()));
    client.close().await;
    Ok(())
}

/// A message whose description is longer than a small buffer.
mod wide {
    use super::{Deserialize, Schema, Serialize, define_service};

    #[derive(Debug, Default, Serialize, Deserialize, Schema)]
    pub(crate) struct Wide {
        low: [[(); 32]; 32],
        high: [[(); 32]; 32],
    }
    define_service! { pub(crate) Wides = "Test/Wide"; from_service: [Wide] }
}

#[tokio::test]
async fn who_is_told_a_long_catalog_is_not_taken_for_slow() -> TestResult {
    let world = World::new()?;
    let service = Service::new(wide::Wides)
        .send_buffer(1024)
        .slow_policy(SlowPolicy::Disconnect)
        .on_connected(|conn: Conn<wide::Wides>| async move {
            conn.send(&wide::Wide::default()).await?;
            Ok(())
        });
    let running = world.serve(service).await?;
    let (client, mut events) = Client::generic("Test/Wide", &running.address)
        .tls(world.tls("alice")?)
        .events(8)?;
    let first = within("connected", events.next()).await;
    assert!(matches!(first, Some(ClientEvent::Connected(_))), "{first:?}");
    let second = within("a message", events.next()).await;
    assert!(
        matches!(second, Some(ClientEvent::Message(ref wide)) if wide.name() == "Wide"),
        "{second:?}"
    );
    client.close().await;
    Ok(())
}

#[tokio::test]
async fn names_of_services_are_checked_here_and_there() -> TestResult {
    let world = World::new()?;
    let running = world.serve(echoing()).await?;
    let bad = Client::generic("Reports", &running.address)
        .tls(world.tls("alice")?)
        .start();
    assert!(matches!(bad, Err(BadSettings::Service(name)) if name == "Reports"));
    let other = Client::generic("Test/Other", &running.address)
        .tls(world.tls("alice")?)
        .connect()
        .await;
    let Err(Ended::Dropped(dropped)) = other else {
        return Err("connected to a service of another name".into());
    };
    assert!(matches!(dropped.cause(), Cause::Refused(notice) if notice.code() == Code::UnknownService));
    Ok(())
}
