//! A log of everything that happened to a connection (feature `record`): time, input, calls. It
//! replays in the engine bit for bit ([`crate::replay`]). The format is docs/RECORDING.md.
//!
//! **A log holds the bodies of messages and the tokens of sessions.** It is for debugging: write
//! one only on request, and keep it where only those read it who may read the messages.

mod entry;
mod read;
mod write;

use crc::{CRC_32_ISO_HDLC, Crc, Table};

pub use self::entry::{Begin, Bytes, Entry, Said, Summary, VerdictTable};
pub use self::read::{BadLog, Entries, Logged};
pub(crate) use self::write::Recorder;
use crate::wire::frame::Kind;

/// The first bytes of a log; the last one is the version of its format.
pub const MAGIC: [u8; 8] = *b"\xd1SETlog\x03";

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// What the head byte of a frame says, for people.
pub const fn frame_name(head: u8) -> &'static str {
    Kind::of(head).name()
}

/// Whether a frame with this head byte brings a message: the first byte of its body is the number
/// on the wire.
pub const fn is_message(head: u8) -> bool {
    matches!(Kind::of(head), Kind::Message | Kind::Acked)
}

/// The CRC-32 of these bytes.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// The check of an entry behind one whose check was `before`: no entry can be left out, or change
/// its place.
pub(crate) fn check(before: u32, body: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&before.to_le_bytes());
    digest.update(body);
    digest.finalize()
}

/// Where a log goes.
///
/// It is called under the lock of the connection, if there is one: hand the bytes on, and do not
/// wait. Dropped with the connection.
pub trait Record: Send + Sync {
    /// The next bytes of the log: whole entries, in order. Once bytes are left out nothing that
    /// follows is of use.
    fn write(&mut self, bytes: &[u8]);

    /// The connection has lent what it has to transmit, and may rest now: hand on what was kept back.
    fn pause(&mut self) {}
}
