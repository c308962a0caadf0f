//! The clock that the engine is told: milliseconds since the first look at it. It is tokio's, so
//! that timers and the engine agree also in a test that has paused it.

use std::sync::OnceLock;

use diset_proto::Instant;
use tokio::time::Instant as TokioInstant;

fn origin() -> TokioInstant {
    static ORIGIN: OnceLock<TokioInstant> = OnceLock::new();
    *ORIGIN.get_or_init(TokioInstant::now)
}

/// Now.
pub(crate) fn now() -> Instant {
    let millis = origin().elapsed().as_millis();
    Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// When the engine's `instant` is on tokio's clock.
pub(crate) fn deadline(instant: Instant) -> TokioInstant {
    let now = now();
    TokioInstant::now() + instant.since(now)
}
