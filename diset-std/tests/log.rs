//! What stands in the log of a service when TLS fails.

mod common;

use core::fmt::Write;

use diset_std::tls::ClientTls;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::common::*;

/// Writes down warnings and worse.
struct Warnings(Log<String>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn core::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).ok();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.add(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_handshake_that_fails_is_told_once_with_address_and_reason() -> TestResult {
    let (log, mut lines) = log();
    let _guard = tracing::subscriber::set_default(Warnings(log));
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
