//! The two sides of a connection.

use core::fmt;

use super::core::Core;
use super::fault::Taken;
use crate::time::Instant;
use crate::wire::frame::Kind;
use crate::wire::packet::Proposal;
use crate::wire::session::AnswerAndToken;
use crate::wire::tlv::Writer;

/// Which side of the connection this is.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Client,
    Service(&'static Duties),
}

impl Role {
    pub(super) const fn is_client(self) -> bool {
        matches!(self, Self::Client)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_client() { "Client" } else { "Service" })
    }
}

#[cfg(feature = "snapshot")]
impl core::hash::Hash for Role {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.is_client().hash(state);
    }
}

/// Reads the body of a proposal.
pub(crate) type ReadProposal = for<'f> fn(body: &'f [u8]) -> Option<Proposal<'f>>;

/// What the core has a service do.
pub(super) struct Duties {
    /// Deals with a frame of the handshake.
    pub(super) take: for<'f> fn(&mut Core, Instant, Kind, body: &'f [u8]) -> Taken<'f>,
    /// Reads a proposal that was taken.
    pub(super) read: ReadProposal,
    /// Writes the acceptance.
    pub(super) accept: fn(&Core, session: Option<&AnswerAndToken>, &mut Writer<'_>),
}
