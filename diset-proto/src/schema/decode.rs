//! Payloads as values: a decoder that checks while it reads, once and to the end (PROTOCOL M-2).
//!
//! The encoding is that of postcard. Its own decoder takes more than one form of a value, so what it takes would have to
//! be encoded again.

use core::fmt;

use postcard_schema::Schema;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer as _, Visitor};
use serde::{Deserialize, Serialize};

use super::cursor::{self, Rest};
use super::digest;
use super::invalid::Invalid;
use super::walk::check_structure;

/// Decodes the payload of a message, or says what is wrong with it (PROTOCOL M-2).
///
/// Borrows texts and bytes from the payload. Exactly the bytes that
/// [`check_structure`](crate::check_structure) takes are decoded, less those that `T` has no room for
/// ([`Invalid::Capacity`]) or does not want ([`Invalid::Refused`]).
///
/// That needs a type that reads what its schema says. One that reads less or more, by attributes of serde or by a
/// `Deserialize` of its own, gets [`Invalid::Unread`] where that shows, or another error, or what is not in the message;
/// [`check_wire`] tells in a test.
///
/// # Errors
/// The first thing that does not fit.
pub fn decode<'b, T: Schema + Deserialize<'b>>(payload: &'b [u8]) -> Result<T, Invalid> {
    // What cannot be a message does not compile (PROTOCOL S-1).
    const { digest::structure(T::SCHEMA) };
    decode_seed(core::marker::PhantomData::<T>, payload)
}

/// As [`decode`], by a seed of serde; nothing holds it against a structure.
///
/// # Errors
/// As for [`decode`].
pub fn decode_seed<'b, S: DeserializeSeed<'b>>(seed: S, payload: &'b [u8]) -> Result<S::Value, Invalid> {
    let mut decoder = Decoder {
        rest: payload.iter(),
        left: 0,
        why: Invalid::Refused,
    };
    match seed.deserialize(&mut decoder) {
        Ok(value) => cursor::end(&decoder.rest).map(|()| value),
        Err(stop) => Err(decoder.reason(stop)),
    }
}

/// Whether a type does what its schema tells, by one sample; for the tests of those who define messages.
///
/// Attributes of serde such as `skip`, `flatten` or `with` change the bytes and not the schema. The sample is written,
/// held against the schema, read, and written again. Give one in which every attribute has a value, and room for it.
///
/// ```
/// use diset_proto::{Invalid, Schema, check_wire};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Good { id: u8, value: f32 }
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Bad { id: u8, #[serde(skip)] value: f32 }
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Lazy { id: u8, #[serde(skip_deserializing)] value: f32 }
///
/// assert_eq!(check_wire(&Good { id: 1, value: 0.5 }, &mut [0; 64]), Ok(()));
/// assert_eq!(check_wire(&Bad { id: 1, value: 0.5 }, &mut [0; 64]), Err(Invalid::TooShort));
/// assert_eq!(check_wire(&Lazy { id: 1, value: 0.5 }, &mut [0; 64]), Err(Invalid::LeftOver(4)));
/// ```
///
/// # Errors
/// What a receiver would say of the sample; [`Invalid::Unread`] when it reads another one than was written;
/// [`Invalid::Refused`] when `scratch` is too small for it.
pub fn check_wire<'b, T: Schema + Serialize + Deserialize<'b>>(
    sample: &T,
    scratch: &'b mut [u8],
) -> Result<(), Invalid> {
    let bytes = &*postcard::to_slice(sample, scratch).map_err(|_| Invalid::Refused)?;
    check_structure(T::SCHEMA, bytes)?;
    let read: T = decode(bytes)?;
    let mut expected = Tally::default();
    bytes.iter().for_each(|&byte| expected.add(byte));
    match postcard::serialize_with_flavor(&read, Tally::default()) {
        Ok(written) if written == expected => Ok(()),
        _ => Err(Invalid::Unread),
    }
}

/// How many bytes there are, and their sum: the same in any order, since a map may be written in another one each time.
#[derive(Default, PartialEq)]
struct Tally {
    count: usize,
    sum: usize,
}

impl Tally {
    const fn add(&mut self, byte: u8) {
        self.count += 1;
        self.sum += byte as usize;
    }
}

impl postcard::ser_flavors::Flavor for Tally {
    type Output = Self;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.add(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}

/// Reads values from the front of its bytes. It never goes deeper than the type that reads.
struct Decoder<'b> {
    rest: Rest<'b>,
    /// How many values the type left unread of the last list that it was given.
    left: usize,
    /// What is wrong with the bytes, once it was told.
    why: Invalid,
}

/// Why a value was not read, in the one byte that can be handed up cheaply with every value.
#[derive(Debug)]
enum Stop {
    /// The decoder was told.
    Told,
    /// The type has no room.
    Capacity,
    /// The type does not want it.
    Refused,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value was not read")
    }
}

impl core::error::Error for Stop {}

/// What a type says of bytes that are valid: serde has one error for what is beyond a capacity, and others for the rest.
impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::Capacity
    }
}

/// The values of a sequence, tuple, structure or map that are still to be read.
///
/// Handed over by value, so that a loop that reads them keeps the count in a register.
struct Parts<'r, 'b> {
    decoder: &'r mut Decoder<'b>,
    left: usize,
}

