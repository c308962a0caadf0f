//! When a client connects again: deterministic from a seed (PROTOCOL, part R).

use core::time::Duration;

use crate::error::Cause;
use crate::status::{Code, RetryAfter};
use crate::time::{Instant, millis};

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

/// A policy in whole milliseconds: a quarter of the memory, which counts on a chip.
#[derive(Debug, Clone, Copy)]
struct Waits {
    base: u32,
    max: u32,
    useful: u32,
    max_asked: u32,
}

impl Waits {
    const fn of(policy: ReconnectPolicy) -> Self {
        Self {
            base: short(policy.base),
            max: short(policy.max),
            useful: short(policy.useful),
            max_asked: short(policy.max_asked),
        }
    }

    const fn policy(self) -> ReconnectPolicy {
        ReconnectPolicy {
            base: Duration::from_millis(self.base as u64),
            max: Duration::from_millis(self.max as u64),
            useful: Duration::from_millis(self.useful as u64),
            max_asked: Duration::from_millis(self.max_asked as u64),
        }
    }
}

/// Milliseconds, up to 49 days.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is cut before")]
const fn short(span: Duration) -> u32 {
    let millis = span.as_millis();
    if millis > u32::MAX as u128 {
        u32::MAX
    } else {
        millis as u32
    }
}

/// Decides when a client connects again. One for the life of the client.
#[derive(Debug, Clone)]
pub struct Reconnect {
    waits: Waits,
    random: u64,
    attempts: u32,
    /// The least wait, raised each time a newer connection displaces this one.
    floor: Duration,
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
            floor: Duration::ZERO,
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
        let policy = self.waits.policy();
        let useful = self
            .opened
            .take()
            .is_some_and(|opened| now.since(opened) >= policy.useful);
        let displaced = cause.code() == Some(Code::Displaced);
        if displaced {
            // PROTOCOL R-5
            self.floor = self.floor.saturating_mul(2).max(policy.base).min(policy.max);
        } else if useful {
            self.attempts = 0;
            self.floor = Duration::ZERO;
        }
        let wait = match cause.retry() {
            Some(asked) => self.floor.saturating_add(self.asked(asked)).min(policy.max_asked),
            None => {
                let factor = 1u32.checked_shl(self.attempts.min(31)).unwrap_or(u32::MAX);
                let span = policy.base.saturating_mul(factor).min(policy.max);
                self.floor.saturating_add(self.draw(span))
            }
        };
        self.attempts = self.attempts.saturating_add(1);
        Retry::At(now.after(wait))
    }

    /// This side has ended the connection to go on with a new one at once, as before its channel is worn out: no
    /// wait, and none grows by it.
    pub const fn left(&mut self, now: Instant) -> Retry {
        self.opened = None;
        Retry::At(now)
    }

    /// PROTOCOL R-3: what a service asks for is drawn from and clamped.
    fn asked(&mut self, asked: RetryAfter) -> Duration {
        let drawn = self.draw(asked.spread());
        asked
            .min()
            .saturating_add(drawn)
            .min(Duration::from_millis(self.waits.max_asked.into()))
    }

    /// Full jitter (PROTOCOL R-1): anything from nothing to `span`, in milliseconds.
    fn draw(&mut self, span: Duration) -> Duration {
        // SplitMix64: one addition and a mix, any seed will do.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let scaled = (u128::from(mixed) * u128::from(millis(span).saturating_add(1))) >> 64;
        Duration::from_millis(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Notice;

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
