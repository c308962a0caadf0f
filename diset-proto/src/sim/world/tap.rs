//! Listens to what an end writes: which messages are in it, whatever the engine says of them.

use alloc::vec::Vec;

/// The length of the preamble (PROTOCOL F-1).
const PREAMBLE: usize = 5;

/// What was written and is no whole frame yet.
#[derive(Debug, Default)]
pub(super) struct Tap {
    bytes: Vec<u8>,
    /// How much of the preamble has passed.
    passed: usize,
    /// How much was heard of what has not been written yet.
    ahead: usize,
}

impl Tap {
    /// All of what is to be written, at this time: see [`hear_more`](Self::hear_more).
    pub(super) fn hear(&mut self, output: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let more = output.get(self.ahead..).unwrap_or_default();
        self.ahead = output.len();
        self.hear_more(more)
    }

    /// So much of that has been written.
    pub(super) fn written(&mut self, count: usize) {
        self.ahead = self.ahead.saturating_sub(count);
    }

    /// The messages that these bytes complete: whether each is an acked one, and its payload.
    fn hear_more(&mut self, bytes: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let before = bytes.len().min(PREAMBLE.saturating_sub(self.passed));
        self.passed += before;
        self.bytes.extend_from_slice(bytes.get(before..).unwrap_or_default());
        let mut messages = Vec::new();
        while let Some((head, whole)) = length(&self.bytes) {
            let Some(frame) = self.bytes.get(head..whole) else {
                break;
            };
            // PROTOCOL M: a head, a number, the payload.
            if let [kind @ (0x00 | 0x40), _number, payload @ ..] = frame {
                messages.push((*kind == 0x40, payload.to_vec()));
            }
            self.bytes.drain(..whole);
        }
        messages
    }
}

/// Where the first frame begins, behind its length, and where it ends.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((place + 1, place + 1 + length));
        }
    }
    None
}
