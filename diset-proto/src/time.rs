//! Time as the engine sees it: a number of milliseconds that the caller supplies.
//!
//! Nothing in this crate reads a clock. Spans of time are [`core::time::Duration`].

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// A point in time: milliseconds since an origin of the caller's choice.
///
/// The origin must stay the same for the life of a connection and of its
/// [`Reconnect`](crate::Reconnect); boot time is a good one. Time that goes
/// backwards is taken as time that stands still. The far end of time is `u64::MAX - 1` milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the milliseconds, so that an `Option` of it takes no more memory.
    NonZeroU64,
);

impl Instant {
    /// The origin of the caller's clock.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The point `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(millis))
    }

    /// Milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0.get() - 1
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The point `span` later, rounded down to milliseconds; the far end of time
    /// when that does not fit.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The point `span` later.
    pub(crate) const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0 as u64))
    }

    /// Whether at least this span has gone by since `earlier`.
    pub(crate) const fn is_past(self, earlier: Self, span: Millis) -> bool {
        self.0.get().saturating_sub(earlier.0.get()) >= span.0 as u64
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_millis()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Instant({=u64})", self.as_millis());
    }
}

/// The earlier of two times that may be there.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A span as the engine keeps it: whole milliseconds, up to 49 days. A `Duration` takes four times the memory, and
/// divisions of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Millis(pub(crate) u32);

impl Millis {
    pub(crate) const ZERO: Self = Self(0);

    /// Rounded down; the longest when it does not fit.
    // Four times in the setup of a client, where speed does not matter.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "what does not fit is cut before")]
    pub(crate) const fn of(span: Duration) -> Self {
        let millis = millis(span);
        if millis > u32::MAX as u64 {
            Self(u32::MAX)
        } else {
            Self(millis as u32)
        }
    }

    pub(crate) const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

/// Whole milliseconds of a span, saturating at `u64::MAX`.
pub(crate) const fn millis(span: Duration) -> u64 {
    span.as_secs()
        .saturating_mul(1000)
        .saturating_add(span.subsec_millis() as u64)
}
