//! The peer's certificates while the connection lives: they end, or the service wants to know whether it would still accept them.

use core::time::Duration;

use diset_proto::limits::MAX_DRAIN;
use diset_proto::{Code, Instant, Notice, RetryAfter};

use super::App;
use super::session::Session;
use super::wire::Wire;
use crate::channel::{ChannelError, Lasts};

/// Longest time between two looks at the clock of the TLS settings: it may be set, and runs on while the machine sleeps.
const LOOK: Duration = Duration::from_secs(3600);
/// When a client comes back that was sent away with credentials about to end: after 100 ms, spread over 2 s.
const RENEW: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// When to look at the peer's certificates.
#[derive(Default)]
pub(super) struct Watched {
    /// The next look; none when they do not end, or are not watched.
    due: Option<Instant>,
    /// Nothing is said before the end: it has been said, or the peer came with no more than the margin left. Sent away it would come back with the
    /// same certificates, again and again.
    until_the_end: bool,
}

impl Watched {
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The peer is proven. Its end is watched when the application wants it to be told, so long before.
    pub(super) fn begin(&mut self, now: Instant, lasts: Lasts, margin: Option<Duration>) {
        let (Some(left), Some(margin)) = (lasts.left, margin) else {
            return;
        };
        self.until_the_end = left <= margin;
        self.look_again(now, left, margin);
    }

    /// Looks, when it is time.
    pub(super) fn poll<A: App>(&mut self, now: Instant, wire: &Wire, session: &Session<A>) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = None;
        let Some(margin) = session.app.margin() else {
            return true;
        };
        match self.look(now, wire.lasts(), margin, |ahead| wire.recheck(ahead)) {
            Some(Say::GoAway(left)) => {
                let notice = Notice::new(Code::CredentialsEnd).with_retry(RetryAfter::new(RENEW.0, RENEW.1));
                session.leave(notice, left.min(MAX_DRAIN));
            }
            Some(Say::End(error)) => {
                session.disconnect(end(&error));
            }
            None => {}
        }
        true
    }

    /// What is to be said now to a peer whose certificates last so long (PROTOCOL G-5). `accepts` verifies them for a time ahead: they may hold some
    /// that nothing depends on.
    fn look(
        &mut self,
        now: Instant,
        lasts: Lasts,
        margin: Duration,
        accepts: impl Fn(Duration) -> Result<(), ChannelError>,
    ) -> Option<Say> {
        if lasts.has_ended
            && let Err(error) = accepts(Duration::ZERO)
        {
            return Some(Say::End(error));
        }
        let left = lasts.left?;
        self.look_again(now, left, margin);
        if left > margin {
            // The clock was set, or what was awaited did not matter.
            self.until_the_end = false;
            return None;
        }
        if self.until_the_end || accepts(left).is_ok() {
            return None;
        }
        self.until_the_end = true;
        Some(Say::GoAway(left))
    }

    fn look_again(&mut self, now: Instant, left: Duration, margin: Duration) {
        let until_told = left.saturating_sub(margin);
        let wait = if until_told.is_zero() { left } else { until_told };
        self.due = Some(now.after(wait.min(LOOK)));
    }
}

/// What a look can lead to.
#[derive(Debug)]
enum Say {
    /// So much time is left.
    GoAway(Duration),
    /// They are not acceptable any more.
    End(ChannelError),
}

/// Ends the connection when the peer's certificates are not acceptable now (PROTOCOL X-7). Whether it did.
pub(super) fn recheck<A: App>(wire: &Wire, session: &Session<A>) -> bool {
    let checked = wire.recheck(Duration::ZERO);
    checked.is_err_and(|error| session.disconnect(end(&error)))
}

