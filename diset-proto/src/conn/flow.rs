//! Credit: how much either side may send before the other has dealt with it
//! (PROTOCOL, part L).

use crate::limits::{Limits, MAX_UNCONFIRMED};
use crate::wire::packet::{Grant, PeerLimits};

/// The credit of both directions of one connection.
#[derive(Debug)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(crate) struct Flow {
    /// What this side may still send.
    send: Grant,
    /// How many messages of the window the peer has not granted yet: its first credit lacked them (PROTOCOL L-6).
    lacked: u32,
    /// What the peer may still send.
    open: Grant,
    /// What was dealt with and is not granted again yet.
    back: Grant,
    /// How many messages that came before the peer said go-away are not dealt with (PROTOCOL G-2).
    owed: u32,
}

impl Flow {
    pub(crate) const fn new(ours: &Limits) -> Self {
        let open = Grant {
            bytes: ours.credit_bytes,
            messages: ours.credit_messages,
        };
        let none = Grant { bytes: 0, messages: 0 };
        Self {
            send: none,
            lacked: 0,
            open,
            back: none,
            owed: 0,
        }
    }

    /// The peer's statement in the handshake.
    pub(crate) const fn start(&mut self, theirs: &PeerLimits, first: Grant) {
        self.send = first;
        self.lacked = theirs.credit_messages.saturating_sub(first.messages);
    }

    /// More credit from the peer; false when more would stand open than its window
    /// (PROTOCOL L-4): what it was not sent it cannot have dealt with.
    #[must_use]
    pub(crate) fn granted(&mut self, grant: Grant, theirs: &PeerLimits) -> bool {
        let bytes = self.send.bytes.checked_add(grant.bytes);
        let messages = self.send.messages.checked_add(grant.messages);
        let (Some(bytes), Some(messages)) = (bytes, messages) else {
            return false;
        };
        if bytes > theirs.credit_bytes || messages > theirs.credit_messages {
            return false;
        }
        self.send = Grant { bytes, messages };
        // The first grants make up for what was lacking.
        self.lacked = self.lacked.saturating_sub(grant.messages);
        true
    }

    /// Whether a message of any length may be sent.
    pub(crate) const fn may_send(&self) -> bool {
        self.send.messages > 0 && self.send.bytes > 0
    }

    /// Whether a message of this cost may be sent.
    pub(crate) const fn could_send(&self, cost: u32) -> bool {
        self.send.messages > 0 && self.send.bytes >= cost
    }

    /// How many messages are under way to the peer, or not yet dealt with by it.
    pub(crate) const fn unconfirmed(&self, theirs: &PeerLimits) -> u32 {
        let open = self.send.messages.saturating_add(self.lacked);
        theirs.credit_messages.saturating_sub(open)
    }

    /// Takes what a message costs from the credit; false, and nothing taken, when there
    /// is not enough.
    #[must_use]
    pub(crate) fn sent(&mut self, cost: u32) -> bool {
        let (Some(bytes), Some(messages)) = (self.send.bytes.checked_sub(cost), self.send.messages.checked_sub(1))
        else {
            return false;
        };
        self.send = Grant { bytes, messages };
        true
    }

    /// Whether there is credit for a message of the peer.
    pub(crate) const fn may_receive(&self, cost: u32) -> bool {
        self.open.bytes >= cost && self.open.messages > 0
    }

    /// A message came; false when there was no credit for it (PROTOCOL L-3).
    #[must_use]
    pub(crate) fn received(&mut self, cost: u32) -> bool {
        let (Some(bytes), Some(messages)) = (self.open.bytes.checked_sub(cost), self.open.messages.checked_sub(1))
        else {
            return false;
        };
        self.open = Grant { bytes, messages };
        true
    }

    /// The peer has said go-away: what has come by now and is not dealt with may still be answered.
    pub(crate) const fn peer_leaves(&mut self, ours: &Limits) {
        let granted = self.open.messages.saturating_add(self.back.messages);
        self.owed = ours.credit_messages.saturating_sub(granted);
    }

    /// Whether something of that is not dealt with.
    pub(crate) const fn owes_answers(&self) -> bool {
        self.owed > 0
    }

    /// Messages were handled. They are, one after the other, in the order in which they came.
    pub(crate) const fn handled(&mut self, messages: u32) {
        self.owed = self.owed.saturating_sub(messages);
    }

    /// Messages were dealt with.
    pub(crate) const fn released(&mut self, bytes: u32, messages: u32) {
        self.back.bytes = self.back.bytes.saturating_add(bytes);
        self.back.messages = self.back.messages.saturating_add(messages);
    }

    /// Whether so much is to be granted again that it is worth a frame of its own: half a
    /// window, or [`MAX_UNCONFIRMED`] messages, so that few count as unconfirmed at a
    /// loss. When nothing is being dealt with, also what is needed for a longest frame, or
    /// a peer that waits to send one would wait for ever (PROTOCOL L-5).
    pub(crate) const fn is_grant_due(&self, ours: &Limits) -> bool {
        let held = ours
            .credit_bytes
            .saturating_sub(self.back.bytes.saturating_add(self.open.bytes));
        self.back.bytes >= ours.credit_bytes / 2
            || self.back.messages >= ours.credit_messages.div_ceil(2)
            || self.back.messages >= MAX_UNCONFIRMED
            || (held == 0 && self.open.bytes < ours.max_frame && self.back.bytes > 0)
    }

    /// Whether there is anything to grant again.
    pub(crate) const fn has_back(&self) -> bool {
        self.back.messages > 0
    }

    /// Whether everything that came has been dealt with and granted again.
    pub(crate) const fn is_settled(&self, ours: &Limits) -> bool {
        self.open.messages == ours.credit_messages
    }

    /// What a grant would give back now.
    pub(crate) const fn grant(&self) -> Grant {
        self.back
    }

    /// The grant has been written.
    pub(crate) const fn grant_written(&mut self) {
        self.open.bytes = self.open.bytes.saturating_add(self.back.bytes);
        self.open.messages = self.open.messages.saturating_add(self.back.messages);
        self.back = Grant { bytes: 0, messages: 0 };
    }
}
