//! Bytes ↔ packets: no state of a peer lives here.
//!
//! What every part of this layer keeps to:
//! - nothing here panics, whatever the bytes are;
//! - nothing is allocated by a number that a peer sent;
//! - a byte that was looked at is not looked at again;
//! - what was decoded encodes to the same head and body, or decoding says which rule was broken.

pub(crate) mod args;
pub(crate) mod bytes;
pub(crate) mod definitions;
pub(crate) mod deframer;
pub(crate) mod frame;
pub(crate) mod outbox;
pub(crate) mod packet;
pub(crate) mod preamble;
pub(crate) mod session;
pub(crate) mod storage;
pub(crate) mod tlv;
pub(crate) mod varint;