impl Drop for Parts<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        self.decoder.left = self.left;
    }
}

impl<'b> Decoder<'b> {
    #[inline]
    fn read<T>(&mut self, read: impl FnOnce(&mut Rest<'b>) -> Result<T, Invalid>) -> Result<T, Stop> {
        match read(&mut self.rest) {
            Ok(value) => Ok(value),
            Err(why) => Err(self.stop(why)),
        }
    }

    #[cold]
    fn stop(&mut self, why: Invalid) -> Stop {
        self.why = why;
        Stop::Told
    }

    #[cold]
    const fn reason(&self, stop: Stop) -> Invalid {
        match stop {
            Stop::Told => self.why,
            Stop::Capacity => Invalid::Capacity,
            Stop::Refused => Invalid::Refused,
        }
    }

    /// Lets a type read so many values; it has to read them all.
    #[inline]
    fn parts<T>(&mut self, count: usize, read: impl FnOnce(Parts<'_, 'b>) -> Result<T, Stop>) -> Result<T, Stop> {
        let value = read(Parts {
            decoder: self,
            left: count,
        })?;
        match self.left {
            0 => Ok(value),
            _ => Err(self.stop(Invalid::Unread)),
        }
    }
}

macro_rules! values {
    ($($deserialize:ident => $visit:ident($read:expr),)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.$visit(self.read($read)?)
        }
    )*};
}

macro_rules! not_told {
    ($($deserialize:ident,)*) => {$(
        fn $deserialize<V: Visitor<'b>>(self, _: V) -> Result<V::Value, Stop> {
            Err(self.stop(Invalid::Unread))
        }
    )*};
}

impl<'b> Deserializer<'b> for &mut Decoder<'b> {
    type Error = Stop;

    values! {
        deserialize_bool => visit_bool(cursor::flag),
        deserialize_i8 => visit_i8(|rest| cursor::byte(rest).map(u8::cast_signed)),
        deserialize_i16 => visit_i16(cursor::i16),
        deserialize_i32 => visit_i32(cursor::i32),
        deserialize_i64 => visit_i64(cursor::i64),
        deserialize_i128 => visit_i128(cursor::i128),
        deserialize_u8 => visit_u8(cursor::byte),
        deserialize_u16 => visit_u16(cursor::u16),
        deserialize_u32 => visit_u32(cursor::u32),
        deserialize_u64 => visit_u64(cursor::u64),
        deserialize_u128 => visit_u128(cursor::u128),
        deserialize_f32 => visit_f32(|rest| cursor::chunk(rest).map(f32::from_le_bytes)),
        deserialize_f64 => visit_f64(|rest| cursor::chunk(rest).map(f64::from_le_bytes)),
        deserialize_char => visit_char(cursor::character),
        deserialize_str => visit_borrowed_str(cursor::text),
        deserialize_string => visit_borrowed_str(cursor::text),
        deserialize_bytes => visit_borrowed_bytes(cursor::counted),
        deserialize_byte_buf => visit_borrowed_bytes(cursor::counted),
    }

    // The bytes do not say what they are, and names of attributes and variants are not among them.
    not_told! {
        deserialize_any,
        deserialize_ignored_any,
        deserialize_identifier,
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_option<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.read(cursor::flag)? {
            true => visitor.visit_some(self),
            false => visitor.visit_none(),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Stop> {
        let count = self.read(cursor::length)?;
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'b>>(self, count: usize, visitor: V) -> Result<V::Value, Stop> {
        self.parts(count, |parts| visitor.visit_seq(parts))
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Stop> {
        let count = self.read(cursor::length)?;
        self.parts(count, |parts| visitor.visit_map(parts))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        attributes: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(attributes.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'b>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let number = self.read(|rest| cursor::variant(rest, variants.len()))?;
        visitor.visit_enum(Choice { number, content: self })
    }
}

impl<'b> de::SeqAccess<'b> for Parts<'_, 'b> {
    type Error = Stop;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'b>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        Ok(Some(seed.deserialize(&mut *self.decoder)?))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'b> de::MapAccess<'b> for Parts<'_, 'b> {
    type Error = Stop;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'b>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'b>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant, and what is behind its number.
struct Choice<'r, 'b> {
    number: u32,
    content: &'r mut Decoder<'b>,
}

impl<'r, 'b> de::EnumAccess<'b> for Choice<'r, 'b> {
    type Error = Stop;
    type Variant = &'r mut Decoder<'b>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'b>>(self, seed: S) -> Result<(S::Value, Self::Variant), Stop> {
        let Self { number, content } = self;
        let name: de::value::U32Deserializer<Stop> = number.into_deserializer();
        match seed.deserialize(name) {
            Ok(variant) => Ok((variant, content)),
            Err(_) => Err(content.stop(Invalid::Variant(number))),
        }
    }
}

impl<'b> de::VariantAccess<'b> for &mut Decoder<'b> {
    type Error = Stop;

    #[inline]
    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'b>>(self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'b>>(self, count: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'b>>(self, attributes: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_tuple(attributes.len(), visitor)
    }
}
