//! Bytes held against a structure, without the type: for tools, and for the test that a
//! type's serialisation is what its schema says.

use core::fmt;

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType as Ty, DataModelVariant as Variant, NamedType, NamedValue};
use serde::Serialize;

use crate::limits::MAX_DEPTH;
use crate::wire::varint::{self, Parsed};

/// Why bytes do not fit a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Invalid {
    /// The bytes end inside the message.
    TooShort,
    /// So many bytes are left over.
    LeftOver(usize),
    /// A number is not in its shortest form or does not fit its type.
    Number,
    /// A boolean or option byte is neither 0 nor 1.
    Bool,
    /// A text or character is not UTF-8, or a character is not exactly one.
    Text,
    /// An enum has no such variant.
    Variant(u32),
    /// The value is not what its own encoding says: not canonical.
    NotCanonical,
    /// The structure is nested too deep.
    Depth,
    /// The type's own deserialisation refused it.
    Refused,
    /// A learned structure shows so many parts and names for so few bytes that the message
    /// costs more than its length allows (PROTOCOL M-6).
    #[cfg(feature = "alloc")]
    TooMuchWork,
}

impl Invalid {
    /// What it says: words, a number, words.
    pub(crate) fn parts(self) -> (&'static str, Option<u32>, &'static str) {
        let text = match self {
            Self::TooShort => "the message is too short",
            Self::LeftOver(count) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                return ("", Some(count), " bytes left over");
            }
            Self::Number => "a number is over-long or does not fit",
            Self::Bool => "a boolean is neither 0 nor 1",
            Self::Text => "a text is not UTF-8",
            Self::Variant(number) => return ("there is no variant ", Some(number), ""),
            Self::NotCanonical => "not in canonical form",
            Self::Depth => "nested too deep",
            Self::Refused => "an attribute was refused by its type",
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

/// Whether `bytes` are exactly one value of the structure.
///
/// Bounded by the bytes and by [`MAX_DEPTH`]; allocates nothing. So it does not see that a key
/// stands twice in a map (PROTOCOL M-2), which decoding the type does.
///
/// # Errors
/// The first thing that does not fit.
pub fn check_structure(ty: &NamedType, bytes: &[u8]) -> Result<(), Invalid> {
    let mut rest = bytes;
    value(ty, &mut rest, 0)?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Invalid::LeftOver(rest.len()))
    }
}

/// Whether the schema of a type tells what its serialisation does, by one sample; for the
/// tests of those who define messages.
///
/// Attributes of serde such as `skip`, `flatten` or `serialize_with` change the bytes and
/// not the schema. Give a sample in which every attribute has a value, and room for it.
///
/// ```
/// use diset_proto::{Invalid, Schema, check_wire};
/// use serde::Serialize;
///
/// #[derive(Serialize, Schema)]
/// struct Good { id: u8, value: f32 }
/// #[derive(Serialize, Schema)]
/// struct Bad { id: u8, #[serde(skip)] value: f32 }
///
/// assert_eq!(check_wire(&Good { id: 1, value: 0.5 }, &mut [0; 64]), Ok(()));
/// assert_eq!(check_wire(&Bad { id: 1, value: 0.5 }, &mut [0; 64]), Err(Invalid::TooShort));
/// ```
///
/// # Errors
/// What a receiver would say of the sample; [`Invalid::Refused`] when `scratch` is too
/// small for it.
pub fn check_wire<T: Schema + Serialize + ?Sized>(sample: &T, scratch: &mut [u8]) -> Result<(), Invalid> {
    let bytes = postcard::to_slice(sample, scratch).map_err(|_| Invalid::Refused)?;
    check_structure(T::SCHEMA, bytes)
}

