//! Copies of a connection, and what makes two of them the same: for tools that visit each state once.

use core::hash::{Hash, Hasher};

use super::Connection;
use crate::wire::storage::Storage;

/// Of the copy no log is kept.
impl<B: Clone, S: Clone> Clone for Connection<B, S> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            out: self.out.clone(),
            slot: self.slot.clone(),
            #[cfg(feature = "record")]
            log: None,
        }
    }
}

/// All that can make a difference to what it does.
impl<B: Storage, S: Hash> Hash for Connection<B, S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.core.hash(state);
        self.out.hash(state);
        self.slot.hash(state);
    }
}
