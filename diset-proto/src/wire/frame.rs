//! Frames: a length, a head byte, a body. The head byte says what the frame is and
//! whether a receiver that does not know it must stop (PROTOCOL F-3, F-4).
//!
//! ```text
//! head 0 a m c l f f f   application: acked, more, compressed, lane; form
//! head 1 i n n n n n n   control: ignorable when unknown; number
//! ```

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

/// Head bit: a control frame.
const CONTROL: u8 = 0x80;
/// Head bit of control frames: may be skipped by a receiver that does not know it.
const IGNORABLE: u8 = 0x40;

/// What a head byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A message without any flag: at most once, on the only lane.
    Message = 0x00,
    /// A message with the flag *acked*: numbered, and acknowledged.
    Acked = 0x40,
    /// A call begins; with *more* Parts follow, with *acked* it is kept.
    Request = 0x01,
    /// The answer to a Request; with *more* an item of it.
    Reply = 0x02,
    /// The caller does not want the answer any more.
    Cancel = 0x03,
    /// The caller has room for more items.
    ItemCredit = 0x04,
    /// Bytes that belong to a Request.
    Part = 0x05,
    /// The one that is asked has room for more Parts.
    PartCredit = 0x06,
    /// Client → service: who wants to connect, to what, and how.
    Proposal = 0x80,
    /// Service → client: the connection is open.
    Acceptance = 0x81,
    /// Service → client: no.
    Refusal = 0x82,
    /// Service → client: the catalog is not known, describe it.
    Describe = 0x83,
    /// Client → service: names and keys of its messages.
    Definitions = 0x84,
    /// Service → client: a part of the service's catalog, for a client that adopts it.
    Catalog = 0x8b,
    /// More may be sent.
    Credit = 0x85,
    /// Is anybody there?
    KeepAlive = 0x86,
    /// Yes.
    KeepAliveAnswer = 0x87,
    /// No new messages, finish and close.
    GoAway = 0x88,
    /// Something is wrong; the connection ends.
    Error = 0x89,
    /// What was received and dealt with of the acked messages.
    Ack = 0x8a,
    /// What is to be known of the next acked message.
    Next = 0x8c,
    /// Client → service: its next public key. Service → client: that is remembered.
    NextKey = 0x8d,
    /// Up to which of its messages the sender keeps the outcomes.
    OutcomesRead = 0x8f,
    /// Not known here and to be skipped.
    Ignorable = CONTROL | IGNORABLE,
    /// Not known here, and must be.
    Unknown = 0xbf,
}

impl Kind {
    /// What this head byte says.
    pub(crate) const fn of(head: u8) -> Self {
        match head {
            0x00 => Self::Message,
            0x40 => Self::Acked,
            0x01 | 0x21 | 0x41 => Self::Request,
            0x02 | 0x22 => Self::Reply,
            0x03 => Self::Cancel,
            0x04 => Self::ItemCredit,
            0x05 | 0x25 => Self::Part,
            0x06 => Self::PartCredit,
            0x80 => Self::Proposal,
            0x81 => Self::Acceptance,
            0x82 => Self::Refusal,
            0x83 => Self::Describe,
            0x84 => Self::Definitions,
            0x85 => Self::Credit,
            0x86 => Self::KeepAlive,
            0x87 => Self::KeepAliveAnswer,
            0x88 => Self::GoAway,
            0x89 => Self::Error,
            0x8a => Self::Ack,
            0x8b => Self::Catalog,
            0x8c => Self::Next,
            0x8d => Self::NextKey,
            0x8f => Self::OutcomesRead,
            head if head & CONTROL != 0 && head & IGNORABLE != 0 => Self::Ignorable,
            _ => Self::Unknown,
        }
    }

    /// The head byte that says it, of those of calls without a flag. `Ignorable` and `Unknown` have none of their own:
    /// they are never sent, and give the first byte of their range.
    pub(crate) const fn head(self) -> u8 {
        self as u8
    }
}

impl Kind {
    /// Its name, for people.
    // Called and not copied: it is of use to errors only.
    #[inline(never)]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Acked => "acked message",
            Self::Request => "request",
            Self::Reply => "reply",
            Self::Cancel => "cancel",
            Self::ItemCredit => "item credit",
            Self::Part => "part",
            Self::PartCredit => "part credit",
            Self::Proposal => "proposal",
            Self::Acceptance => "acceptance",
            Self::Refusal => "refusal",
            Self::Describe => "describe",
            Self::Definitions => "definitions",
            Self::Credit => "credit",
            Self::KeepAlive => "keep-alive",
            Self::KeepAliveAnswer => "keep-alive answer",
            Self::GoAway => "go-away",
            Self::Error => "error",
            Self::Ack => "ack",
            Self::Catalog => "catalog",
            Self::Next => "next",
            Self::NextKey => "next key",
            Self::OutcomesRead => "outcomes read",
            Self::Ignorable => "ignorable",
            Self::Unknown => "unknown",
        }
    }
}

