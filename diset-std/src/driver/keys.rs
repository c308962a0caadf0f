//! An answer that says what is not in the file yet (PROTOCOL Q-6).

use core::time::Duration;

use crate::session::Engine;

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
