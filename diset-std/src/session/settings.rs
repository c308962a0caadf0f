//! How much a session keeps, and for how long.

use core::time::Duration;

/// What `send_acked` does when the session stores as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits for room, at most so long; then it fails with
    /// [`SendError::Full`](diset_proto::SendError::Full).
    Wait(Duration),
    /// It fails with [`SendError::Full`](diset_proto::SendError::Full) at once.
    Fail,
    /// It drops the oldest message that has never left, whose outcome is
    /// [`Outcome::Skipped`](diset_proto::Outcome::Skipped). One that has left is never dropped, as it may
    /// have been dealt with: when there are only such ones, it fails as [`Fail`](Self::Fail).
    DropOldest,
}

/// How much a session keeps, and for how long. On a client for its one session, on a service for each
/// and for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSettings {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) when_full: WhenFull,
    pub(crate) retention: Duration,
    pub(crate) per_principal: usize,
    pub(crate) bytes_per_principal: usize,
    pub(crate) sessions: usize,
    pub(crate) bytes_in_all: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            messages: 1024,
            bytes: 1024 * 1024,
            when_full: WhenFull::Wait(Duration::from_secs(30)),
            retention: Duration::from_secs(3600),
            per_principal: 1024,
            bytes_per_principal: 16 * 1024 * 1024,
            sessions: 200_000,
            bytes_in_all: 512 * 1024 * 1024,
        }
    }
}

impl SessionSettings {
    /// How many messages, and how many bytes of payload, one session stores until they have an outcome;
    /// 1024 and 1 MiB without it. Then see [`when_full`](Self::when_full).
    #[must_use]
    pub const fn store(mut self, messages: usize, bytes: usize) -> Self {
        (self.messages, self.bytes) = (messages, bytes);
        self
    }

    /// What `send_acked` does when the store is full; it waits for 30 s without it.
    #[must_use]
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Service: for how long a session is kept without a connection; an hour without it. Then it
    /// is forgotten: what it stored gets its outcome, and the client begins anew. With a durable store
    /// it goes on counting after a restart; the time in which no service ran does not count, and the time of
    /// day plays no part.
    #[must_use]
    pub const fn retention(mut self, span: Duration) -> Self {
        self.retention = span;
        self
    }

    /// Service: how many sessions one principal may have, connected or not; 1024 without it. One
    /// more is served all the same, in a session that ends with its connection
    /// ([`NewReason::NoRoom`](diset_proto::NewReason::NoRoom)).
    #[must_use]
    pub const fn sessions_per_principal(mut self, count: usize) -> Self {
        self.per_principal = count;
        self
    }

    /// Service: how many bytes all sessions of one principal may store, 64 more counted for each
    /// message; 16 MiB without it. Then as [`when_full`](Self::when_full).
    #[must_use]
    pub const fn bytes_per_principal(mut self, bytes: usize) -> Self {
        self.bytes_per_principal = bytes;
        self
    }

    /// Service: how many sessions there may be, connected or not, and how many bytes they may store
    /// together; 200,000 and 512 MiB without it. Then as with
    /// [`sessions_per_principal`](Self::sessions_per_principal) and
    /// [`bytes_per_principal`](Self::bytes_per_principal): no session has to go for another one.
    #[must_use]
    pub const fn in_all(mut self, sessions: usize, bytes: usize) -> Self {
        (self.sessions, self.bytes_in_all) = (sessions, bytes);
        self
    }
}