fn value(ty: &NamedType, rest: &mut &[u8], depth: usize) -> Result<(), Invalid> {
    if depth > MAX_DEPTH {
        return Err(Invalid::Depth);
    }
    match ty.ty {
        Ty::Bool => flag(rest).map(|_| ()),
        Ty::I8 | Ty::U8 => take(rest, 1).map(|_| ()),
        Ty::I16 | Ty::U16 => number(rest, 16).map(|_| ()),
        Ty::I32 | Ty::U32 => number(rest, 32).map(|_| ()),
        Ty::I64 | Ty::U64 => number(rest, 64).map(|_| ()),
        Ty::I128 | Ty::U128 => number(rest, 128).map(|_| ()),
        Ty::Usize | Ty::Isize | Ty::Schema => Err(Invalid::Refused),
        Ty::F32 => take(rest, 4).map(|_| ()),
        Ty::F64 => take(rest, 8).map(|_| ()),
        Ty::Char => character(rest).map(|_| ()),
        Ty::String => text(rest).map(|_| ()),
        Ty::ByteArray => counted(rest).map(|_| ()),
        Ty::Unit | Ty::UnitStruct => Ok(()),
        Ty::NewtypeStruct(inner) => value(inner, rest, depth + 1),
        Ty::Option(inner) => {
            if flag(rest)? {
                value(inner, rest, depth + 1)?;
            }
            Ok(())
        }
        Ty::Seq(inner) => {
            for _ in 0..length(rest)? {
                value(inner, rest, depth + 1)?;
            }
            Ok(())
        }
        Ty::Map { key, val } => {
            for _ in 0..length(rest)? {
                value(key, rest, depth + 1)?;
                value(val, rest, depth + 1)?;
            }
            Ok(())
        }
        Ty::Tuple(items) | Ty::TupleStruct(items) => tuple(items, rest, depth),
        Ty::Struct(attributes) => record(attributes, rest, depth),
        Ty::Enum(variants) => {
            let chosen = u32::try_from(number(rest, 32)?).map_err(|_| Invalid::Number)?;
            let variant = usize::try_from(chosen).ok().and_then(|chosen| variants.get(chosen));
            match variant.ok_or(Invalid::Variant(chosen))?.ty {
                Variant::UnitVariant => Ok(()),
                Variant::NewtypeVariant(inner) => value(inner, rest, depth + 1),
                Variant::TupleVariant(items) => tuple(items, rest, depth),
                Variant::StructVariant(attributes) => record(attributes, rest, depth),
            }
        }
    }
}

fn tuple(items: &[&NamedType], rest: &mut &[u8], depth: usize) -> Result<(), Invalid> {
    items.iter().try_for_each(|item| value(item, rest, depth + 1))
}

fn record(attributes: &[&NamedValue], rest: &mut &[u8], depth: usize) -> Result<(), Invalid> {
    attributes
        .iter()
        .try_for_each(|attribute| value(attribute.ty, rest, depth + 1))
}

pub(super) fn take<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], Invalid> {
    let (taken, after) = rest.split_at_checked(count).ok_or(Invalid::TooShort)?;
    *rest = after;
    Ok(taken)
}

pub(super) fn flag(rest: &mut &[u8]) -> Result<bool, Invalid> {
    match take(rest, 1)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Invalid::Bool),
    }
}

/// A character is a text of exactly one.
pub(super) fn character(rest: &mut &[u8]) -> Result<char, Invalid> {
    let mut characters = text(rest)?.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Invalid::Text),
    }
}

/// A number of at most `bits` bits; the value itself only up to 64 of them.
pub(super) fn number(rest: &mut &[u8], bits: u32) -> Result<u64, Invalid> {
    let mut value = 0u64;
    let mut shift = 0u32;
    loop {
        let byte = take(rest, 1)?.first().copied().unwrap_or_default();
        let low = u64::from(byte & 0x7f);
        let room = bits - shift;
        if room < 7 && low >> room != 0 {
            return Err(Invalid::Number);
        }
        value |= low.checked_shl(shift).unwrap_or_default();
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 {
                Err(Invalid::NotCanonical)
            } else {
                Ok(value)
            };
        }
        shift += 7;
        if shift >= bits {
            return Err(Invalid::Number);
        }
    }
}

/// The number of elements or bytes that follow. Each takes at least one byte.
pub(super) fn length(rest: &mut &[u8]) -> Result<usize, Invalid> {
    match varint::read(rest, varint::MAX_BYTES) {
        Parsed::Value(value, size) => {
            *rest = rest.get(size..).unwrap_or_default();
            usize::try_from(value)
                .ok()
                .filter(|&value| value <= rest.len())
                .ok_or(Invalid::TooShort)
        }
        Parsed::Partial => Err(Invalid::TooShort),
        Parsed::Malformed => Err(Invalid::Number),
    }
}

