//! Is the peer still there? Any received byte proves life, written ones never do
//! (PROTOCOL, part K).

use crate::limits::MAX_KEEP_ALIVES;
use crate::time::{Instant, Millis};

/// What the time demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Send a keep-alive.
    KeepAlive,
    /// The peer counts as dead.
    Dead,
}

/// Watches the silence of one open connection.
#[derive(Debug)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(crate) struct Liveness {
    /// The agreed longest silence.
    silence: Millis,
    last_received: Instant,
    /// When to look next whether a keep-alive is needed.
    next_look: Instant,
    /// Whether bytes left since the last look.
    sent: bool,
    /// How many keep-alives and answers have come since the last look.
    heard: u8,
    /// The client looks twice as often, so normally it is the one that asks.
    client: bool,
}

impl Liveness {
    /// Begins to watch: the shorter of the two stated silences counts (PROTOCOL K-1).
    pub(crate) fn start(now: Instant, ours: Millis, theirs: Millis, client: bool) -> Self {
        let silence = ours.min(theirs);
        let mut watch = Self {
            silence,
            last_received: now,
            next_look: now,
            sent: true,
            heard: 0,
            client,
        };
        watch.next_look = now.plus(watch.look_interval());
        watch
    }

    pub(crate) fn received(&mut self, now: Instant) {
        self.last_received = self.last_received.max(now);
    }

    /// A keep-alive or an answer has come; false when there are too many of them (PROTOCOL L-7).
    #[must_use]
    pub(crate) const fn heard(&mut self) -> bool {
        self.heard = self.heard.saturating_add(1);
        self.heard <= MAX_KEEP_ALIVES
    }

    pub(crate) const fn sent(&mut self) {
        self.sent = true;
    }

    fn look_interval(&self) -> Millis {
        if self.client {
            Millis(self.silence.0 / 2)
        } else {
            self.silence
        }
    }

    fn death(&self) -> Instant {
        self.last_received.plus(self.silence).plus(Millis(self.silence.0 / 2))
    }

    /// When to call [`Liveness::due`] next.
    pub(crate) fn wake(&self) -> Instant {
        self.death().min(self.next_look)
    }

    /// What is due now (PROTOCOL K-2, K-3).
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now >= self.death() {
            return Due::Dead;
        }
        if now < self.next_look {
            return Due::Nothing;
        }
        let interval = self.look_interval();
        let heard = !now.is_past(self.last_received, interval);
        let quiet = self.client && !self.sent;
        (self.sent, self.heard) = (false, 0);
        self.next_look = now.plus(interval);
        if heard && !quiet { Due::Nothing } else { Due::KeepAlive }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_asks_before_the_service_does_and_silence_kills() {
        let start = Instant::ZERO;
        let mut client = Liveness::start(start, Millis(10_000), Millis(60_000), true);
        let mut service = Liveness::start(start, Millis(60_000), Millis(10_000), false);
        assert_eq!(client.wake(), start.after(5 * SECOND), "PROTOCOL K-2");
        assert_eq!(client.due(client.wake()), Due::KeepAlive);
        assert_eq!(service.wake(), start.after(10 * SECOND), "PROTOCOL K-3");
        assert_eq!(service.due(service.wake()), Due::KeepAlive);
        assert_eq!(service.due(start.after(15 * SECOND)), Due::Dead, "PROTOCOL K-4");
    }

    #[test]
    fn a_client_that_only_listens_still_speaks() {
        let mut client = Liveness::start(Instant::ZERO, Millis(10_000), Millis(10_000), true);
        let mut asked = 0;
        for second in 1..=20 {
            let now = Instant::ZERO.after(second * SECOND);
            client.received(now);
            asked += u32::from(client.due(now) == Due::KeepAlive);
        }
        assert_eq!(
            asked, 3,
            "PROTOCOL K-2: looks at 5 s (the handshake was sent), 10, 15 and 20 s"
        );
    }
}
