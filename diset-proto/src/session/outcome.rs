//! What users learn of their sessions and messages.

use crate::definition::Verdict;
use crate::status::Code;
use crate::wire::session::NewReason;

/// What became of an acked message (PROTOCOL Q-5). Each gets exactly one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Outcome {
    /// The peer has dealt with it.
    Ok,
    /// The peer has not: its handler failed, or it was invalid, forbidden or without a handler.
    /// It is not sent again.
    Failed(Code),
    /// It never left: the peer does not share its definition, any more or at all.
    NotAgreed(Verdict),
    /// It never left: it is longer than the peer takes.
    TooLong,
    /// It never left: it was dropped, to make room for newer ones or because the session has ended.
    Skipped,
    /// It left, and nobody knows: the peer has lost the session, or takes such messages no more.
    Unknown,
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Ok => f.write_str("dealt with"),
            Self::Failed(code) => write!(f, "not dealt with: {code}"),
            Self::NotAgreed(verdict) => write!(f, "not sent, the peer does not share this message: {verdict}"),
            Self::TooLong => f.write_str("not sent: longer than the peer takes"),
            Self::Skipped => f.write_str("not sent: dropped, to make room or because the session has ended"),
            Self::Unknown => f.write_str("not known: the peer has lost the session, or takes such messages no more"),
        }
    }
}

/// How a session stands when a connection opens; known before any message is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "it goes on or it does not")]
pub enum Resumption {
    /// It goes on. So many messages of this side are transmitted again, which the peer has not
    /// received.
    Resumed {
        /// How many.
        replayed: u64,
    },
    /// It begins. Messages of this side that were never transmitted move into it; of the others
    /// nobody knows what became of them ([`Outcome::Unknown`]).
    New {
        /// Why.
        why: NewReason,
    },
}

/// How far the messages of this side have got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "it is these two counters")]
pub struct Delivered {
    /// The peer has all messages up to this number.
    pub received: u64,
    /// All messages up to this number have an outcome; it is [`Outcome::Ok`] unless another one
    /// was told.
    pub processed: u64,
}
