//! Values of any structure, read and written through serde as a type would: the decoder and the walk, held against each
//! other and against postcard.

use core::fmt;

use diset_proto::{Attribute, Invalid, Shape, Structure, VariantShape, decode_seed};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::ser::{
    SerializeMap as _, SerializeSeq as _, SerializeStruct as _, SerializeStructVariant as _, SerializeTuple as _,
    SerializeTupleVariant as _,
};
use serde::{Deserialize, Serialize, Serializer};

/// The walk and the decoder say the same of these bytes, and take them exactly when postcard does and writes them again
/// as they are (PROTOCOL M-2). What the walk said.
pub(crate) fn compare(structure: &Structure, payload: &[u8]) -> Result<(), Invalid> {
    let walked = structure.check(payload);
    // Others count nothing (PROTOCOL M-6).
    if walked != Err(Invalid::TooMuchWork) {
        let decoded = decode_seed(Seed(structure), payload);
        assert_eq!(decoded.as_ref().err(), walked.as_ref().err(), "{structure}");
        assert_eq!(decoded.ok(), twice(structure, payload), "postcard differs: {structure}");
    }
    walked
}

/// What postcard reads, when it writes the same again.
fn twice(structure: &Structure, payload: &[u8]) -> Option<Value> {
    let mut reader = postcard::Deserializer::from_bytes(payload);
    let value = Seed(structure).deserialize(&mut reader).ok()?;
    let mut place = vec![0; payload.len()];
    let written = postcard::to_slice(&value, &mut place).ok()?;
    (reader.finalize().ok()?.is_empty() && written == payload).then_some(value)
}

/// Floats are their bits.
#[derive(Debug, PartialEq)]
enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    I128(i128),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    F32(u32),
    F64(u64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Unit,
    Option(Option<Box<Self>>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Tuple(Vec<Self>),
    Structure(Vec<Self>),
    UnitVariant(u32),
    OneVariant(u32, Box<Self>),
    TupleVariant(u32, Vec<Self>),
    StructureVariant(u32, Vec<Self>),
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Seed<'s>(&'s Structure);

/// Reads a value whose structure is given to serde from outside: these parts, one after the other.
struct Parts<'s>(Vec<&'s Structure>);

/// Only how many there are counts.
const NAMES: &[&str] = &[""; 256];

fn names(count: usize) -> &'static [&'static str] {
    &NAMES[..count]
}

