//! What differs from adapter to adapter, by type.

use super::queue::Queue;
use super::slot::SessionSlot;
use super::work::Running;
use crate::wire::storage::Storage;

/// What the two halves of a link are made of. A type without values says it once for an adapter.
pub trait Parts: Sized {
    /// What keeps a frame that comes in pieces, and what keeps bytes that wait to leave.
    type Buffer: Storage;
    /// Where the session is: [`NoSession`](crate::NoSession), or a [`Session`](crate::Session).
    type Session: SessionSlot;
    /// Where messages wait: [`NoQueue`](crate::drive::NoQueue), [`FixedQueue`](crate::drive::FixedQueue), or `HeapQueue`.
    type Queue: Queue;
    /// The place of a handler that waits: `()` where none does.
    type Running: Running;
}
