//! The first bytes each side sends. They stay as they are in every later version
//! (PROTOCOL P-1), so that any two versions can tell each other apart.

/// What every DISET peer sends first. The first byte keeps it apart from text protocols.
pub(crate) const MAGIC: [u8; 4] = [0xd1, b'S', b'E', b'T'];

/// The major version of this protocol.
pub const MAJOR: u8 = 1;

/// Magic and major version.
pub(crate) const PREAMBLE: [u8; 5] = {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, MAJOR]
};