fn structures(attributes: &[Attribute]) -> Parts<'_> {
    Parts(attributes.iter().map(Attribute::structure).collect())
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self.0.shape() {
            Shape::Bool => bool::deserialize(reader).map(Value::Bool),
            Shape::I8 => i8::deserialize(reader).map(Value::I8),
            Shape::I16 => i16::deserialize(reader).map(Value::I16),
            Shape::I32 => i32::deserialize(reader).map(Value::I32),
            Shape::I64 => i64::deserialize(reader).map(Value::I64),
            Shape::I128 => i128::deserialize(reader).map(Value::I128),
            Shape::U8 => u8::deserialize(reader).map(Value::U8),
            Shape::U16 => u16::deserialize(reader).map(Value::U16),
            Shape::U32 => u32::deserialize(reader).map(Value::U32),
            Shape::U64 => u64::deserialize(reader).map(Value::U64),
            Shape::U128 => u128::deserialize(reader).map(Value::U128),
            Shape::F32 => f32::deserialize(reader).map(|value| Value::F32(value.to_bits())),
            Shape::F64 => f64::deserialize(reader).map(|value| Value::F64(value.to_bits())),
            Shape::Char => char::deserialize(reader).map(Value::Char),
            Shape::String => String::deserialize(reader).map(Value::Text),
            Shape::Bytes => reader.deserialize_byte_buf(self),
            Shape::Unit => <()>::deserialize(reader).map(|()| Value::Unit),
            Shape::Option(_) => reader.deserialize_option(self),
            Shape::Sequence(_) => reader.deserialize_seq(self),
            Shape::Map { .. } => reader.deserialize_map(self),
            Shape::Tuple(items) => {
                let parts = reader.deserialize_tuple(items.len(), Parts(items.iter().collect()))?;
                Ok(Value::Tuple(parts))
            }
            Shape::Structure(attributes) => {
                let names = names(attributes.len());
                let parts = reader.deserialize_struct("", names, structures(attributes))?;
                Ok(Value::Structure(parts))
            }
            Shape::Enum(variants) => reader.deserialize_enum("", names(variants.len()), self),
            other => unreachable!("{other:?}"),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let Shape::Option(inner) = self.0.shape() else {
            unreachable!()
        };
        let inner = Seed(inner).deserialize(reader)?;
        Ok(Value::Option(Some(Box::new(inner))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Shape::Sequence(inner) = self.0.shape() else {
            unreachable!()
        };
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Seed(inner))? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Shape::Map { key, value } = self.0.shape() else {
            unreachable!()
        };
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry_seed(Seed(key), Seed(value))? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<Value, A::Error> {
        let Shape::Enum(variants) = self.0.shape() else {
            unreachable!()
        };
        let (number, content) = choice.variant::<u32>()?;
        let variant = variants.get(number as usize);
        let variant = variant.ok_or_else(|| A::Error::custom("no such variant"))?;
        Ok(match variant.shape() {
            VariantShape::Unit => {
                content.unit_variant()?;
                Value::UnitVariant(number)
            }
            VariantShape::One(inner) => Value::OneVariant(number, Box::new(content.newtype_variant_seed(Seed(inner))?)),
            VariantShape::Tuple(items) => {
                let parts = Parts(items.iter().collect());
                Value::TupleVariant(number, content.tuple_variant(items.len(), parts)?)
            }
            VariantShape::Structure(attributes) => {
                let names = names(attributes.len());
                let parts = content.struct_variant(names, structures(attributes))?;
                Value::StructureVariant(number, parts)
            }
            other => unreachable!("{other:?}"),
        })
    }
}

impl<'de> Visitor<'de> for Parts<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parts", self.0.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Vec<Value>, A::Error> {
        let each = self.0.iter().map(|structure| {
            let part = parts.next_element_seed(Seed(structure))?;
            part.ok_or_else(|| A::Error::custom("a part is missing"))
        });
        each.collect()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => value.serialize(writer),
            Self::I8(value) => value.serialize(writer),
            Self::I16(value) => value.serialize(writer),
            Self::I32(value) => value.serialize(writer),
            Self::I64(value) => value.serialize(writer),
            Self::I128(value) => value.serialize(writer),
            Self::U8(value) => value.serialize(writer),
            Self::U16(value) => value.serialize(writer),
            Self::U32(value) => value.serialize(writer),
            Self::U64(value) => value.serialize(writer),
            Self::U128(value) => value.serialize(writer),
            Self::F32(bits) => f32::from_bits(*bits).serialize(writer),
            Self::F64(bits) => f64::from_bits(*bits).serialize(writer),
            Self::Char(value) => value.serialize(writer),
            Self::Text(value) => value.serialize(writer),
            Self::Bytes(value) => writer.serialize_bytes(value),
            Self::Unit => writer.serialize_unit(),
            Self::Option(value) => value.serialize(writer),
            Self::List(values) => {
                let mut list = writer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = writer.serialize_map(Some(entries.len()))?;
                let mut each = entries.iter();
                each.try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
            Self::Tuple(values) => {
                let mut tuple = writer.serialize_tuple(values.len())?;
                values.iter().try_for_each(|value| tuple.serialize_element(value))?;
                tuple.end()
            }
            Self::Structure(values) => {
                let mut record = writer.serialize_struct("", values.len())?;
                values.iter().try_for_each(|value| record.serialize_field("", value))?;
                record.end()
            }
            Self::UnitVariant(number) => writer.serialize_unit_variant("", *number, ""),
            Self::OneVariant(number, value) => writer.serialize_newtype_variant("", *number, "", value),
            Self::TupleVariant(number, values) => {
                let mut tuple = writer.serialize_tuple_variant("", *number, "", values.len())?;
                values.iter().try_for_each(|value| tuple.serialize_field(value))?;
                tuple.end()
            }
            Self::StructureVariant(number, values) => {
                let mut record = writer.serialize_struct_variant("", *number, "", values.len())?;
                values.iter().try_for_each(|value| record.serialize_field("", value))?;
                record.end()
            }
        }
    }
}
