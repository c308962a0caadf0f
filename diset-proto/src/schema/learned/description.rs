//! Descriptions of messages and of other entries: bytes of a peer into structures, and back.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::structure::{Attribute, Shape, Structure, Variant, VariantShape};
use crate::definition::{Direction, EntryKind};
use crate::limits::{MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE_NAME};
use crate::schema::canonical::{kind, variant};

/// Why the description of a message or another entry, or a catalog of them, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadDescription {
    /// The bytes end inside the description.
    TooShort,
    /// So many bytes are left over.
    LeftOver(usize),
    /// No direction has this number.
    Direction(u8),
    /// No kind of entry has this number.
    Kind(u8),
    /// A name is empty, longer than 64 bytes or not UTF-8.
    Name,
    /// Two attributes of a structure, variants of an enum or messages have one name.
    SameName,
    /// No kind of type has this number.
    Type(u8),
    /// No kind of variant has this number.
    Variant(u8),
    /// The structure is nested more than [`MAX_DEPTH`] deep.
    Depth,
    /// A tuple, structure or enum has more than [`MAX_ELEMENTS`] elements.
    Elements(u16),
    /// The elements of a sequence, or the keys of a map, may take no bytes.
    Unbounded,
    /// There are more than [`MAX_MESSAGES`](crate::limits::MAX_MESSAGES) messages.
    Messages,
    /// The descriptions take more than [`MAX_CATALOG`](crate::limits::MAX_CATALOG) bytes.
    TooLong,
}

impl fmt::Display for BadDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("the description is too short"),
            Self::LeftOver(count) => write!(f, "{count} bytes left over after the description"),
            Self::Direction(number) => write!(f, "there is no direction {number}"),
            Self::Kind(number) => write!(f, "there is no kind of entry {number}"),
            Self::Name => f.write_str("a name is empty, longer than 64 bytes or not UTF-8"),
            Self::SameName => f.write_str("two attributes, variants or messages have the same name"),
            Self::Type(number) => write!(f, "there is no type {number}"),
            Self::Variant(number) => write!(f, "there is no kind of variant {number}"),
            Self::Depth => f.write_str("the structure is nested more than 16 deep"),
            Self::Elements(count) => write!(f, "{count} elements in one place, more than 256"),
            Self::Unbounded => f.write_str("the elements of a sequence or keys of a map may take no bytes"),
            Self::Messages => f.write_str("there are more than 128 messages"),
            Self::TooLong => f.write_str("the descriptions take more than 64 KiB"),
        }
    }
}

impl core::error::Error for BadDescription {}

/// What is not read yet.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], BadDescription> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BadDescription::TooShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BadDescription> {
        let (&first, rest) = self.0.split_first().ok_or(BadDescription::TooShort)?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u16, BadDescription> {
        let (&number, rest) = self.0.split_first_chunk().ok_or(BadDescription::TooShort)?;
        self.0 = rest;
        Ok(u16::from_le_bytes(number))
    }

    fn name(&mut self) -> Result<&'b str, BadDescription> {
        let length = usize::from(self.number()?);
        if length == 0 || length > MAX_MESSAGE_NAME {
            return Err(BadDescription::Name);
        }
        core::str::from_utf8(self.take(length)?).map_err(|_| BadDescription::Name)
    }

    /// How many elements follow, each of at least `least` bytes: so many bytes are there
    /// before anything is set aside for them (PROTOCOL S-7).
    fn elements(&mut self, least: usize) -> Result<usize, BadDescription> {
        let number = self.number()?;
        let count = usize::from(number);
        if count > MAX_ELEMENTS {
            return Err(BadDescription::Elements(number));
        }
        if count * least > self.0.len() {
            return Err(BadDescription::TooShort);
        }
        Ok(count)
    }

    /// Direction, kind and name: what comes before the types.
    pub(super) fn head(&mut self) -> Result<(Direction, EntryKind, &'b str), BadDescription> {
        let number = self.byte()?;
        let direction = Direction::from_number(number).ok_or(BadDescription::Direction(number))?;
        let number = self.byte()?;
        let kind = EntryKind::from_number(number).ok_or(BadDescription::Kind(number))?;
        Ok((direction, kind, self.name()?))
    }

    /// A whole type, and the bytes that it was read from.
    pub(super) fn whole(&mut self) -> Result<(Structure, &'b [u8]), BadDescription> {
        let start = self.0;
        let structure = self.structure(0)?;
        let canonical = start.get(..start.len() - self.0.len()).unwrap_or_default();
        Ok((structure, canonical))
    }

    /// A type (PROTOCOL S-3), at this depth of nesting.
    pub(super) fn structure(&mut self, depth: usize) -> Result<Structure, BadDescription> {
        if depth >= MAX_DEPTH {
            return Err(BadDescription::Depth);
        }
        Ok(Structure(match self.byte()? {
            kind::BOOL => Shape::Bool,
            kind::I8 => Shape::I8,
            kind::I16 => Shape::I16,
            kind::I32 => Shape::I32,
            kind::I64 => Shape::I64,
            kind::I128 => Shape::I128,
            kind::U8 => Shape::U8,
            kind::U16 => Shape::U16,
            kind::U32 => Shape::U32,
            kind::U64 => Shape::U64,
            kind::U128 => Shape::U128,
            kind::F32 => Shape::F32,
            kind::F64 => Shape::F64,
            kind::CHAR => Shape::Char,
            kind::STRING => Shape::String,
            kind::BYTES => Shape::Bytes,
            kind::UNIT => Shape::Unit,
            kind::OPTION => Shape::Option(Box::new(self.structure(depth + 1)?)),
            kind::SEQUENCE => Shape::Sequence(self.bounded(depth)?),
            kind::MAP => Shape::Map {
                key: self.bounded(depth)?,
                value: Box::new(self.structure(depth + 1)?),
            },
            kind::TUPLE => Shape::Tuple(self.tuple(depth)?),
            kind::STRUCTURE => Shape::Structure(self.record(depth)?),
            kind::ENUM => Shape::Enum(self.choice(depth)?),
            other => return Err(BadDescription::Type(other)),
        }))
    }

    /// Elements of a sequence, keys of a map.
    fn bounded(&mut self, depth: usize) -> Result<Box<Structure>, BadDescription> {
        let inner = self.structure(depth + 1)?;
        if inner.may_be_empty() {
            return Err(BadDescription::Unbounded);
        }
        Ok(Box::new(inner))
    }

    fn tuple(&mut self, depth: usize) -> Result<Box<[Structure]>, BadDescription> {
        let count = self.elements(1)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.structure(depth + 1)?);
        }
        Ok(items.into_boxed_slice())
    }

    fn record(&mut self, depth: usize) -> Result<Box<[Attribute]>, BadDescription> {
        let count = self.elements(4)?;
        let mut attributes: Vec<Attribute> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.name()?;
            if attributes.iter().any(|other| *other.name == *name) {
                return Err(BadDescription::SameName);
            }
            attributes.push(Attribute {
                name: name.into(),
                structure: self.structure(depth + 1)?,
            });
        }
        Ok(attributes.into_boxed_slice())
    }

    fn choice(&mut self, depth: usize) -> Result<Box<[Variant]>, BadDescription> {
        let count = self.elements(4)?;
        let mut variants: Vec<Variant> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.name()?;
            if variants.iter().any(|other| *other.name == *name) {
                return Err(BadDescription::SameName);
            }
            let shape = match self.byte()? {
                variant::UNIT => VariantShape::Unit,
                variant::ONE => VariantShape::One(Box::new(self.structure(depth + 1)?)),
                variant::TUPLE => VariantShape::Tuple(self.tuple(depth)?),
                variant::STRUCTURE => VariantShape::Structure(self.record(depth)?),
                other => return Err(BadDescription::Variant(other)),
            };
            variants.push(Variant {
                name: name.into(),
                shape,
            });
        }
        Ok(variants.into_boxed_slice())
    }
}

