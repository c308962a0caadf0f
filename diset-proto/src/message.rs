//! Messages as bytes: encoding in place, and what was received until it is decoded.
//!
//! A payload is the postcard encoding of the attributes in the order of their definition.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use postcard::Error as Postcard;
use postcard_schema::Schema;
use postcard_schema::schema::NamedType;
use serde::{Deserialize, Serialize};

#[cfg(feature = "alloc")]
use crate::schema::Catalog;
use crate::schema::decode::decode;
use crate::schema::invalid::Invalid;
#[cfg(feature = "alloc")]
use crate::schema::learned::LearnedCatalog;
use crate::schema::walk::check_structure;
use crate::schema::{MessageDef, digest};
use crate::status::Code;
#[cfg(feature = "alloc")]
use crate::store::Stored;
use crate::wire::bytes::copy;
#[cfg(feature = "alloc")]
use serde::ser::SerializeTuple as _;

/// A message that has come and has not been looked into yet.
///
/// It holds no connection: send what you like while you hold it. Hand it to
/// [`Connection::decode`](crate::Connection::decode) or
/// [`Connection::reject`](crate::Connection::reject); a message that is just dropped counts
/// as one without a handler, and the next frame ends the connection (PROTOCOL M-4).
#[must_use = "decode or reject it; an unhandled message ends the connection"]
#[derive(Debug)]
pub struct MessageRef<'f> {
    pub(crate) def: &'static MessageDef,
    pub(crate) number: u8,
    pub(crate) wire: u8,
    pub(crate) cost: u32,
    /// Its number in the session, when it is an acked one; else 0.
    pub(crate) acked: u64,
    pub(crate) repeated: bool,
    /// Straight from the input: the connection watches that it is dealt with.
    pub(crate) lent: bool,
    pub(crate) payload: Payload<'f>,
}

/// The bytes of a message. They do not show in `Debug`.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'f>(pub(crate) &'f [u8]);

impl core::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'f> MessageRef<'f> {
    /// Decodes the message apart from its connection; see
    /// [`Connection::take_message`](crate::Connection::take_message).
    ///
    /// # Errors
    /// The message does not fit `T`: tell the connection by
    /// [`Connection::fail_decode`](crate::Connection::fail_decode).
    pub fn decode<T>(&self) -> Result<T, DecodeError>
    where
        T: Schema + Deserialize<'f>,
    {
        if self.def.structure() != const { digest::structure(T::SCHEMA) } {
            return Err(DecodeError::OtherType);
        }
        decode(self.payload.0).map_err(DecodeError::Invalid)
    }

    /// As [`decode`](Self::decode), against `structure`, from
    /// [`ServiceDef::STRUCTURES`](crate::ServiceDef::STRUCTURES) at the message's number;
    /// lends the bytes.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn decode_raw(&self, structure: &NamedType) -> Result<&'f [u8], DecodeError> {
        let bytes = self.payload.0;
        check_structure(structure, bytes)
            .map(|()| bytes)
            .map_err(DecodeError::Invalid)
    }

    /// As [`decode`](Self::decode), against the definition with its number in `catalog`: the one
    /// that was learned on this connection, or that of this side; lends the bytes.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode); [`DecodeError::OtherType`] when the number is not there.
    #[cfg(feature = "alloc")]
    pub fn decode_learned(&self, catalog: &LearnedCatalog) -> Result<&'f [u8], DecodeError> {
        let message = catalog.by_number(self.number).ok_or(DecodeError::OtherType)?;
        let bytes = self.payload.0;
        let checked = message.structure().check(bytes);
        checked.map(|()| bytes).map_err(DecodeError::Invalid)
    }

    /// The message is on its way to its handler; give this back when that is done.
    pub const fn held(self) -> Held {
        Held {
            bytes: self.cost,
            messages: 1,
            acked: self.acked,
        }
    }

    /// Which message it is, for [`Connection::fail`](crate::Connection::fail).
    pub const fn tag(&self) -> Tag {
        Tag {
            wire: self.wire,
            acked: self.acked,
        }
    }

    /// The number that the session gave it, when it is an acked one.
    pub const fn number_in_session(&self) -> Option<u64> {
        if self.acked == 0 { None } else { Some(self.acked) }
    }

    /// It may have been handled before: a side was killed, or has lost the session, before it
    /// could say so (PROTOCOL Q-3).
    pub const fn maybe_repeated(&self) -> bool {
        self.repeated
    }

    /// The definition it claims to follow; without name and key on a connection that
    /// [adopts](crate::Connection::adopting) the service's catalog, where it is the one with
    /// its [`number`](Self::number) in [`Connection::learned`](crate::Connection::learned).
    pub const fn def(&self) -> &'static MessageDef {
        self.def
    }

    /// The name of the message, as far as [`def`](Self::def) has it.
    pub const fn name(&self) -> &'static str {
        self.def.name()
    }

    /// Its number in the catalog of this side:
    /// [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Its number on the wire, in the client's table.
    pub const fn wire(&self) -> u8 {
        self.wire
    }

    /// The length of its payload in bytes.
    pub const fn len(&self) -> usize {
        self.payload.0.len()
    }

    /// Whether the payload has no bytes, as that of a message without attributes.
    pub const fn is_empty(&self) -> bool {
        self.payload.0.is_empty()
    }
}

