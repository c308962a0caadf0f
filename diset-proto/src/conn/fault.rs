//! What is wrong with what the peer did, in few bytes: it passes through many hands before a notice is made of it.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use super::event::Event;
use crate::schema::invalid::Invalid;
#[cfg(feature = "alloc")]
use crate::status::Text;
use crate::status::{Code, Notice};
use crate::wire::frame::Kind;
use crate::wire::preamble::MAJOR;
use crate::wire::tlv::BadPacket;

/// What comes of a frame: an event, nothing to be told, or the end.
pub(super) type Taken<'f> = Result<Option<Event<'f>>, Fault<'static>>;

/// Why this side ends the connection.
#[derive(Debug, Clone)]
pub(super) struct Fault<'s> {
    code: Code,
    /// The number on the wire of the message it is about.
    message: Option<u8>,
    said: Said<'s>,
}

/// What people are told.
#[derive(Debug, Clone)]
enum Said<'s> {
    Text(&'s str),
    /// Something about this field of a control frame, which has this name.
    Field(&'static str, u8),
    /// What is wrong with a message.
    Invalid(Invalid),
    /// The major version of the peer.
    Version(u8),
    /// A text that was made for this one.
    #[cfg(feature = "alloc")]
    Whole(Box<Text>),
}

impl<'s> Fault<'s> {
    pub(super) const fn new(code: Code) -> Self {
        Self::text(code, "")
    }

    pub(super) const fn text(code: Code, text: &'s str) -> Self {
        Self::of(code, Said::Text(text))
    }

    const fn of(code: Code, said: Said<'s>) -> Self {
        Self {
            code,
            message: None,
            said,
        }
    }

    pub(super) const fn invalid(invalid: Invalid) -> Self {
        Self::of(invalid.code(), Said::Invalid(invalid))
    }

    pub(super) const fn version(theirs: u8) -> Self {
        Self::of(Code::Version, Said::Version(theirs))
    }

    #[cfg(feature = "alloc")]
    pub(super) fn whole(code: Code, text: Text) -> Self {
        Self::of(code, Said::Whole(Box::new(text)))
    }

    pub(super) const fn code(&self) -> Code {
        self.code
    }

    /// It is about the message with this number on the wire.
    pub(super) fn about(mut self, wire: u8) -> Self {
        self.message = Some(wire);
        self
    }

    /// The control frame that it is about is of this kind.
    pub(super) const fn within(mut self, kind: Kind) -> Self {
        if let Said::Field(name, _) = &mut self.said {
            *name = kind.name();
        }
        self
    }

    /// As the peer and the user are told.
    pub(super) fn notice(self) -> Notice {
        let mut notice = Notice::new(self.code);
        notice.message = self.message;
        let text = &mut notice.text;
        match self.said {
            Said::Text(said) => text.push(said),
            Said::Field(kind, field) => {
                text.push(kind);
                text.push(", field ");
                text.push_number(field.into());
            }
            Said::Invalid(invalid) => {
                let (before, number, behind) = invalid.parts();
                text.push(before);
                if let Some(number) = number {
                    text.push_number(number);
                }
                text.push(behind);
            }
            Said::Version(theirs) => {
                text.push("they speak ");
                text.push_number(theirs.into());
                text.push(", this side ");
                text.push_number(MAJOR.into());
            }
            #[cfg(feature = "alloc")]
            Said::Whole(whole) => *text = *whole,
        }
        notice
    }
}

impl From<BadPacket> for Fault<'_> {
    #[cold]
    #[inline(never)]
    fn from(bad: BadPacket) -> Self {
        let (code, field) = match bad {
            BadPacket::Field(tag) => (Code::PacketMalformed, tag),
            BadPacket::Critical(tag) => (Code::UnknownField, tag),
        };
        Self::of(code, Said::Field("", field))
    }
}