pub(super) fn counted<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Invalid> {
    let length = length(rest)?;
    take(rest, length)
}

pub(super) fn text<'b>(rest: &mut &'b [u8]) -> Result<&'b str, Invalid> {
    core::str::from_utf8(counted(rest)?).map_err(|_| Invalid::Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Serialize, Schema)]
    enum Shape {
        Point,
        Circle(f32),
        Box { width: u16, height: u16 },
        Line(i8, i64),
    }
    #[derive(Debug, Serialize, Schema)]
    struct Wrapped(u32);
    #[derive(Debug, Serialize, Schema)]
    struct All {
        flag: bool,
        numbers: (u8, i16, u32, i64),
        wide: (u128, i128),
        floats: [f64; 2],
        letter: char,
        text: String,
        maybe: Option<Option<u16>>,
        list: Vec<Wrapped>,
        nested: Vec<Vec<u8>>,
        shape: Shape,
        unit: (),
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Point),
            any::<f32>().prop_map(Shape::Circle),
            any::<(u16, u16)>().prop_map(|(width, height)| Shape::Box { width, height }),
            any::<(i8, i64)>().prop_map(|(a, b)| Shape::Line(a, b)),
        ]
    }

    prop_compose! {
        fn all()(
            (flag, numbers, wide) in any::<(bool, (u8, i16, u32, i64), (u128, i128))>(),
            (floats, letter, text) in any::<([f64; 2], char, String)>(),
            (maybe, list, nested) in any::<(Option<Option<u16>>, Vec<u32>, Vec<Vec<u8>>)>(),
            shape in shape(),
        ) -> All {
            let list = list.into_iter().map(Wrapped).collect();
            All { flag, numbers, wide, floats, letter, text, maybe, list, nested, shape, unit: () }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_value_fits_and_no_prefix_does(value in all()) {
            let mut scratch = vec![0; 64 * 1024];
            let bytes = postcard::to_slice(&value, &mut scratch).unwrap();
            prop_assert_eq!(check_structure(All::SCHEMA, bytes), Ok(()), "PROTOCOL M-2");
            for cut in (0..bytes.len()).rev().take(300) {
                prop_assert_eq!(check_structure(All::SCHEMA, &bytes[..cut]), Err(Invalid::TooShort));
            }
            let longer = [&*bytes, &[0]].concat();
            prop_assert_eq!(check_structure(All::SCHEMA, &longer), Err(Invalid::LeftOver(1)));
        }
    }

    fn check<T: Schema>(bytes: &[u8]) -> Result<(), Invalid> {
        check_structure(T::SCHEMA, bytes)
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(check::<bool>(&[2]), Err(Invalid::Bool), "PROTOCOL M-2");
        assert_eq!(check::<u16>(&[0xff, 0xff, 0x03]), Ok(()));
        assert_eq!(check::<u16>(&[0xff, 0xff, 0x04]), Err(Invalid::Number));
        assert_eq!(check::<u16>(&[0x81, 0x80, 0x00]), Err(Invalid::NotCanonical));
        assert_eq!(check::<u64>(&[0xff; 10]), Err(Invalid::Number));
        let mut most = [0xff; 19];
        most[18] = 3;
        assert_eq!(check::<u128>(&most), Ok(()));
        most[18] = 4;
        assert_eq!(check::<u128>(&most), Err(Invalid::Number));
        assert_eq!(check::<char>(&[2, b'a', b'b']), Err(Invalid::Text));
        assert_eq!(check::<char>(&[0]), Err(Invalid::Text));
        assert_eq!(check::<String>(&[1, 0xff]), Err(Invalid::Text));
        assert_eq!(check::<Shape>(&[4]), Err(Invalid::Variant(4)));
        assert_eq!(check::<Vec<u8>>(&[0xff, 0xff, 0xff, 0x7f]), Err(Invalid::TooShort));
        assert_eq!(check::<Vec<u8>>(&[0x80, 0x00]), Err(Invalid::Number));
    }
}
