//! With the feature `metrics`, what a service counts reaches the recorder of the program, under
//! the same names.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::common::*;

/// Keeps counters and gauges.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Kept {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{} {}", key.name(), labels.join(","));
        let mut cells = self.0.lock().expect("no panic");
        Arc::clone(cells.entry(name).or_default())
    }

    fn value(&self, name: &str) -> Option<u64> {
        let cells = self.0.lock().expect("no panic");
        cells.get(name).map(|cell| cell.load(Ordering::SeqCst))
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn a_recorder_sees_what_is_counted() -> TestResult {
    let kept = Kept::default();
    let _guard = metrics::set_default_local_recorder(&kept);
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    // A gauge is kept as the bits of a float.
    let live = || kept.value("diset_live service=Framework/PingPong").map(f64::from_bits);
    assert_eq!(live(), Some(1.0));
    client.close().await;
    running.stop().await;
    assert_eq!(live(), Some(0.0));
    for (name, expected) in [
        ("diset_accepted_total service=Framework/PingPong", 1),
        ("diset_handshakes_total service=Framework/PingPong,kind=full", 1),
        ("diset_admitted_total service=Framework/PingPong", 1),
        ("diset_went_away_total service=Framework/PingPong,kind=Done", 1),
    ] {
        assert_eq!(kept.value(name), Some(expected), "{name}");
    }
    Ok(())
}
