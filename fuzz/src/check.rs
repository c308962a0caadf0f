//! Holds what an engine writes against the protocol.

/// Reads output as a peer would and stops at the first byte that no peer would take.
#[derive(Debug, Default)]
pub struct Output {
    kept: Vec<u8>,
    preamble: bool,
    /// The last frame was an error or a refusal: nothing may follow.
    last: bool,
    /// The last frame said what the next message is.
    next: bool,
    /// Messages seen.
    pub messages: usize,
}

impl Output {
    /// The engine wrote these bytes.
    pub fn wrote(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if !self.preamble {
            let expected = [0xd1, b'S', b'E', b'T', 1];
            if self.kept.len() < expected.len() {
                assert!(expected.starts_with(&self.kept));
                return;
            }
            assert_eq!(self.kept[..5], expected);
            self.kept.drain(..5);
            self.preamble = true;
        }
        while let Some((length, prefix)) = length(&self.kept) {
            let Some(frame) = self.kept.get(prefix..prefix + length) else {
                break;
            };
            assert!(!self.last, "nothing comes after an error or a refusal");
            assert!(!self.next || frame[0] == 0x40, "PROTOCOL Q-3: the message comes next");
            self.next = frame[0] == 0x8c;
            match frame[0] {
                0x00 | 0x40 => self.messages += 1,
                0x82 | 0x89 => self.last = true,
                0x80..=0x88 | 0x8a..=0x8d => {}
                other => panic!("a frame of kind {other:#x}"),
            }
            assert!(
                frame[0] & 0x80 == 0 || length <= 1024,
                "a control frame of {length} bytes"
            );
            self.kept.drain(..prefix + length);
        }
    }
}

fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        assert!(at < 4, "a length of more than four bytes");
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            assert!(value > 0, "PROTOCOL F-2: a length of nothing");
            return Some((value, at + 1));
        }
    }
    None
}
