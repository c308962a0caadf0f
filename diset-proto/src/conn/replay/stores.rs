//! Stores of a session that is replayed: they say what those of the recorded one said.

use alloc::boxed::Box;

use super::super::slot::SessionSlot;
use crate::session::Session;
use crate::store::{HeapReplay, Inbox, Replay, Stored};

/// Holds what the log says; refuses when the log says so.
pub(super) struct Sent {
    messages: HeapReplay,
    pub(super) kept: u64,
    pub(super) sends: bool,
    pub(super) full: bool,
}

/// Takes note of nothing; refuses when the log says so.
pub(super) struct Came {
    pub(super) kept: (u64, u64),
    pub(super) durable: bool,
    pub(super) takes: bool,
    pub(super) full: bool,
}

/// Where a connection that is replayed has its session.
pub(super) type Slot = Option<Box<Session<Sent, Came>>>;

impl Default for Sent {
    fn default() -> Self {
        Self {
            // No bound of its own: what it held was in the log.
            messages: HeapReplay::new(usize::MAX, usize::MAX),
            kept: u64::MAX,
            sends: true,
            full: false,
        }
    }
}

impl Default for Came {
    fn default() -> Self {
        Self {
            kept: (u64::MAX, u64::MAX),
            durable: false,
            takes: true,
            full: false,
        }
    }
}

impl Replay for Sent {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        if self.full {
            return None;
        }
        self.messages.reserve(head, len)
    }

    fn commit(&mut self) {
        self.messages.commit();
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.messages.after(number)
    }

    fn remove(&mut self, number: u64) {
        self.messages.remove(number);
    }

    fn remove_through(&mut self, number: u64) {
        self.messages.remove_through(number);
    }

    fn mark_repeated(&mut self, number: u64) {
        self.messages.mark_repeated(number);
    }

    fn kept(&self) -> u64 {
        self.kept
    }

    fn sends(&self) -> bool {
        self.sends
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn bytes(&self) -> usize {
        self.messages.bytes()
    }
}

impl Inbox for Came {
    fn put(&mut self, _: Stored<'_>) -> bool {
        !self.full
    }

    fn kept(&self) -> (u64, u64) {
        self.kept
    }

    fn takes(&self) -> bool {
        self.takes
    }

    fn is_durable(&self) -> bool {
        self.durable
    }
}

/// Whether the stores of the session take nothing.
pub(super) fn set_full(slot: &mut Slot, full: bool) {
    if let Some(session) = slot.session_mut() {
        session.replay_mut().full = full;
        session.inbox_mut().full = full;
    }
}
