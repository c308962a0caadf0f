//! CRC-32, as zip and Ethernet have it: a page that was written in part, or wears out, is found.

/// The check of these bytes. Bit by bit: it is done once at the start, and a table takes flash.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |check, &byte| {
        (0..8).fold(check ^ u32::from(byte), |check, _| {
            (check >> 1) ^ if check & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}
