//! Messages as bytes: encoding in place, and the check that comes before any handler.
//!
//! A payload is the postcard encoding of the attributes in the order of their definition.
//! It is valid when it decodes, nothing is left over, and encoding the value again would
//! take exactly as many bytes (PROTOCOL M-2).

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use postcard::Error as Postcard;
use serde::{Deserialize, Serialize};

use crate::schema::MessageDef;
use crate::schema::walk::Invalid;
use crate::wire::outbox::BodyError;

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

impl MessageRef<'_> {
    /// The definition it claims to follow.
    pub const fn def(&self) -> &'static MessageDef {
        self.def
    }

    /// The name of the message.
    pub const fn name(&self) -> &'static str {
        self.def.name()
    }

    /// Its number in the catalog of this side:
    /// [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Its number on the wire, in the client's table: for
    /// [`Connection::fail`](crate::Connection::fail).
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
#[derive(Debug)]
pub struct Kept {
    def: &'static MessageDef,
    number: u8,
    wire: u8,
    cost: u32,
    payload: Box<[u8]>,
}

#[cfg(feature = "alloc")]
impl Kept {
    pub(crate) fn new(message: &MessageRef<'_>) -> Self {
        let MessageRef {
            def,
            number,
            wire,
            cost,
            payload,
        } = *message;
        Self {
            def,
            number,
            wire,
            cost,
            payload: payload.0.into(),
        }
    }

    /// The message, as it came.
    pub fn message(&self) -> MessageRef<'_> {
        let Self {
            def,
            number,
            wire,
            cost,
            ref payload,
        } = *self;
        MessageRef {
            def,
            number,
            wire,
            cost,
            payload: Payload(payload),
        }
    }
}

/// What a message on its way to a handler has taken of the credit; goes back to the peer
/// by [`Connection::release`](crate::Connection::release).
#[must_use = "without a release the peer runs out of credit"]
#[derive(Debug, PartialEq, Eq)]
pub struct Held(pub(crate) u32);

/// Decodes and checks a payload (PROTOCOL M-2).
pub(crate) fn decode<'f, T: Serialize + Deserialize<'f>>(payload: &'f [u8]) -> Result<T, Invalid> {
    let (value, rest) = postcard::take_from_bytes::<T>(payload).map_err(|error| reason(&error))?;
    if !rest.is_empty() {
        return Err(Invalid::LeftOver(rest.len()));
    }
    let canonical = postcard::experimental::serialized_size(&value).map_err(|_| Invalid::Refused)?;
    if canonical == payload.len() {
        Ok(value)
    } else {
        Err(Invalid::NotCanonical)
    }
}

/// Encodes `message` behind its number into `place`.
pub(crate) fn encode<T: Serialize + ?Sized>(wire: u8, message: &T, place: &mut [u8]) -> Result<usize, BodyError<()>> {
    let (number, body) = place.split_first_mut().ok_or(BodyError::NoRoom)?;
    *number = wire;
    match postcard::to_slice(message, body) {
        Ok(used) => Ok(used.len() + 1),
        Err(Postcard::SerializeBufferFull) => Err(BodyError::NoRoom),
        Err(_) => Err(BodyError::Failed(())),
    }
}

fn reason(error: &Postcard) -> Invalid {
    match error {
        Postcard::DeserializeUnexpectedEnd => Invalid::TooShort,
        Postcard::DeserializeBadVarint => Invalid::Number,
        Postcard::DeserializeBadBool | Postcard::DeserializeBadOption => Invalid::Bool,
        Postcard::DeserializeBadUtf8 | Postcard::DeserializeBadChar => Invalid::Text,
        _ => Invalid::Refused,
    }
}
