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
    /// The longest wait after a connection that was lost, unless a service asks for more.
    pub max: Duration,
    /// How long a connection must have been open to count as useful: only then do waits
    /// start from `base` again.
    pub useful: Duration,
    /// The longest wait a service can ask for.
    pub max_asked: Duration,
    /// The longest wait of a client that was refused and not told when to come back, or that has met something else
    /// than its service: somebody must mend something first. An eighth of it at first.
    pub refused: Duration,
}

impl ReconnectPolicy {
    /// Waits up to 0.5 s at first, up to 60 s later, up to an hour when a service asks
    /// for it; 10 s of an open connection are useful. When it was refused it waits up to 2 minutes at first, up to 16
    /// later.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(500),
        max: Duration::from_secs(60),
        useful: Duration::from_secs(10),
        max_asked: Duration::from_secs(3600),
        refused: Duration::from_secs(16 * 60),
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
    /// The service has said that this client is not to come back: somebody must see to it, and start it again.
    Never,
}

/// A policy as it is kept.
#[derive(Debug, Clone, Copy)]
struct Waits {
    base: Millis,
    max: Millis,
    useful: Millis,
    max_asked: Millis,
    refused: Millis,
}

impl Waits {
    const fn of(policy: ReconnectPolicy) -> Self {
        Self {
            base: Millis::of(policy.base),
            max: Millis::of(policy.max),
            useful: Millis::of(policy.useful),
            max_asked: Millis::of(policy.max_asked),
            refused: Millis::of(policy.refused),
        }
    }
}

/// Decides when a client connects again. One for the life of the client.
#[derive(Debug, Clone)]
pub struct Reconnect {
    waits: Waits,
    random: u64,
    /// Since the last useful connection, as far as they are counted. Small: chips keep all of this.
    attempts: u8,
    /// Those after which somebody must mend something.
    refusals: u8,
    /// Those that a newer connection has displaced: each raises the least wait.
    displaced: u8,
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
            refusals: 0,
            displaced: 0,
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
            self.displaced = self.displaced.saturating_add(1);
        } else if opened.is_some_and(|opened| now.is_past(opened, waits.useful)) {
            (self.attempts, self.refusals, self.displaced) = (0, 0, 0);
        }
        // PROTOCOL R-4: a span of its own. A service that was away for long and refuses when it is back is not left
        // alone for as long again; and one that is away for a moment, to be mended, is found soon.
        let (tries, first, longest) = if cause.needs_mending() {
            (&mut self.refusals, Millis(waits.refused.0 / 8), waits.refused)
        } else {
            (&mut self.attempts, waits.base, waits.max)
        };
        let grown = doubled(first, *tries).min(longest);
        *tries = tries.saturating_add(1);
        let floor = match self.displaced.checked_sub(1) {
            Some(before) => doubled(waits.base, before).min(waits.max),
            None => Millis::ZERO,
        };
        let (span, most) = match cause.retry() {
            // PROTOCOL R-3: what a service asks for is drawn from and clamped.
            Some(asked) => (Millis(asked.spread_ms), waits.max_asked),
            None => (grown, Millis(u32::MAX)),
        };
        let least = cause.retry().map_or(0, |asked| asked.min_ms).saturating_add(floor.0);
        let wait = Millis(least.saturating_add(self.draw(span)));
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

/// Twice as long, so many times.
fn doubled(first: Millis, times: u8) -> Millis {
    let factor = 1u32.checked_shl(times.into()).unwrap_or(u32::MAX);
    Millis(first.0.saturating_mul(factor))
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

    /// How a client comes back.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Back {
        Soon,
        Slowly,
        Never,
    }

    /// Told by the longest first wait: many draws, of which one is in the upper half at least.
    fn back(cause: &Cause) -> Back {
        let waits = (0..64).map(|seed| Reconnect::new(ReconnectPolicy::DEFAULT, seed).dropped(NOW, cause));
        let longest = waits.map(|retry| match retry {
            Retry::At(when) => Some(when.since(NOW)),
            Retry::Never => None,
        });
        match longest
            .collect::<Option<Vec<_>>>()
            .and_then(|waits| waits.into_iter().max())
        {
            None => Back::Never,
            // The least wait of one that was displaced, and the longest first one.
            Some(wait) if wait <= Duration::from_secs(1) => Back::Soon,
            Some(wait) => {
                assert!(
                    wait > Duration::from_secs(60) && wait <= Duration::from_secs(120),
                    "{wait:?}"
                );
                Back::Slowly
            }
        }
    }

    #[test]
    fn each_code_says_how_a_client_comes_back_and_none_that_it_does_not() {
        let codes = Code::ALL.iter().copied().chain([Code::Other(999)]);
        for code in codes {
            // What tells that somebody must mend something, also where no connection was refused.
            let slow = matches!(
                code,
                Code::NotDiset | Code::Version | Code::UnknownService | Code::NotAdmitted
            );
            let ended = if slow { Back::Slowly } else { Back::Soon };
            let notice = Notice::new(code);
            let lasting = notice.clone().permanently();
            let asked = notice
                .clone()
                .with_retry(RetryAfter::new(Duration::ZERO, Duration::ZERO));
            assert_eq!(
                back(&Cause::Refused(notice.clone())),
                Back::Slowly,
                "PROTOCOL R-4: {code}"
            );
            assert_eq!(back(&Cause::Refused(asked)), Back::Soon, "PROTOCOL R-3: {code}");
            assert_eq!(
                back(&Cause::Refused(lasting.clone())),
                Back::Never,
                "PROTOCOL R-4: {code}"
            );
            for made in [Cause::PeerError, Cause::OurError, Cause::WentAway] {
                assert_eq!(back(&made(notice.clone())), ended, "PROTOCOL R-4: {code}");
                // The field is for refusals.
                assert_eq!(back(&made(lasting.clone())), ended, "PROTOCOL R-4: {code}");
            }
        }
        for cause in [Cause::Lost, Cause::Silent, Cause::HandshakeTimeout] {
            assert_eq!(back(&cause), Back::Soon, "PROTOCOL R-1: {cause}");
        }
    }

    #[test]
    fn refusals_slow_a_client_down_for_as_long_as_they_last() {
        let refused = Cause::Refused(Notice::new(Code::NotAdmitted));
        let mut seen_late = false;
        for seed in 0..100 {
            let mut reconnect = Reconnect::new(ReconnectPolicy::DEFAULT, seed);
            // The service was away for long before.
            for _ in 0..20 {
                reconnect.dropped(NOW, &Cause::Lost);
            }
            for most in [120, 240, 480, 960, 960] {
                let wait = wait(reconnect.dropped(NOW, &refused));
                assert!(wait <= Duration::from_secs(most), "PROTOCOL R-4: {wait:?} of {most} s");
                seen_late |= wait > Duration::from_secs(800);
            }
            // It is away for a moment, to be mended.
            let lost = wait(reconnect.dropped(NOW, &Cause::Lost));
            assert!(lost <= Duration::from_secs(60), "PROTOCOL R-1: {lost:?}");
            // It was open for a moment only.
            reconnect.connected(NOW);
            reconnect.dropped(NOW.after(Duration::from_secs(9)), &Cause::Lost);
            assert_eq!(reconnect.refusals, 5, "PROTOCOL R-2");
            reconnect.connected(NOW);
            reconnect.dropped(NOW.after(Duration::from_secs(10)), &Cause::Lost);
            assert_eq!(reconnect.refusals, 0, "PROTOCOL R-2");
        }
        assert!(seen_late, "PROTOCOL R-4: up to 16 minutes");
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
