//! Time as the engine sees it: a number of milliseconds that the caller supplies.
//!
//! Nothing in this crate reads a clock. Spans of time are [`core::time::Duration`].

use core::time::Duration;

/// A point in time: milliseconds since an origin of the caller's choice.
///
/// The origin must stay the same for the life of a connection and of its
/// [`Reconnect`](crate::Reconnect); boot time is a good one. Time that goes
/// backwards is taken as time that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The origin of the caller's clock.
    pub const ZERO: Self = Self(0);

    /// The point `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The point `span` later, rounded down to milliseconds; the far end of time
    /// when that does not fit.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }
}

/// Whole milliseconds of a span, saturating at `u64::MAX`.
pub(crate) const fn millis(span: Duration) -> u64 {
    span.as_secs()
        .saturating_mul(1000)
        .saturating_add(span.subsec_millis() as u64)
}
