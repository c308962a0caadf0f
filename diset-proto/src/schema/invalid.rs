//! Why bytes are not a message of a definition.

use core::fmt;

use crate::status::Code;

/// Why bytes do not fit a structure, or the type that reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Invalid {
    /// The bytes end inside the message.
    TooShort,
    /// So many bytes are left over.
    LeftOver(u32),
    /// A number is not in its shortest form or does not fit its type.
    Number,
    /// A boolean or option byte is neither 0 nor 1.
    Bool,
    /// A text or character is not UTF-8, or a character is not exactly one.
    Text,
    /// An enum has no such variant.
    Variant(u32),
    /// The bytes are valid, and longer than the type that reads them has room for: it refused a length, as types of a
    /// fixed capacity do.
    Capacity,
    /// The structure is nested too deep.
    Depth,
    /// The bytes are valid, and the type that reads them does not take the value.
    Refused,
    /// The type that reads does not do what its structure says. It asks the bytes what they are, which they do not
    /// tell (`deserialize_any`, `IgnoredAny`; `flatten`, `untagged`, `tag` among serde's attributes), or passes over
    /// a part. Mend the type; [`check_wire`](crate::check_wire) finds it in a test.
    Unread,
    /// A learned structure shows so many parts and names for so few bytes that the message
    /// costs more than its length allows (PROTOCOL M-6).
    #[cfg(feature = "alloc")]
    TooMuchWork,
}

impl Invalid {
    /// What the peer is told.
    pub const fn code(self) -> Code {
        match self {
            Self::Capacity => Code::TooLong,
            _ => Code::Invalid,
        }
    }

    /// What it says: words, a number, words.
    pub(crate) fn parts(self) -> (&'static str, Option<u32>, &'static str) {
        let text = match self {
            Self::TooShort => "the message is too short",
            Self::LeftOver(count) => return ("", Some(count), " bytes left over"),
            Self::Number => "a number is over-long or does not fit",
            Self::Bool => "a boolean is neither 0 nor 1",
            Self::Text => "a text is not UTF-8",
            Self::Variant(number) => return ("there is no variant ", Some(number), ""),
            Self::Capacity => "an attribute is beyond the capacity of its type",
            Self::Depth => "nested too deep",
            Self::Refused => "an attribute was refused by its type",
            Self::Unread => "the reader's type does not read what its structure says",
            #[cfg(feature = "alloc")]
            Self::TooMuchWork => "the message shows too many parts and names for its length",
        };
        (text, None, "")
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, number, behind) = self.parts();
        f.write_str(before)?;
        if let Some(number) = number {
            write!(f, "{number}")?;
        }
        f.write_str(behind)
    }
}

impl core::error::Error for Invalid {}
