//! A line end with a record of what came, and chance from a seed.

use core::num::NonZeroU32;

use diset_proto::{LineEvent, SerialLine};

/// SplitMix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Something below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Opened,
    Data(Vec<u8>),
    Ended,
    Broken,
}

pub(crate) fn nonce(nonce: u32) -> NonZeroU32 {
    NonZeroU32::new(nonce).unwrap()
}

/// Everything that `input` brings.
pub(crate) fn feed(line: &mut SerialLine, mut input: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(event) = line.next(&mut input) {
        seen.push(match event {
            LineEvent::Opened => Seen::Opened,
            LineEvent::Data(bytes) => Seen::Data(bytes.to_vec()),
            LineEvent::Ended => Seen::Ended,
            LineEvent::Broken => Seen::Broken,
        });
    }
    assert!(input.is_empty());
    seen
}

/// All of `payload`, wrapped.
pub(crate) fn wrap(line: &mut SerialLine, mut payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut out = [0; 300];
        let done = line.transmit(payload, &mut out);
        bytes.extend_from_slice(&out[..done.written]);
        payload = &payload[done.taken..];
        if done.written == 0 {
            return bytes;
        }
    }
}

/// A client and a service, open.
pub(crate) fn open() -> [SerialLine; 2] {
    let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
    client.open(nonce(0x0403_0201)).unwrap();
    assert_eq!(feed(&mut service, &wrap(&mut client, b"")), [Seen::Opened]);
    assert_eq!(feed(&mut client, &wrap(&mut service, b"")), [Seen::Opened]);
    [client, service]
}

/// The bytes that came, of all Data in order.
pub(crate) fn delivered(seen: &[Seen]) -> Vec<u8> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Data(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
        .collect::<Vec<_>>()
        .concat()
}
