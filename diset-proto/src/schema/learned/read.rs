//! Messages of learned definitions as serde shows them: the structure drives a serializer
//! straight from the bytes.

use core::cell::Cell;
use core::fmt;

use serde::ser::{Error as _, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::LearnedMessage;
use super::structure::{Attribute, Piece, Shape, Structure};
use crate::schema::cursor::{self, Rest};
use crate::schema::invalid::Invalid;
use crate::schema::walk::skip;

impl LearnedMessage {
    /// Checks a payload and shows it.
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
    /// let shown = serde_json::to_string(&ping.read(&[14])?)?;
    /// assert_eq!(shown, r#"{"id":7}"#);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the payload; see [`Structure::check`].
    pub fn read<'a>(&'a self, payload: &'a [u8]) -> Result<Described<'a>, Invalid> {
        self.structure.check(payload)?;
        Ok(Described {
            structure: &self.structure,
            payload,
        })
    }
}

/// A message that was checked, to be shown by any serializer that names things, such as
/// that of JSON. It does not show in `Debug`.
///
/// | structure | shown as |
/// |---|---|
/// | boolean, number, text | itself |
/// | character | text |
/// | float that is not finite | the text `NaN`, `inf` or `-inf` |
/// | bytes | text of two lower-case hexadecimal digits for each |
/// | unit | null |
/// | option | null or the value; where the value itself may be null, null or `{"Some": value}` |
/// | sequence, tuple | array |
/// | map with texts as keys | object, in which a name may stand twice |
/// | other map | array of arrays `[key, value]` |
/// | structure | object, in the order of the definition |
/// | enum | text `"Variant"` or object `{"Variant": value}`, with an array or object as value |
///
/// [`LearnedMessage::encode`] takes the same.
#[derive(Clone, Copy)]
pub struct Described<'a> {
    structure: &'a Structure,
    payload: &'a [u8],
}

impl fmt::Debug for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Described({} bytes)", self.payload.len())
    }
}

impl Serialize for Described<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::new(self.structure.piece(), self.payload).serialize(serializer)
    }
}

/// A value at the front of these bytes.
struct Value<'v> {
    piece: Piece<'v>,
    bytes: &'v [u8],
    /// What follows it, once it was shown.
    after: Cell<Option<&'v [u8]>>,
}

impl<'v> Value<'v> {
    const fn new(piece: Piece<'v>, bytes: &'v [u8]) -> Self {
        Self {
            piece,
            bytes,
            after: Cell::new(None),
        }
    }

    /// What follows it, also when a serializer passed over it.
    fn after(&self) -> Result<&'v [u8], Invalid> {
        if let Some(after) = self.after.get() {
            return Ok(after);
        }
        let mut rest = self.bytes.iter();
        skip(self.piece, &mut rest)?;
        Ok(rest.as_slice())
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rest = self.bytes.iter();
        let shown = match self.piece {
            Piece::One(shape) => one(shape, &mut rest, serializer)?,
            Piece::Pair(key, value) => array([key, value].into_iter(), &mut rest, serializer)?,
            Piece::Tuple(items) => array(items.iter(), &mut rest, serializer)?,
            Piece::Record(attributes) => record(attributes, &mut rest, serializer)?,
        };
        self.after.set(Some(rest.as_slice()));
        Ok(shown)
    }
}

/// Shows one value and moves behind it.
fn part<'v, E: serde::ser::Error>(
    piece: Piece<'v>,
    rest: &mut Rest<'v>,
    show: impl FnOnce(&Value<'v>) -> Result<(), E>,
) -> Result<(), E> {
    let value = Value::new(piece, rest.as_slice());
    show(&value)?;
    *rest = value.after().map_err(E::custom)?.iter();
    Ok(())
}

fn array<'v, S: Serializer>(
    items: impl ExactSizeIterator<Item = &'v Structure>,
    rest: &mut Rest<'v>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut array = serializer.serialize_seq(Some(items.len()))?;
    for item in items {
        part(item.piece(), rest, |value| array.serialize_element(value))?;
    }
    array.end()
}

fn record<'v, S: Serializer>(
    attributes: &'v [Attribute],
    rest: &mut Rest<'v>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(attributes.len()))?;
    for attribute in attributes {
        part(attribute.structure().piece(), rest, |value| {
            object.serialize_entry(attribute.name(), value)
        })?;
    }
    object.end()
}

