//! Messages of learned definitions from what serde reads: the structure drives a
//! deserializer, place by place, and bytes come out.

use alloc::vec::Vec;
use core::fmt::Display;
use core::ops::Range;

use serde::de::{DeserializeSeed as _, Deserializer, Error};

use super::LearnedMessage;
use super::expect::{EncodeError, Step};
use super::place::Place;
use super::structure::{Piece, Shape};
use crate::limits::MAX_FRAME;

impl LearnedMessage {
    /// Encodes what a deserializer reads, in the form that [`Described`](super::read::Described)
    /// shows. Attributes may come in any order, and one whose structure is an option may be
    /// left out. The payload is at most [`MAX_FRAME`] bytes long.
    ///
    /// The deserializer must tell what it holds, as that of JSON does. With serde_json,
    /// numbers are exact only with its feature `float_roundtrip`, and none can be read with
    /// its feature `arbitrary_precision`, which hides them.
    ///
    /// ```
    /// use diset_proto::{LearnedCatalog, Schema, define_service};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, Schema)]
    /// struct Ping { id: i64 }
    /// define_service! { PingPong = "Framework/PingPong"; from_client: [Ping] }
    ///
    /// let catalog = LearnedCatalog::of::<PingPong>()?;
    /// let ping = catalog.message("Ping").ok_or("no Ping")?;
    /// // Straight from the text, so that no number loses digits and no name that stands twice is
    /// // passed over. What follows the value is for the caller to look at.
    /// let mut text = serde_json::Deserializer::from_str(r#"{ "id": 7 }"#);
    /// assert_eq!(ping.encode(&mut text)?, [14]);
    /// text.end()?;
    ///
    /// // A tree will do for what the program has built itself.
    /// let refused = ping.encode(serde_json::json!({ "id": "x" })).unwrap_err();
    /// assert_eq!(
    ///     refused.to_string(),
    ///     "`id`: expected a whole number from -9223372036854775808 to 9223372036854775807, got the text \"x\"",
    /// );
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first thing that does not fit, with its place; without one when the message shows
    /// more than its length allows (PROTOCOL M-6).
    pub fn encode<'de, D: Deserializer<'de>>(&self, value: D) -> Result<Vec<u8>, EncodeError> {
        self.encode_within(MAX_FRAME as usize, value)
    }

    fn encode_within<'de, D: Deserializer<'de>>(&self, most: usize, value: D) -> Result<Vec<u8>, EncodeError> {
        let mut encoder = Encoder {
            out: Vec::new(),
            most,
            path: Vec::new(),
            failure: None,
        };
        match encoder.at(self.structure.piece()).deserialize(value) {
            // The budget is for the whole message, so it is held against what was written.
            Ok(()) => match self.structure.check(&encoder.out) {
                Ok(()) => Ok(encoder.out),
                Err(invalid) => Err(EncodeError::new(&[], invalid)),
            },
            // What the format itself found wrong, unless we have.
            Err(error) => Err(encoder
                .failure
                .unwrap_or_else(|| EncodeError::new(&encoder.path, error))),
        }
    }
}

/// The bytes so far, and where we are. The path stays as it is at an error.
pub(super) struct Encoder<'s> {
    pub(super) out: Vec<u8>,
    most: usize,
    pub(super) path: Vec<Step<'s>>,
    pub(super) failure: Option<EncodeError>,
}

impl<'s> Encoder<'s> {
    pub(super) fn at<'e>(&'e mut self, piece: Piece<'s>) -> Place<'e, 's> {
        Place { piece, encoder: self }
    }

    pub(super) fn fail<E: Error>(&mut self, reason: impl Display) -> E {
        let failure = EncodeError::new(&self.path, reason);
        let error = E::custom(&failure);
        self.failure = Some(failure);
        error
    }

    pub(super) fn put<E: Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        let most = self.most;
        if bytes.len() > most.saturating_sub(self.out.len()) {
            return Err(self.fail(format_args!("the message is longer than {most} bytes")));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_number<E: Error>(&mut self, value: u128) -> Result<(), E> {
        let (digits, length) = varint(value);
        self.put(digits.get(..length).unwrap_or_default())
    }

    /// Puts a count before what was written since `start`.
    pub(super) fn count<E: Error>(&mut self, start: usize, count: usize) -> Result<(), E> {
        let end = self.out.len();
        self.put_number(count as u128)?;
        let length = self.out.len() - end;
        if let Some(counted) = self.out.get_mut(start..) {
            counted.rotate_right(length);
        }
        Ok(())
    }

    pub(super) fn put_text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.put_number(text.len() as u128)?;
        self.put(text.as_bytes())
    }

    /// Puts what was written since `start` in the order of these parts of it.
    pub(super) fn sort(&mut self, start: usize, parts: impl Iterator<Item = Range<usize>> + Clone) {
        if parts.clone().map(|part| part.start).is_sorted() {
            return;
        }
        let sorted: Vec<u8> = parts.filter_map(|part| self.out.get(part)).flatten().copied().collect();
        self.out.truncate(start);
        self.out.extend(sorted);
    }
}

/// A number in base 128, and how many digits it has. `wire::varint` ends at 64 bits.
fn varint(mut value: u128) -> ([u8; 19], usize) {
    let (mut digits, mut length) = ([0; 19], 0);
    for digit in &mut digits {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        length += 1;
        if value == 0 {
            *digit = low;
            break;
        }
        *digit = low | 0x80;
    }
    (digits, length)
}

/// A number as it is written.
pub(super) enum Form {
    Byte(u8),
    Number(u128),
}

/// How this shape writes the number; `None` when it cannot.
pub(super) fn form(shape: &Shape, signed: Option<i128>, unsigned: Option<u128>) -> Option<Form> {
    let zigzag = |value: i128| Form::Number((value << 1 ^ value >> 127).cast_unsigned());
    Some(match shape {
        Shape::I8 => Form::Byte(i8::try_from(signed?).ok()?.cast_unsigned()),
        Shape::I16 => zigzag(i16::try_from(signed?).ok()?.into()),
        Shape::I32 => zigzag(i32::try_from(signed?).ok()?.into()),
        Shape::I64 => zigzag(i64::try_from(signed?).ok()?.into()),
        Shape::I128 => zigzag(signed?),
        Shape::U8 => Form::Byte(u8::try_from(unsigned?).ok()?),
        Shape::U16 => Form::Number(u16::try_from(unsigned?).ok()?.into()),
        Shape::U32 => Form::Number(u32::try_from(unsigned?).ok()?.into()),
        Shape::U64 => Form::Number(u64::try_from(unsigned?).ok()?.into()),
        Shape::U128 => Form::Number(unsigned?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_not_longer_than_a_frame() {
        let message = LearnedMessage::decode(&[3, 0, 1, 0, b'A', 19, 15]).unwrap();
        let texts = serde_json::json!(["abc", "de"]);
        assert_eq!(message.encode_within(8, texts.clone()).unwrap(), b"\x02\x03abc\x02de");
        let told = |most| message.encode_within(most, texts.clone()).unwrap_err().to_string();
        assert_eq!(told(7), "the message is longer than 7 bytes");
        assert_eq!(told(3), "`[0]`: the message is longer than 3 bytes");
    }
}
