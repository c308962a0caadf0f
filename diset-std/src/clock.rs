//! The clock that the engine is told: milliseconds since the first look at it.

use std::sync::OnceLock;
use std::time::Instant as StdInstant;

use diset_proto::Instant;

fn origin() -> StdInstant {
    static ORIGIN: OnceLock<StdInstant> = OnceLock::new();
    *ORIGIN.get_or_init(StdInstant::now)
}

/// Now.
pub(crate) fn now() -> Instant {
    let millis = origin().elapsed().as_millis();
    Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// When the engine's `instant` is on tokio's clock.
pub(crate) fn deadline(instant: Instant) -> tokio::time::Instant {
    let now = now();
    tokio::time::Instant::now() + instant.since(now)
}
