//! When a client connects again: deterministic from a seed (PROTOCOL, part R).

use core::time::Duration;

use crate::error::Cause;
use crate::status::Code;
use crate::time::{Instant, Millis};

/// How a client waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "a plain record that its user fills in")]
pub struct ReconnectPolicy {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all, unless a service asks for more.
    pub max: Duration,
    /// How long a connection must have been open to count as useful: only then do waits
    /// start from `base` again.
    pub useful: Duration,
    /// The longest wait a service can ask for.
    pub max_asked: Duration,
}

impl ReconnectPolicy {
    /// Waits up to 0.5 s at first, up to 60 s later, up to an hour when a service asks
    /// for it; 10 s of an open connection are useful.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(500),
        max: Duration::from_secs(60),
        useful: Duration::from_secs(10),
        max_asked: Duration::from_secs(3600),
    };
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What to do after a connection, or the attempt at one, has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "either there is a next attempt or there is none")]
pub enum Retry {
    /// Connect again at this time.
    At(Instant),
    /// It would end the same way: somebody must mend something first.
    Never,
}

/// A policy as it is kept.
#[derive(Debug, Clone, Copy)]
struct Waits {
    base: Millis,
    max: Millis,
    useful: Millis,
    max_asked: Millis,
}

impl Waits {
    const fn of(policy: ReconnectPolicy) -> Self {
        Self {
            base: Millis::of(policy.base),
            max: Millis::of(policy.max),
            useful: Millis::of(policy.useful),
            max_asked: Millis::of(policy.max_asked),
        }
    }
}

/// Decides when a client connects again. One for the life of the client.
#[derive(Debug, Clone)]
pub struct Reconnect {
    waits: Waits,
    random: u64,
    attempts: u32,
    /// The least wait, raised each time a newer connection displaces this one.
    floor: Millis,
    opened: Option<Instant>,
}

impl Reconnect {
    /// With a seed from the caller's entropy: two clients with one seed come back at the
    /// same moments.
    pub const fn new(policy: ReconnectPolicy, seed: u64) -> Self {
        Self {
            waits: Waits::of(policy),
            random: seed,
            attempts: 0,
            floor: Millis::ZERO,
            opened: None,
        }
    }