fn end(error: &ChannelError) -> Notice {
    Notice::new(Code::CredentialsEnd).with_text(error.for_peer())
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    const MARGIN: Duration = Duration::from_secs(60);
    const MINUTE: u64 = 60;

    /// Certificates that end at these seconds, of which the last one counts, on a clock that runs with the engine's.
    struct Chain(&'static [u64]);

    impl Chain {
        fn lasts(&self, now: u64) -> Lasts {
            let left = self
                .0
                .iter()
                .filter_map(|end| end.checked_sub(now))
                .find(|left| *left > 0);
            Lasts {
                has_ended: self.0.iter().any(|end| *end <= now),
                left: left.map(Duration::from_secs),
            }
        }

        fn accepts(&self, at: u64) -> Result<(), ChannelError> {
            if self.0.last().is_some_and(|end| at < *end) {
                return Ok(());
            }
            Err(ChannelError::NoLongerAccepted(
                CertificateError::Expired.into(),
                String::new(),
            ))
        }

        /// What is said, and when, to a peer that comes at this second.
        fn watch(&self, came: u64, margin: Duration) -> Vec<(u64, &'static str)> {
            let mut watched = Watched::default();
            watched.begin(at(came), self.lasts(came), Some(margin));
            let (mut said, mut before) = (Vec::new(), came);
            while let Some(due) = watched.due.take() {
                let now = due.since(at(0)).as_secs();
                assert!(now > before && now - before <= LOOK.as_secs(), "{before} to {now}");
                before = now;
                let say = watched.look(due, self.lasts(now), margin, |ahead| {
                    self.accepts(now + ahead.as_secs())
                });
                match say {
                    Some(Say::GoAway(left)) => said.push((now + left.as_secs(), "will end")),
                    Some(Say::End(_)) => said.push((now, "has ended")),
                    None => {}
                }
            }
            said
        }
    }

    fn at(second: u64) -> Instant {
        Instant::from_millis(second * 1000)
    }

    #[test]
    fn a_peer_is_told_once_before_the_end_and_at_the_end() {
        let day = 24 * 60 * MINUTE;
        let said = Chain(&[24 * 60 * MINUTE]).watch(0, MARGIN);
        assert_eq!(said, [(day, "will end"), (day, "has ended")], "PROTOCOL G-5");
    }

    #[test]
    fn a_peer_that_comes_with_no_more_than_the_margin_is_not_sent_round() {
        for came in [9 * MINUTE, 10 * MINUTE - 1] {
            let said = Chain(&[10 * MINUTE]).watch(came, MARGIN);
            assert_eq!(said, [(10 * MINUTE, "has ended")], "PROTOCOL G-5");
        }
        // Nor later, when it is looked at again and again before the end.
        let said = Chain(&[600 * MINUTE]).watch(0, 24 * LOOK);
        assert_eq!(said, [(600 * MINUTE, "has ended")], "PROTOCOL G-5");
    }

    #[test]
    fn certificates_that_nothing_depends_on_may_end() {
        let ends = [5 * MINUTE, 100 * MINUTE, 200 * MINUTE];
        let all = [(200 * MINUTE, "will end"), (200 * MINUTE, "has ended")];
        assert_eq!(Chain(&[5 * MINUTE, 100 * MINUTE, 200 * MINUTE]).watch(0, MARGIN), all);
        for came in [ends[0] - MINUTE, ends[0] + 1, ends[1]] {
            assert_eq!(
                Chain(&[5 * MINUTE, 100 * MINUTE, 200 * MINUTE]).watch(came, MARGIN),
                all,
                "{came}"
            );
        }
        assert_eq!(Chain(&[]).watch(0, MARGIN), [], "nothing ends");
    }

    #[test]
    fn a_clock_that_was_set_back_gives_more_time() {
        let (mut watched, chain) = (Watched::default(), Chain(&[10 * MINUTE]));
        watched.begin(at(0), chain.lasts(0), Some(MARGIN));
        // Nine minutes later its clock says one.
        let say = watched.look(at(9 * MINUTE), chain.lasts(MINUTE), MARGIN, |_| {
            chain.accepts(11 * MINUTE)
        });
        assert!(say.is_none());
        assert_eq!(watched.due(), Some(at(17 * MINUTE)));
    }
}