/// Writes what comes before the types.
pub(super) fn write_head(direction: Direction, kind: EntryKind, name: &str, out: &mut Vec<u8>) {
    out.extend([direction.number(), kind.number()]);
    write_name(name, out);
}

/// Writes a type (PROTOCOL S-3).
pub(super) fn write(structure: &Structure, out: &mut Vec<u8>) {
    match structure.shape() {
        Shape::Bool => out.push(kind::BOOL),
        Shape::I8 => out.push(kind::I8),
        Shape::I16 => out.push(kind::I16),
        Shape::I32 => out.push(kind::I32),
        Shape::I64 => out.push(kind::I64),
        Shape::I128 => out.push(kind::I128),
        Shape::U8 => out.push(kind::U8),
        Shape::U16 => out.push(kind::U16),
        Shape::U32 => out.push(kind::U32),
        Shape::U64 => out.push(kind::U64),
        Shape::U128 => out.push(kind::U128),
        Shape::F32 => out.push(kind::F32),
        Shape::F64 => out.push(kind::F64),
        Shape::Char => out.push(kind::CHAR),
        Shape::String => out.push(kind::STRING),
        Shape::Bytes => out.push(kind::BYTES),
        Shape::Unit => out.push(kind::UNIT),
        Shape::Option(inner) => {
            out.push(kind::OPTION);
            write(inner, out);
        }
        Shape::Sequence(inner) => {
            out.push(kind::SEQUENCE);
            write(inner, out);
        }
        Shape::Map { key, value } => {
            out.push(kind::MAP);
            write(key, out);
            write(value, out);
        }
        Shape::Tuple(items) => {
            out.push(kind::TUPLE);
            write_tuple(items, out);
        }
        Shape::Structure(attributes) => {
            out.push(kind::STRUCTURE);
            write_record(attributes, out);
        }
        Shape::Enum(variants) => {
            out.push(kind::ENUM);
            write_choice(variants, out);
        }
    }
}

fn write_tuple(items: &[Structure], out: &mut Vec<u8>) {
    write_number(items.len(), out);
    items.iter().for_each(|item| write(item, out));
}

fn write_record(attributes: &[Attribute], out: &mut Vec<u8>) {
    write_number(attributes.len(), out);
    for attribute in attributes {
        write_name(&attribute.name, out);
        write(&attribute.structure, out);
    }
}

fn write_choice(variants: &[Variant], out: &mut Vec<u8>) {
    write_number(variants.len(), out);
    for each in variants {
        write_name(&each.name, out);
        match &each.shape {
            VariantShape::Unit => out.push(variant::UNIT),
            VariantShape::One(inner) => {
                out.push(variant::ONE);
                write(inner, out);
            }
            VariantShape::Tuple(items) => {
                out.push(variant::TUPLE);
                write_tuple(items, out);
            }
            VariantShape::Structure(attributes) => {
                out.push(variant::STRUCTURE);
                write_record(attributes, out);
            }
        }
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    write_number(name.len(), out);
    out.extend_from_slice(name.as_bytes());
}

/// A length or count; those of a decoded structure are at most 256.
fn write_number(number: usize, out: &mut Vec<u8>) {
    out.extend(u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
}