/// A message that was taken out of the input to wait for its turn, not looked into yet.
#[cfg(feature = "alloc")]
#[derive(Clone)]
pub struct Kept {
    def: &'static MessageDef,
    number: u8,
    wire: u8,
    cost: u32,
    acked: u64,
    repeated: bool,
    payload: Box<[u8]>,
}

/// As that of [`MessageRef`]: the payload does not show.
#[cfg(feature = "alloc")]
impl core::fmt::Debug for Kept {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.message().fmt(f)
    }
}

#[cfg(feature = "alloc")]
impl From<MessageRef<'_>> for Kept {
    fn from(message: MessageRef<'_>) -> Self {
        let MessageRef {
            def,
            number,
            wire,
            cost,
            acked,
            repeated,
            payload,
            ..
        } = message;
        Self {
            def,
            number,
            wire,
            cost,
            acked,
            repeated,
            payload: payload.0.into(),
        }
    }
}

#[cfg(feature = "alloc")]
impl Kept {
    /// A message that was received before this process began, from the store that has kept it: an
    /// acked one that costs no credit. `None` when the catalog of this side has no such message.
    pub fn restored(catalog: &'static Catalog, stored: Stored<'_>) -> Option<Self> {
        let mut messages = catalog.messages().iter().zip(0u8..);
        let (def, number) = messages.find(|(def, _)| def.key() == stored.key)?;
        Some(Self {
            def,
            number,
            wire: number,
            cost: 0,
            acked: stored.number,
            repeated: stored.repeated,
            payload: stored.payload.into(),
        })
    }

    /// The message, as it came.
    pub fn message(&self) -> MessageRef<'_> {
        let Self {
            def,
            number,
            wire,
            cost,
            acked,
            repeated,
            ref payload,
        } = *self;
        MessageRef {
            def,
            number,
            wire,
            cost,
            acked,
            repeated,
            lent: false,
            payload: Payload(payload),
        }
    }
}

/// Which message it was: its number on the wire and, when it is an acked one, in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    pub(crate) wire: u8,
    pub(crate) acked: u64,
}

impl Tag {
    /// The number that the session gave it, when it is an acked one.
    pub const fn number_in_session(&self) -> Option<u64> {
        if self.acked == 0 { None } else { Some(self.acked) }
    }
}

/// What messages on their way to a handler have taken of the credit; goes back to the peer
/// by [`Connection::release`](crate::Connection::release).
#[must_use = "without a release the peer runs out of credit"]
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    pub(crate) bytes: u32,
    pub(crate) messages: u32,
    /// The last acked one among them; else 0.
    pub(crate) acked: u64,
}

impl Held {
    /// Both together, to be released at once.
    pub const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            messages: self.messages.saturating_add(other.messages),
            acked: if self.acked > other.acked {
                self.acked
            } else {
                other.acked
            },
        }
    }

    /// The number in the session of the last acked message among them, if any.
    pub const fn number_in_session(&self) -> Option<u64> {
        if self.acked == 0 { None } else { Some(self.acked) }
    }
}

/// Why a message was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecodeError {
    /// It does not fit its definition, or its type does not take it. The peer is told; the connection is closing.
    Invalid(Invalid),
    /// The type asked for has another structure than the message.
    OtherType,
}

impl DecodeError {
    /// What the peer is told.
    pub const fn code(self) -> Code {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::OtherType => Code::NoHandler,
        }
    }
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Invalid(invalid) => write!(f, "the message does not fit: {invalid}"),
            Self::OtherType => f.write_str("the type asked for has another structure than the message"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A payload that is encoded already.
#[cfg(feature = "alloc")]
pub(crate) struct Encoded<'b>(pub(crate) &'b [u8]);

#[cfg(feature = "alloc")]
impl Serialize for Encoded<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A tuple of bytes is those bytes and nothing else.
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

/// Where a message is encoded to. What does not fit is counted.
struct Place<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl postcard::ser_flavors::Flavor for Place<'_> {
    /// How many bytes it takes, whether they fit or not.
    type Output = usize;

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), Postcard> {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), Postcard> {
        let end = self.len + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            copy(bytes, place);
        }
        self.len = end;
        Ok(())
    }

    fn finalize(self) -> Result<usize, Postcard> {
        Ok(self.len)
    }
}

/// How many bytes the payload of `message` takes; `None` when it cannot be encoded.
pub(crate) fn size<T: Serialize + ?Sized>(message: &T) -> Option<usize> {
    let place = Place { bytes: &mut [], len: 0 };
    postcard::serialize_with_flavor(message, place).ok()
}

/// Encodes `message` into `place`, which is as long as it takes.
pub(crate) fn encode_whole<T: Serialize + ?Sized>(message: &T, bytes: &mut [u8]) -> bool {
    let len = bytes.len();
    postcard::serialize_with_flavor(message, Place { bytes, len: 0 }) == Ok(len)
}

/// Encodes `message` behind its number; how many bytes that takes, which may be more than there are.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(wire: u8, message: &T, bytes: &mut [u8]) -> Option<usize> {
    if let Some(number) = bytes.first_mut() {
        *number = wire;
    }
    postcard::serialize_with_flavor(message, Place { bytes, len: 1 }).ok()
}
