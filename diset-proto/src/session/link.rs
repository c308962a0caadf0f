//! What a session is busy with on its connection: frames that are to be written, and what was lent.
//!
//! It is here and not in the connection, so that one without a session does not pay for it.

use crate::time::Instant;
#[cfg(feature = "alloc")]
use crate::wire::session::NextKey;

/// New on each connection.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Link {
    /// This side sends acked messages and the peer takes them; and the other way (PROTOCOL N-2).
    pub(crate) sends: bool,
    pub(crate) takes: bool,
    /// Service: nothing has come that shows that the client has read the acceptance.
    #[cfg(feature = "alloc")]
    pub(crate) is_fresh: bool,
    /// The message that was lent last, when it is an acked one; else 0.
    pub(crate) lent: u64,
    /// An acknowledgement is to be written.
    pub(crate) ack: bool,
    /// How many bytes must leave until the last acknowledgement has left.
    pub(crate) ack_waits: usize,
    /// When acknowledgements that wait leave at the latest.
    pub(crate) ack_at: Option<Instant>,
    /// What the next acked message is was told, and it has not come yet.
    pub(crate) is_next_told: bool,
    /// How many keys the peer has told.
    #[cfg(feature = "alloc")]
    pub(crate) keys: u8,
    /// The next key is to be told.
    #[cfg(feature = "alloc")]
    pub(crate) next_key: Option<NextKey>,
}

impl Link {
    /// As it is between connections.
    pub(crate) const IDLE: Self = Self {
        sends: false,
        takes: false,
        #[cfg(feature = "alloc")]
        is_fresh: false,
        lent: 0,
        ack: false,
        ack_waits: 0,
        ack_at: None,
        is_next_told: false,
        #[cfg(feature = "alloc")]
        keys: 0,
        #[cfg(feature = "alloc")]
        next_key: None,
    };

    /// Whether there is anything to write.
    pub(crate) const fn is_due(&self) -> bool {
        #[cfg(feature = "alloc")]
        let tells_key = self.next_key.is_some();
        #[cfg(not(feature = "alloc"))]
        let tells_key = false;
        self.ack || tells_key
    }

    /// Whether an acknowledgement is to be written, or has not left yet.
    pub(crate) const fn is_acking(&self) -> bool {
        self.ack || self.ack_waits > 0
    }

    /// So many bytes have left.
    pub(crate) const fn left(&mut self, count: usize) {
        self.ack_waits = self.ack_waits.saturating_sub(count);
    }
}
