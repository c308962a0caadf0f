//! What the receiving half tells its user.

use core::fmt;
use core::time::Duration;

use super::{Lent, Parts};
use crate::error::Cause;
use crate::id::Trid;
use crate::status::Notice;
use crate::time::Instant;
use crate::wire::packet::Proposal;

/// Something the user must know or decide. It borrows the receiving half and the input, never the sending half.
#[non_exhaustive]
pub enum Event<'p, P: Parts> {
    /// Service: a client asks to connect. Answer with [`Rx::admit`](super::Rx::admit) or
    /// [`Rx::refuse`](super::Rx::refuse), now or later; the engine limits the time.
    Proposed(Proposal<'p>),
    /// The link is open, and its messages come next: nothing of an earlier link of these halves has its turn any more.
    /// Messages may be sent, as before, since it opened.
    Connected(Opened),
    /// A message: handle it.
    Message(Lent<'p, P>),
    /// The peer has acknowledged messages of this side: see [`Tx::take_outcome`](super::Tx::take_outcome).
    Acknowledged,
    /// Service: the client will come back under the public key whose SHA-256 this is; remember it for so long, and say
    /// so by [`Tx::next_key_remembered`](super::Tx::next_key_remembered). Client: the service remembers it (PROTOCOL
    /// N-8).
    NextKey([u8; 32], Duration),
    /// The peer is about to end the link in order: what came before may still be answered. [`Event::Ended`] follows.
    GoingAway(Notice),
    /// The link is over, and no message of it has a handler any more. Comes once for each link, but for one that comes and
    /// goes while an earlier one has its turn: of that there is neither `Connected` nor `Ended`. That a link is over shows
    /// at once in [`Tx::connection`](super::Tx::connection).
    Ended(Ended),
}

/// What it is; the payload of a message does not show.
impl<P: Parts> fmt::Debug for Event<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proposed(proposal) => f.debug_tuple("Proposed").field(proposal).finish(),
            Self::Connected(opened) => f.debug_tuple("Connected").field(opened).finish(),
            Self::Message(lent) => f.debug_tuple("Message").field(lent.meta()).finish(),
            Self::Acknowledged => f.write_str("Acknowledged"),
            Self::NextKey(hash, lasts) => f.debug_tuple("NextKey").field(hash).field(lasts).finish(),
            Self::GoingAway(notice) => f.debug_tuple("GoingAway").field(notice).finish(),
            Self::Ended(ended) => f.debug_tuple("Ended").field(ended).finish(),
        }
    }
}

/// The link is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    pub(super) trid: Trid,
}

impl Opened {
    /// The transport id of the link.
    pub const fn trid(&self) -> Trid {
        self.trid
    }
}

/// The link is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ended {
    pub(super) trid: Option<Trid>,
    pub(super) cause: Cause,
    pub(super) unhandled: usize,
}

impl Ended {
    /// The transport id of the link, when [`Event::Connected`] has come for it.
    pub const fn trid(&self) -> Option<Trid> {
        self.trid
    }

    /// Why; a client asks [`Reconnect::dropped`](crate::Reconnect::dropped) when to come again.
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// How many plain messages were received and not handled: this side has ended the link, or their time was over.
    pub const fn unhandled(&self) -> usize {
        self.unhandled
    }
}

/// What is to be done next: see [`Rx::turn`](super::Rx::turn).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there is no third question")]
pub struct Turn {
    /// With the transport.
    pub io: Io,
    /// When the next turn must come, if nothing happens before.
    pub wake: Option<Instant>,
}

/// What is to be done with the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "an adapter must handle all three")]
pub enum Io {
    /// Go on reading and writing.
    Run,
    /// Everything has been written: end the writing direction, then read on and discard until the peer ends, or
    /// [`LINGER_BYTES`](crate::limits::LINGER_BYTES) have come (PROTOCOL E-4); else the end could destroy the error on
    /// its way. The time is limited by the engine.
    Finish,
    /// Close the transport.
    Over,
}
