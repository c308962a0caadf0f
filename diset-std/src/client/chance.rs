//! Numbers by chance: not secret and not guessable by accident, enough to tell clients apart.

use core::hash::BuildHasher;
use std::collections::hash_map::RandomState;

use diset_proto::Identity;

pub(super) fn chance() -> u64 {
    RandomState::new().hash_one(std::time::SystemTime::now())
}

pub(super) fn chance_identity() -> Identity {
    let mut bytes = [0; 16];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&chance().to_le_bytes());
    }
    Identity::from_bytes(bytes)
}
