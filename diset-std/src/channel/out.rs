//! Bytes on their way to the socket.

/// A queue of bytes over memory that stays initialised, so that records are sealed straight into it without clearing it each time.
///
/// It belongs to the worker. Written from behind, sent from the front; when everything is sent it starts anew at the front.
#[derive(Default)]
pub(crate) struct OutBuf {
    /// Initialised from end to end; only `sent..filled` means anything.
    bytes: Vec<u8>,
    sent: usize,
    filled: usize,
}

impl OutBuf {
    /// An empty queue with room for `room` bytes.
    pub(crate) fn with_room(room: usize) -> Self {
        Self {
            bytes: vec![0; room],
            sent: 0,
            filled: 0,
        }
    }

    /// What is to be sent.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..self.filled]
    }

    /// Whether there is nothing to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.filled
    }

    /// Takes the first `count` bytes of [`pending`](Self::pending) off; more than there are counts as all.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent = self.filled.min(self.sent.saturating_add(count));
        if self.sent == self.filled {
            self.sent = 0;
            self.filled = 0;
        }
    }

    /// Appends `bytes`.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes[self.filled..][..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// The free space behind what is pending, for writing; [`filled`](Self::filled) makes what was written part of the queue.
    pub(crate) fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Makes the first `count` bytes of [`free`](Self::free) part of the queue.
    pub(crate) fn filled(&mut self, count: usize) {
        self.filled = self.bytes.len().min(self.filled.saturating_add(count));
    }

    /// Makes [`free`](Self::free) at least `room` bytes long: by moving what is pending to the front if that is enough, else by growing.
    pub(crate) fn reserve(&mut self, room: usize) {
        if self.bytes.len() - self.filled >= room {
            return;
        }
        if self.sent > 0 {
            self.bytes.copy_within(self.sent..self.filled, 0);
            self.filled -= self.sent;
            self.sent = 0;
        }
        if self.bytes.len() - self.filled < room {
            self.bytes.resize(self.filled + room, 0);
        }
    }

    /// Gives memory above `room` bytes back, if nothing is pending.
    pub(crate) fn shrink(&mut self, room: usize) {
        if self.is_empty() && self.bytes.len() > room {
            self.bytes.truncate(room);
            self.bytes.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OutBuf;

    #[test]
    fn keeps_order_over_growth_and_partial_sends() {
        let mut out = OutBuf::with_room(4);
        out.extend(b"abc");
        out.sent(2);
        out.extend(b"defgh"); // Does not fit, neither behind nor after moving to the front.
        assert_eq!(out.pending(), b"cdefgh");
        out.sent(5);
        out.extend(b"ijkl"); // Fits after moving to the front.
        assert_eq!(out.pending(), b"hijkl");
        out.sent(99);
        assert!(out.is_empty());
        assert_eq!(out.pending(), b"");
    }

    #[test]
    fn gives_memory_back_only_when_empty() {
        let mut out = OutBuf::with_room(0);
        out.extend(&[7; 100]);
        out.shrink(10);
        assert_eq!(out.pending(), [7; 100]);
        out.sent(100);
        out.shrink(10);
        assert_eq!(out.free().len(), 10);
    }
}
