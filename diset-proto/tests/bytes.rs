//! Bytes of the wire, by hand.

/// A number, in as few bytes as it takes.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn varints(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| varint(*value)).collect()
}

/// A frame: head and body, with its length in front.
pub(crate) fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    [&varint(body.len() as u64 + 1)[..], &[head], body].concat()
}
