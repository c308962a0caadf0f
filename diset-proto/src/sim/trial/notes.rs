//! The messages of a trial: each carries its number among all that were sent, and comes to its fate.

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(super) struct Small {
    pub(super) id: u64,
}

/// A longer one.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(super) struct Large {
    pub(super) id: u64,
    pub(super) fill: [u64; 6],
}

/// One that is not for everybody.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(super) struct Secret {
    pub(super) id: u64,
}

crate::define_service! { pub(super) Notes = "Sim/Notes"; both: [Small, Large, Secret] }

/// What becomes of a message that is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Ok,
    Fails,
    Invalid,
    Forbidden,
    NoHandler,
}

/// Which message has this payload.
pub(super) fn index_of(payload: &[u8]) -> Option<usize> {
    let (id, _) = postcard::take_from_bytes::<u64>(payload).ok()?;
    usize::try_from(id).ok()
}
