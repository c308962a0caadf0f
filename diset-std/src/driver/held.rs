//! What waits for a store: what a client has sent and its session has no room for yet, so that what else
//! the client says is read meanwhile (PROTOCOL L-1); and an answer that says what is not in the file yet
//! (PROTOCOL Q-6).

use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;

use diset_proto::{Frame, KeptFrame, Limits, Phase};

use crate::handler::BoxFuture;
use crate::session::{Engine, StdSession};

/// Frames that wait, in the order in which they came.
pub(super) struct Waiting {
    /// Bounded by the credit that the peer was granted.
    frames: VecDeque<KeptFrame>,
    /// What they cost of it.
    cost: u64,
    credit: (u32, u32),
    /// Ready when the store, that all sessions share, has room.
    room: Option<BoxFuture<bool>>,
    /// The store never will.
    is_closed: bool,
}

impl Waiting {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            frames: VecDeque::new(),
            cost: 0,
            credit: limits.credit(),
            room: None,
            is_closed: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a frame that comes now may have to wait.
    pub(super) fn may_wait(&self, conn: &Engine) -> bool {
        !self.is_empty() || !self.may_go(conn)
    }

    /// Keeps a frame whose turn it is not yet; false when it does not have to wait.
    pub(super) fn keep(&mut self, frame: &Frame<'_>, conn: &Engine) -> bool {
        if self.is_empty() && !frame.needs_inbox() {
            return false;
        }
        let Some(kept) = conn.keep_frame(frame) else {
            return false;
        };
        self.cost = self.cost.saturating_add(kept.cost().into());
        self.frames.push_back(kept);
        true
    }

    /// The next one, when it may go.
    pub(super) fn next(&mut self, conn: &Engine) -> Option<KeptFrame> {
        if !self.may_go(conn) {
            return None;
        }
        let next = self.frames.pop_front()?;
        self.cost = self.cost.saturating_sub(next.cost().into());
        if self.is_empty() {
            self.clear();
        }
        Some(next)
    }

    /// The connection is over: acked messages come again on the next one.
    pub(super) fn clear(&mut self) {
        self.frames = VecDeque::new();
        (self.cost, self.room) = (0, None);
    }

    /// Whether the driver has something to do for what waits.
    pub(super) fn is_ready(&self, conn: &Engine) -> bool {
        // The room of the store is waited for by `poll_room`.
        !self.is_empty() && (self.may_go(conn) || (self.room.is_none() && is_store_crowded(conn)))
    }

    /// Waits for room in the store, when that is what is missing.
    pub(super) fn poll_room(&mut self, conn: &Engine, cx: &mut Context<'_>) {
        if self.is_empty() || self.is_closed {
            return;
        }
        if self.room.is_none() && is_store_crowded(conn) {
            self.room = conn.session().and_then(|session| session.inbox().room());
        }
        let Some(room) = &mut self.room else { return };
        if let Poll::Ready(comes) = room.as_mut().poll(cx) {
            self.room = None;
            self.is_closed = !comes;
        }
    }

    /// Whether what has come may go to the engine. When the connection ends in order nothing waits any
    /// more, nor when more came than the credit allows: the engine says so.
    fn may_go(&self, conn: &Engine) -> bool {
        let crowded = |session: &StdSession| {
            session.inbox().is_crowded() || (!self.is_closed && session.inbox().is_store_crowded())
        };
        conn.phase() != Phase::Open || self.is_too_much() || !conn.session().is_some_and(crowded)
    }

    fn is_too_much(&self) -> bool {
        let (bytes, messages) = self.credit;
        // One frame may stand before each acked message, and a go-away behind all; they cost nothing.
        let most = usize::try_from(messages).unwrap_or(usize::MAX).saturating_mul(2);
        self.cost > bytes.into() || self.frames.len() > most.saturating_add(1)
    }
}

/// The next key of a client is remembered; to be told when that is kept (PROTOCOL N-8).
pub(super) struct KeyAnswer {
    hash: [u8; 32],
    lasts: Duration,
    /// It is in the file with this batch.
    batch: u64,
}

impl KeyAnswer {
    /// Of what was noted down just now.
    pub(super) fn new(hash: [u8; 32], lasts: Duration, conn: &Engine) -> Self {
        let batch = conn.session().map_or(0, |session| session.inbox().batch());
        Self { hash, lasts, batch }
    }

    pub(super) fn is_kept(&self, conn: &Engine) -> bool {
        conn.session()
            .is_none_or(|session| session.inbox().has_kept(self.batch))
    }

    pub(super) fn tell(self, conn: &mut Engine) {
        // In another phase the connection is ending, and the client asks again.
        let _ = conn.next_key_remembered(self.hash, self.lasts);
    }
}

fn is_store_crowded(conn: &Engine) -> bool {
    conn.session().is_some_and(|session| session.inbox().is_store_crowded())
}
