//! What a connection tells its user.

use core::time::Duration;

use crate::error::Cause;
use crate::id::Trid;
use crate::message::MessageRef;
use crate::status::Notice;
use crate::wire::packet::Proposal;

/// Something the user must know or decide. It borrows the frame it came from, never the
/// connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'f> {
    /// Service: a client asks to connect. Answer with
    /// [`Connection::accept`](crate::Connection::accept) or
    /// [`Connection::refuse`](crate::Connection::refuse); nothing else is taken from it
    /// before.
    Proposed(Proposal<'f>),
    /// The connection is open; messages may be sent.
    Connected(Trid),
    /// A message has come: decode or reject it.
    Message(MessageRef<'f>),
    /// The peer has acknowledged messages of this side: see
    /// [`Connection::delivered`](crate::Connection::delivered), and
    /// [`Connection::take_outcome`](crate::Connection::take_outcome) for those that were not dealt
    /// with.
    Acknowledged,
    /// Service: the client will come back under another public key, whose SHA-256 this is. Remember
    /// it for so long, at most, and answer with
    /// [`Connection::next_key_remembered`](crate::Connection::next_key_remembered) (PROTOCOL N-8).
    NextKey([u8; 32], Duration),
    /// Client: the service remembers the next public key, whose SHA-256 this is, for so long.
    NextKeyRemembered([u8; 32], Duration),
    /// The peer is about to end the connection in order: no new messages but answers to those that came before and are
    /// not released; what was sent still leaves. [`Event::Dropped`] follows.
    GoingAway(Notice),
    /// The connection is over, for whatever reason, this side's own included. Comes exactly
    /// once, from the next `handle_` call; transmit what is left and follow
    /// [`Connection::progress`](crate::Connection::progress).
    Dropped(Cause),
}

/// What is to be done with the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "an adapter must handle all three")]
pub enum Progress {
    /// Go on reading and writing.
    Running,
    /// Everything has been transmitted: end the writing direction, then read and discard
    /// until the peer ends, [`LINGER_BYTES`](crate::limits::LINGER_BYTES) have come, or the deadline passes
    /// (PROTOCOL E-4); else the end could destroy the error on its way.
    Finish,
    /// Close the transport.
    Over,
}