    /// The connection is open.
    pub const fn connected(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    /// The connection, or the attempt at one, has ended.
    ///
    /// `cause` is that of the engine; [`Cause::Lost`] when there was no engine yet, as
    /// when the service cannot be reached or TLS fails. In TLS 1.3 a client learns of its
    /// refused certificate only after its handshake; without an acceptance that is never
    /// useful (PROTOCOL R-2).
    pub fn dropped(&mut self, now: Instant, cause: &Cause) -> Retry {
        if cause.is_permanent() {
            return Retry::Never;
        }
        let waits = self.waits;
        let opened = self.opened.take();
        if cause.code() == Some(Code::Displaced) {
            // PROTOCOL R-5
            let floor = Millis(self.floor.0.saturating_mul(2));
            self.floor = floor.max(waits.base).min(waits.max);
        } else if opened.is_some_and(|opened| now.is_past(opened, waits.useful)) {
            self.attempts = 0;
            self.floor = Millis::ZERO;
        }
        let (span, most) = match cause.retry() {
            // PROTOCOL R-3: what a service asks for is drawn from and clamped.
            Some(asked) => (Millis(asked.spread_ms), waits.max_asked),
            None => {
                let factor = 1u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
                let span = Millis(waits.base.0.saturating_mul(factor));
                (span.min(waits.max), Millis(u32::MAX))
            }
        };
        let least = cause
            .retry()
            .map_or(0, |asked| asked.min_ms)
            .saturating_add(self.floor.0);
        let wait = Millis(least.saturating_add(self.draw(span)));
        self.attempts = self.attempts.saturating_add(1);
        Retry::At(now.plus(wait.min(most)))
    }

    /// This side has ended the connection to go on with a new one at once, as before its channel is worn out: no
    /// wait, and none grows by it.
    pub const fn left(&mut self, now: Instant) -> Retry {
        self.opened = None;
        Retry::At(now)
    }

    /// Full jitter (PROTOCOL R-1): anything from nothing to `span`, in milliseconds.
    fn draw(&mut self, span: Millis) -> u32 {
        // SplitMix64: one addition and a mix, any seed will do.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper half of it is as good as all.
        let scaled = ((mixed >> 32) * (u64::from(span.0) + 1)) >> 32;
        u32::try_from(scaled).unwrap_or(span.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Notice, RetryAfter};

    const NOW: Instant = Instant::from_millis(1_000_000);

    fn wait(retry: Retry) -> Duration {
        match retry {
            Retry::At(when) => when.since(NOW),
            Retry::Never => panic!("permanent"),
        }
    }

    #[test]
    fn waits_grow_with_full_jitter_and_the_seed_decides() {
        let mut seen_low = false;
        for seed in 0..200 {
            let mut one = Reconnect::new(ReconnectPolicy::DEFAULT, seed);
            let mut other = Reconnect::new(ReconnectPolicy::DEFAULT, seed);
            let mut span = Duration::from_millis(500);
            for _ in 0..12 {
                let wait = wait(one.dropped(NOW, &Cause::Lost));
                assert!(wait <= span, "PROTOCOL R-1: {wait:?} of {span:?}");
                assert_eq!(Retry::At(NOW.after(wait)), other.dropped(NOW, &Cause::Lost));
                seen_low |= span > Duration::from_secs(30) && wait < Duration::from_secs(2);
                span = (span * 2).min(Duration::from_secs(60));
            }
        }
        assert!(seen_low, "PROTOCOL R-1: full jitter reaches down");
    }

    #[test]
    fn only_useful_time_resets() {
        let mut reconnect = Reconnect::new(ReconnectPolicy::DEFAULT, 7);
        for _ in 0..20 {
            reconnect.connected(NOW);
            reconnect.dropped(NOW.after(Duration::from_secs(9)), &Cause::Lost);
        }
        assert_eq!(reconnect.attempts, 20, "PROTOCOL R-2");
        reconnect.connected(NOW);
        reconnect.dropped(NOW.after(Duration::from_secs(10)), &Cause::Lost);
        assert_eq!(reconnect.attempts, 1, "PROTOCOL R-2");
    }

    #[test]
    fn what_a_service_asks_for_is_kept_and_clamped() {
        let minute = Duration::from_secs(60);
        let mut reconnect = Reconnect::new(ReconnectPolicy::DEFAULT, 7);
        let busy = |min, spread| Cause::Refused(Notice::new(Code::Busy).with_retry(RetryAfter::new(min, spread)));
        let asked = wait(reconnect.dropped(NOW, &busy(5 * minute, minute)));
        assert!((5 * minute..=6 * minute).contains(&asked), "PROTOCOL R-3: {asked:?}");
        assert_eq!(
            wait(reconnect.dropped(NOW, &busy(500 * minute, minute))),
            60 * minute,
            "PROTOCOL R-3"
        );
    }

    #[test]
    fn permanent_refusals_are_not_looped_on() {
        let mut reconnect = Reconnect::new(ReconnectPolicy::DEFAULT, 7);
        let refused = Cause::Refused(Notice::new(Code::UnknownService));
        assert_eq!(reconnect.dropped(NOW, &refused), Retry::Never, "PROTOCOL R-4");
    }

    #[test]
    fn two_that_fight_over_one_identity_slow_down() {
        let mut reconnect = Reconnect::new(ReconnectPolicy::DEFAULT, 7);
        let displaced = Cause::PeerError(Notice::new(Code::Displaced));
        let mut floor = Duration::from_millis(500);
        for _ in 0..10 {
            reconnect.connected(NOW);
            let late = NOW.after(Duration::from_secs(100));
            let Retry::At(when) = reconnect.dropped(late, &displaced) else {
                panic!("permanent")
            };
            assert!(when.since(late) >= floor, "PROTOCOL R-5");
            floor = (floor * 2).min(Duration::from_secs(60));
        }
        let asked = RetryAfter::new(Duration::from_secs(7200), Duration::ZERO);
        let gone = Cause::WentAway(Notice::new(Code::Shutdown).with_retry(asked));
        assert_eq!(
            wait(reconnect.dropped(NOW, &gone)),
            ReconnectPolicy::DEFAULT.max_asked,
            "PROTOCOL R-3: the least wait is within the bound, too"
        );
    }
}
