//! Frames that wait until the inbox of the session takes more, so that what else the peer says is read meanwhile
//! (PROTOCOL L-1).

use alloc::collections::VecDeque;

use crate::conn::Connection;
use crate::conn::slot::SessionSlot;
use crate::conn::state::Phase;
use crate::store::Inbox as _;
use crate::wire::frame::{Frame, KeptFrame};
use crate::wire::storage::Storage;

/// No longer is what is to be known of an acked message; and a go-away.
const NEXT: usize = 16;
const GO_AWAY: usize = 256;

/// Frames that wait, in the order in which they came.
#[derive(Default)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(super) struct Held {
    /// Bounded by the credit that the peer was granted.
    frames: VecDeque<KeptFrame>,
    /// What they cost of it.
    cost: u64,
    /// How many bytes those have that cost nothing.
    free: usize,
}

impl Held {
    /// Keeps a frame whose turn it is not yet; false when it does not have to wait.
    pub(super) fn keep<B: Storage, S: SessionSlot>(&mut self, frame: &Frame<'_>, conn: &Connection<B, S>) -> bool {
        if self.frames.is_empty() && (!frame.needs_inbox() || self.may_go(conn)) {
            return false;
        }
        let Some(kept) = conn.keep_frame(frame) else {
            return false;
        };
        self.cost = self.cost.saturating_add(kept.cost().into());
        self.free = self.free.saturating_add(kept.free());
        self.frames.push_back(kept);
        true
    }

    /// The next one, when it may go.
    pub(super) fn next<B: Storage, S: SessionSlot>(&mut self, conn: &Connection<B, S>) -> Option<KeptFrame> {
        if !self.is_ready(conn) {
            return None;
        }
        let next = self.frames.pop_front()?;
        self.cost = self.cost.saturating_sub(next.cost().into());
        self.free = self.free.saturating_sub(next.free());
        if self.frames.is_empty() {
            // The memory of a burst.
            self.frames = VecDeque::new();
        }
        Some(next)
    }

    /// Whether one may go.
    pub(super) fn is_ready<B: Storage, S: SessionSlot>(&self, conn: &Connection<B, S>) -> bool {
        !self.frames.is_empty() && self.may_go(conn)
    }

    /// The link is over: acked messages come again on the next one. How many plain ones are gone.
    pub(super) fn clear(&mut self) -> usize {
        let held = core::mem::take(self);
        held.frames.iter().filter(|frame| frame.is_plain()).count()
    }

    /// Whether what has come may go on. When the link ends in order nothing waits any more, nor when more came than the
    /// credit allows: the engine says so.
    fn may_go<B: Storage, S: SessionSlot>(&self, conn: &Connection<B, S>) -> bool {
        let is_crowded = conn.session().is_some_and(|session| session.inbox().is_crowded());
        conn.phase() != Phase::Open || !is_crowded || self.is_too_much(conn.credit())
    }

    fn is_too_much(&self, (bytes, messages): (u32, u32)) -> bool {
        // One frame may stand before each acked message, and a go-away behind all; they cost nothing, and are short.
        let most = usize::try_from(messages).unwrap_or(usize::MAX).saturating_mul(2);
        let free = NEXT.saturating_mul(self.frames.len()).saturating_add(GO_AWAY);
        self.cost > bytes.into() || self.frames.len() > most.saturating_add(1) || self.free > free
    }
}
