//! Payloads as values: a decoder that checks while it reads, once and to the end (PROTOCOL M-2).
//!
//! The encoding is that of postcard. Its own decoder takes more than one form of a value, so what it takes would have to
//! be encoded again.

use postcard_schema::Schema;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer as _, Visitor};
use serde::{Deserialize, Serialize};

use super::invalid::Invalid;
use super::walk::check_structure;
use super::{cursor, digest};

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
    let mut rest = payload;
    let value = seed.deserialize(Decoder(&mut rest))?;
    match rest.len() {
        0 => Ok(value),
        left => Err(Invalid::LeftOver(left)),
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

/// Reads values from the front of these bytes. It never goes deeper than the type that reads.
struct Decoder<'r, 'b>(&'r mut &'b [u8]);

/// The values of a sequence, tuple, structure or map that are still to be read.
struct Parts<'r, 'b> {
    rest: &'r mut &'b [u8],
    left: usize,
}

impl<'b> Decoder<'_, 'b> {
    /// Lets a type read so many values; it has to read them all.
    fn parts<T>(self, count: usize, read: impl FnOnce(&mut Parts<'_, 'b>) -> Result<T, Invalid>) -> Result<T, Invalid> {
        let mut parts = Parts {
            rest: self.0,
            left: count,
        };
        let value = read(&mut parts)?;
        match parts.left {
            0 => Ok(value),
            _ => Err(Invalid::Unread),
        }
    }
}

macro_rules! values {
    ($($deserialize:ident => $visit:ident($read:expr),)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Invalid> {
            visitor.$visit($read(self.0)?)
        }
    )*};
}

macro_rules! not_told {
    ($($deserialize:ident,)*) => {$(
        fn $deserialize<V: Visitor<'b>>(self, _: V) -> Result<V::Value, Invalid> {
            Err(Invalid::Unread)
        }
    )*};
}

impl<'b> Deserializer<'b> for Decoder<'_, 'b> {
    type Error = Invalid;

    values! {
        deserialize_bool => visit_bool(cursor::flag),
        deserialize_i8 => visit_i8(|rest| cursor::chunk(rest).map(i8::from_le_bytes)),
        deserialize_i16 => visit_i16(cursor::i16),
        deserialize_i32 => visit_i32(cursor::i32),
        deserialize_i64 => visit_i64(cursor::i64),
        deserialize_i128 => visit_i128(cursor::i128),
        deserialize_u8 => visit_u8(|rest| cursor::chunk(rest).map(u8::from_le_bytes)),
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
    fn deserialize_option<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match cursor::flag(self.0)? {
            true => visitor.visit_some(self),
            false => visitor.visit_none(),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Invalid> {
        let count = cursor::length(self.0)?;
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'b>>(self, count: usize, visitor: V) -> Result<V::Value, Invalid> {
        self.parts(count, |parts| visitor.visit_seq(parts))
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Invalid> {
        let count = cursor::length(self.0)?;
        self.parts(count, |parts| visitor.visit_map(parts))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        attributes: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_tuple(attributes.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'b>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        let number = cursor::variant(self.0, variants.len())?;
        visitor.visit_enum(Choice { number, content: self })
    }
}

impl<'b> de::SeqAccess<'b> for Parts<'_, 'b> {
    type Error = Invalid;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'b>>(&mut self, seed: S) -> Result<Option<S::Value>, Invalid> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(Decoder(self.rest)).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'b> de::MapAccess<'b> for Parts<'_, 'b> {
    type Error = Invalid;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'b>>(&mut self, seed: S) -> Result<Option<S::Value>, Invalid> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'b>>(&mut self, seed: S) -> Result<S::Value, Invalid> {
        seed.deserialize(Decoder(self.rest))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant, and what is behind its number.
struct Choice<'r, 'b> {
    number: u32,
    content: Decoder<'r, 'b>,
}

impl<'r, 'b> de::EnumAccess<'b> for Choice<'r, 'b> {
    type Error = Invalid;
    type Variant = Decoder<'r, 'b>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'b>>(self, seed: S) -> Result<(S::Value, Decoder<'r, 'b>), Invalid> {
        let number: de::value::U32Deserializer<Invalid> = self.number.into_deserializer();
        let variant = seed.deserialize(number).map_err(|_| Invalid::Variant(self.number))?;
        Ok((variant, self.content))
    }
}

impl<'b> de::VariantAccess<'b> for Decoder<'_, 'b> {
    type Error = Invalid;

    #[inline]
    fn unit_variant(self) -> Result<(), Invalid> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'b>>(self, seed: S) -> Result<S::Value, Invalid> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'b>>(self, count: usize, visitor: V) -> Result<V::Value, Invalid> {
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'b>>(
        self,
        attributes: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_tuple(attributes.len(), visitor)
    }
}