fn one<'v, S: Serializer>(shape: &'v Shape, rest: &mut Rest<'v>, serializer: S) -> Result<S::Ok, S::Error> {
    let bad = S::Error::custom::<Invalid>;
    match shape {
        Shape::Bool => serializer.serialize_bool(cursor::flag(rest).map_err(bad)?),
        Shape::I8 => serializer.serialize_i8(cursor::byte(rest).map_err(bad)?.cast_signed()),
        Shape::U8 => serializer.serialize_u8(cursor::byte(rest).map_err(bad)?),
        Shape::I16 => serializer.serialize_i16(cursor::i16(rest).map_err(bad)?),
        Shape::I32 => serializer.serialize_i32(cursor::i32(rest).map_err(bad)?),
        Shape::I64 => serializer.serialize_i64(cursor::i64(rest).map_err(bad)?),
        Shape::I128 => serializer.serialize_i128(cursor::i128(rest).map_err(bad)?),
        Shape::U16 => serializer.serialize_u16(cursor::u16(rest).map_err(bad)?),
        Shape::U32 => serializer.serialize_u32(cursor::u32(rest).map_err(bad)?),
        Shape::U64 => serializer.serialize_u64(cursor::u64(rest).map_err(bad)?),
        Shape::U128 => serializer.serialize_u128(cursor::u128(rest).map_err(bad)?),
        Shape::F32 => float(f32::from_le_bytes(cursor::chunk(rest).map_err(bad)?), serializer),
        Shape::F64 => match f64::from_le_bytes(cursor::chunk(rest).map_err(bad)?) {
            value if value.is_finite() => serializer.serialize_f64(value),
            value => serializer.collect_str(&value),
        },
        Shape::Char => serializer.serialize_char(cursor::character(rest).map_err(bad)?),
        Shape::String => serializer.serialize_str(cursor::text(rest).map_err(bad)?),
        Shape::Bytes => serializer.collect_str(&Hex(cursor::counted(rest).map_err(bad)?)),
        Shape::Unit => serializer.serialize_unit(),
        Shape::Option(inner) => match cursor::flag(rest).map_err(bad)? {
            false => serializer.serialize_none(),
            true if inner.is_nullable() => named("Some", inner.piece(), rest, serializer),
            true => same(inner.piece(), rest, serializer),
        },
        Shape::Sequence(inner) => {
            let length = cursor::length(rest).map_err(bad)?;
            array(core::iter::repeat_n(&**inner, length), rest, serializer)
        }
        Shape::Map { key, value } => map(key, value, rest, serializer),
        Shape::Tuple(items) => array(items.iter(), rest, serializer),
        Shape::Structure(attributes) => record(attributes, rest, serializer),
        Shape::Enum(variants) => {
            let number = cursor::variant(rest, variants.len()).map_err(bad)?;
            let variant = variants
                .get(number as usize)
                .ok_or_else(|| bad(Invalid::Variant(number)))?;
            match variant.shape().piece() {
                None => serializer.serialize_str(variant.name()),
                Some(piece) => named(variant.name(), piece, rest, serializer),
            }
        }
    }
}

fn float<S: Serializer>(value: f32, serializer: S) -> Result<S::Ok, S::Error> {
    /// The only magnitude whose shortest form is another f32 when it is read as an f64 and
    /// rounded again.
    const MISREAD: f32 = f32::from_bits(0x15ae_43fd);
    if !value.is_finite() {
        serializer.collect_str(&value)
    } else if value.abs() == MISREAD {
        serializer.serialize_f64(value.into())
    } else {
        serializer.serialize_f32(value)
    }
}

/// Shows what is inside as if it stood alone.
fn same<'v, S: Serializer>(piece: Piece<'v>, rest: &mut Rest<'v>, serializer: S) -> Result<S::Ok, S::Error> {
    let value = Value::new(piece, rest.as_slice());
    let shown = value.serialize(serializer)?;
    *rest = value.after().map_err(S::Error::custom)?.iter();
    Ok(shown)
}

/// Shows an object with one entry.
fn named<'v, S: Serializer>(
    name: &str,
    piece: Piece<'v>,
    rest: &mut Rest<'v>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(1))?;
    part(piece, rest, |value| object.serialize_entry(name, value))?;
    object.end()
}

fn map<'v, S: Serializer>(
    key: &'v Structure,
    value: &'v Structure,
    rest: &mut Rest<'v>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let length = cursor::length(rest).map_err(S::Error::custom)?;
    if !matches!(key.shape(), Shape::String) {
        let mut array = serializer.serialize_seq(Some(length))?;
        for _ in 0..length {
            part(Piece::Pair(key, value), rest, |pair| array.serialize_element(pair))?;
        }
        return array.end();
    }
    let mut object = serializer.serialize_map(Some(length))?;
    for _ in 0..length {
        let name = cursor::text(rest).map_err(S::Error::custom)?;
        part(value.piece(), rest, |value| object.serialize_entry(name, value))?;
    }
    object.end()
}

struct Hex<'b>(&'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_serializer_passes_over_are_passed_over() {
        let message = LearnedMessage::decode(&[3, 0, 1, 0, b'A', 21, 2, 0, 15, 19, 8]).unwrap();
        let bytes = [2, b'h', b'i', 1, 0x80, 1, 0xee];
        let value = Value::new(message.structure().piece(), &bytes);
        assert_eq!(value.after(), Ok(&[0xee][..]));
        let shown = serde_json::to_string(&value).unwrap();
        assert_eq!(shown, r#"["hi",[128]]"#);
        assert_eq!(value.after(), Ok(&[0xee][..]));
        assert_eq!(serde_json::to_string(&value).unwrap(), shown);
    }

    #[test]
    fn what_was_not_checked_is_an_error_and_no_panic() {
        let message = LearnedMessage::decode(&[3, 0, 1, 0, b'A', 21, 2, 0, 15, 19, 8]).unwrap();
        let value = Value::new(message.structure().piece(), &[2, b'h', b'i', 1]);
        let error = serde_json::to_string(&value).unwrap_err();
        assert_eq!(error.to_string(), "the message is too short");
    }
}
