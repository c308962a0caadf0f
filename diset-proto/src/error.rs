//! Errors and causes, sorted by who must act.
//!
//! [`Cause`] tells why a connection is over; [`SendError`] why a message was not taken;
//! [`Misuse`] what can be found by reading the calling code. The codes that travel are in
//! [`crate::status`].

use core::fmt;

use crate::definition::Verdict;
use crate::limits::BadLimits;
use crate::status::{Code, Notice, RetryAfter};

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Cause {
    /// The service refused the client in the handshake.
    Refused(Notice),
    /// The peer found an error and ended the connection.
    PeerError(Notice),
    /// This side found an error, told the peer, and ended the connection. The peer, or
    /// the handler named in the text, must be mended.
    OurError(Notice),
    /// This side refused the client in the handshake.
    WeRefused(Notice),
    /// One side said go-away, and the connection was drained; or the transport ended, or the time was
    /// over, before it was: then messages are unconfirmed.
    WentAway(Notice),
    /// The transport ended or failed without a word.
    Lost,
    /// Nothing was heard for one and a half times the longest silence.
    Silent,
    /// The handshake was not done in time.
    HandshakeTimeout,
}

impl Cause {
    /// Whether the client does not come back by itself (PROTOCOL R-4): the service has refused it, and
    /// [said so](Notice::permanently).
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused(notice) if notice.permanent)
    }

    /// Whether the next attempt is likely to end in the same way, until somebody has mended something: a client comes
    /// back slowly, unless it was told when (PROTOCOL R-4).
    pub const fn needs_mending(&self) -> bool {
        if let Self::Refused(_) = self {
            return true;
        }
        let code = self.code();
        matches!(
            code,
            Some(Code::NotDiset | Code::Version | Code::UnknownService | Code::NotAdmitted)
        )
    }

    /// The notice that went with the end, if any.
    pub const fn notice(&self) -> Option<&Notice> {
        match self {
            Self::Refused(notice)
            | Self::PeerError(notice)
            | Self::OurError(notice)
            | Self::WeRefused(notice)
            | Self::WentAway(notice) => Some(notice),
            Self::Lost | Self::Silent | Self::HandshakeTimeout => None,
        }
    }

    /// When the peer said to come back.
    pub const fn retry(&self) -> Option<RetryAfter> {
        match self.notice() {
            Some(notice) => notice.retry,
            None => None,
        }
    }

    /// The code of the end.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Silent => Some(Code::Silent),
            Self::HandshakeTimeout => Some(Code::HandshakeTimeout),
            _ => match self.notice() {
                Some(notice) => Some(notice.code),
                None => None,
            },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(notice) => write!(f, "the service refused: {notice}"),
            Self::PeerError(notice) => write!(f, "the peer reported: {notice}"),
            Self::OurError(notice) => write!(f, "disconnected the peer: {notice}"),
            Self::WeRefused(notice) => write!(f, "refused the client: {notice}"),
            Self::WentAway(notice) => write!(f, "went away: {notice}"),
            Self::Lost => f.write_str("the transport ended without a word"),
            Self::Silent => f.write_str("the peer was silent for too long"),
            Self::HandshakeTimeout => f.write_str("the handshake was not done in time"),
        }
    }
}

impl core::error::Error for Cause {}

/// Why a message was not taken. The outbox is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The connection is not open: before the acceptance, or after the end.
    NotOpen,
    /// One side has said go-away, and this is no answer to a message that is still with a handler (PROTOCOL G-1, G-2):
    /// connect again.
    GoingAway,
    /// The peer does not share the definition of this message.
    NotAgreed(Verdict),
    /// This side may not send the message; only the other one may.
    WrongDirection,
    /// There is no room now, try again after the peer has taken some.
    Full(Bound),
    /// The message is longer than the peer, the output buffer or the store of the session can ever take.
    TooLong,
    /// The message's own serialisation failed.
    Encode,
    /// There is no session: the peer or this side keeps none, or the service has forgotten it.
    NoSession,
    /// The peer has a session, but takes no acked messages (PROTOCOL N-2). What is stored stays.
    NotTaken,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the connection is not open"),
            Self::GoingAway => f.write_str("the connection is about to end; send after the reconnect"),
            Self::NotAgreed(verdict) => write!(f, "the peer does not share this message: {verdict}"),
            Self::WrongDirection => f.write_str("this side may not send this message"),
            Self::Full(bound) => write!(f, "no room now: {bound}"),
            Self::TooLong => f.write_str("the message is longer than the peer's frame limit, the output buffer, or all that the session may store"),
            Self::Encode => f.write_str("the message's own serialisation failed"),
            Self::NoSession => f.write_str("there is no session: the peer or this side keeps none, or the service has forgotten it"),
            Self::NotTaken => f.write_str("the peer takes no acked messages: send it as a plain one"),
        }
    }
}

impl core::error::Error for SendError {}

/// Which bound was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Bound {
    /// The output buffer: the transport is slower than the sender.
    Output,
    /// The memory: an output buffer that grows is empty, and cannot now.
    Memory,
    /// The credit: the peer has not dealt with what it got.
    Credit,
    /// The outcomes that nobody has taken: no stored message leaves before (PROTOCOL Q-7), and none passes it.
    Outcomes,
    /// The store: what must leave first is not on the disk yet (PROTOCOL Q-6).
    Store,
    /// What the session may store: the peer is away, or has not dealt with what it got.
    Session,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "the output buffer is full",
            Self::Memory => "there is no memory for the output now",
            Self::Credit => "the peer has granted no more credit",
            Self::Outcomes => "take the outcomes of stored messages first",
            Self::Store => "what must leave first is not stored yet",
            Self::Session => "the session stores as many messages or bytes as it may",
        })
    }
}

/// A mistake of the calling code, never caused by what a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Misuse {
    /// The limits do not fit together.
    Limits(BadLimits),
    /// The proposal may become longer than [`MAX_HANDSHAKE_FRAME`](crate::limits::MAX_HANDSHAKE_FRAME) or the
    /// output buffer takes, by so many bytes. What a client says of its session grows with time and is counted at
    /// its longest, so that a client that gets in can also come back.
    ProposalTooLong(usize),
    /// A connect argument has no name, or one that another has, or there are more than 16.
    BadArguments,
    /// The output buffer is too small for the frames this side must be able to send.
    OutputTooSmall,
    /// The call has no place in this phase of the connection.
    WrongPhase,
    /// The message was decoded as a type of another structure.
    OtherType,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits(bad) => write!(f, "the limits do not fit together: {bad}"),
            Self::ProposalTooLong(excess) => write!(
                f,
                "the proposal is {excess} bytes too long: shorten the connect arguments (1024 bytes hold them and all \
                 else that a client says), or give a longer output buffer if it is below 1040 bytes",
            ),
            Self::BadArguments => {
                f.write_str("each connect argument needs a name of its own, and there may be 16 of them")
            }
            Self::OutputTooSmall => f.write_str("the output buffer needs at least 768 bytes"),
            Self::WrongPhase => f.write_str("the call has no place in this phase of the connection"),
            Self::OtherType => f.write_str("the message was decoded as a type of another structure"),
        }
    }
}

impl core::error::Error for Misuse {}