/// What is wrong with the bytes before there is a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The first bytes are not the preamble.
    NotDiset,
    /// The preamble has another major version.
    Version(u8),
    /// The header says more bytes than allowed.
    TooLong,
    /// The length is zero or takes more than four bytes.
    Header,
    /// The receiver's own storage is smaller than the frame limit it stated.
    NoRoom,
}

/// One frame, lent by the [`Deframer`](crate::Deframer); give it to
/// [`Connection::handle_frame`](crate::Connection::handle_frame). What is wrong with the
/// bytes themselves travels the same way, so that it cannot be forgotten.
#[derive(Debug)]
pub struct Frame<'f>(pub(crate) Result<RawFrame<'f>, Malformed>);

impl Frame<'_> {
    /// Whether it brings an acked message, or what is to be known of the next one: whether there must be
    /// room for it in the inbox of the session.
    pub fn needs_inbox(&self) -> bool {
        matches!(self.0, Ok(raw) if matches!(Kind::of(raw.head), Kind::Acked | Kind::Next))
    }

    /// See [`Connection::keep_frame`](crate::Connection::keep_frame).
    #[cfg(feature = "alloc")]
    pub(crate) fn keep(&self, may_be_answer: bool) -> Option<KeptFrame> {
        let raw = self.0.as_ref().ok()?;
        let waits = matches!(
            Kind::of(raw.head),
            Kind::Message | Kind::Acked | Kind::Next | Kind::GoAway
        );
        waits.then(|| KeptFrame {
            head: raw.head,
            body: raw.body.into(),
            may_be_answer,
        })
    }
}

/// A frame that waits for its turn: see [`Connection::keep_frame`](crate::Connection::keep_frame).
#[cfg(feature = "alloc")]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub struct KeptFrame {
    head: u8,
    body: Box<[u8]>,
    /// Something was unconfirmed when it came.
    pub(crate) may_be_answer: bool,
}

#[cfg(feature = "alloc")]
impl KeptFrame {
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame(Ok(self.raw()))
    }

    /// What it costs of its receiver's credit in bytes: nothing when it is no message (PROTOCOL L-2).
    pub fn cost(&self) -> u32 {
        match Kind::of(self.head) {
            Kind::Message | Kind::Acked => self.raw().cost(),
            _ => 0,
        }
    }

    /// How many bytes it has, when it costs nothing.
    pub(crate) fn free(&self) -> usize {
        if self.cost() == 0 { self.body.len() } else { 0 }
    }

    /// Whether it is a plain message.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(Kind::of(self.head), Kind::Message)
    }

    fn raw(&self) -> RawFrame<'_> {
        RawFrame {
            head: self.head,
            body: &self.body,
        }
    }
}

/// The body does not show.
#[cfg(feature = "alloc")]
impl core::fmt::Debug for KeptFrame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.raw().fmt(f)
    }
}

#[cfg(feature = "record")]
impl<'f> Frame<'f> {
    /// Head byte and body, for tools that look at frames; `None` when it is none. What a head byte
    /// says tells [`recording::frame_name`](crate::recording::frame_name).
    pub fn parts(&self) -> Option<(u8, &'f [u8])> {
        self.0.as_ref().ok().map(|raw| (raw.head, raw.body))
    }

    /// Whether it brings a message.
    pub(crate) fn is_message(&self) -> bool {
        self.is_acked() || matches!(self.0, Ok(raw) if Kind::of(raw.head) == Kind::Message)
    }

    /// Whether it brings an acked message.
    pub(crate) fn is_acked(&self) -> bool {
        matches!(self.0, Ok(raw) if Kind::of(raw.head) == Kind::Acked)
    }
}

/// The parts of a well-formed frame.
#[derive(Clone, Copy)]
pub(crate) struct RawFrame<'f> {
    pub(crate) head: u8,
    pub(crate) body: &'f [u8],
}

impl RawFrame<'_> {
    /// What the frame costs of its receiver's credit: head and body (PROTOCOL L-2).
    pub(crate) fn cost(&self) -> u32 {
        u32::try_from(self.body.len()).map_or(u32::MAX, |len| len.saturating_add(1))
    }
}

impl core::fmt::Debug for RawFrame<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} of {} bytes", Kind::of(self.head), self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_byte_has_one_meaning() {
        for head in 0..=255u8 {
            let kind = Kind::of(head);
            match kind {
                Kind::Ignorable => assert!((0xc0..=0xff).contains(&head), "PROTOCOL F-4: {head:#x}"),
                Kind::Unknown => assert!(head < 0xc0, "PROTOCOL F-4: {head:#x}"),
                Kind::Request | Kind::Reply | Kind::Part => {
                    assert_eq!(head & 0x07, kind.head(), "PROTOCOL F-3: {head:#x}");
                }
                known => assert_eq!(known.head(), head),
            }
        }
        // Application frames: which flags each form may have, and no other.
        let known: Vec<_> = (0..0x80).filter(|&head| Kind::of(head) != Kind::Unknown).collect();
        let listed = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x21, 0x22, 0x25, 0x40, 0x41];
        assert_eq!(known, listed, "PROTOCOL F-3");
    }
}
