//! The structure of a message as a value, and how it is printed.

use alloc::boxed::Box;
use core::fmt::{self, Display, Write as _};

/// The structure of a message that a peer described.
///
/// It keeps the limits of PROTOCOL S-1: it is nested at most 16 deep, has at most 256
/// elements in each place, and its names are not empty and not repeated.
///
/// Printed on one line: `bool`, `i8` to `u128`, `f32`, `f64`, `char`, `str`, `bytes`,
/// `unit`; `option T`; `[ T ]` for a sequence; `map of K to V`; `(T, U)` for a tuple,
/// `[T; 3]` for one whose elements are alike; `{ name: T, … }` for a structure;
/// `One | Two(T) | Three { name: T }` for an enum, in parentheses where it is a part of
/// an option or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure(pub(super) Shape);

impl Structure {
    /// What it is made of.
    pub const fn shape(&self) -> &Shape {
        &self.0
    }

    /// Whether a value may take no byte at all.
    pub(super) fn may_be_empty(&self) -> bool {
        match &self.0 {
            Shape::Unit => true,
            Shape::Tuple(items) => items.iter().all(Self::may_be_empty),
            Shape::Structure(attributes) => attributes.iter().all(|attribute| attribute.structure.may_be_empty()),
            _ => false,
        }
    }
}

/// What a structure is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// A boolean.
    Bool,
    /// A signed number of 8 bits.
    I8,
    /// A signed number of 16 bits.
    I16,
    /// A signed number of 32 bits.
    I32,
    /// A signed number of 64 bits.
    I64,
    /// A signed number of 128 bits.
    I128,
    /// An unsigned number of 8 bits.
    U8,
    /// An unsigned number of 16 bits.
    U16,
    /// An unsigned number of 32 bits.
    U32,
    /// An unsigned number of 64 bits.
    U64,
    /// An unsigned number of 128 bits.
    U128,
    /// A floating-point number of 32 bits.
    F32,
    /// A floating-point number of 64 bits.
    F64,
    /// One character.
    Char,
    /// A text.
    String,
    /// Bytes.
    Bytes,
    /// Nothing to say.
    Unit,
    /// A value or none.
    Option(Box<Structure>),
    /// Any number of values.
    Sequence(Box<Structure>),
    /// Any number of keys, each once, with their values.
    Map {
        /// The structure of the keys.
        key: Box<Structure>,
        /// The structure of the values.
        value: Box<Structure>,
    },
    /// So many values; an array is a tuple whose elements are alike.
    Tuple(Box<[Structure]>),
    /// Attributes, in the order of their definition.
    Structure(Box<[Attribute]>),
    /// One of these variants; a variant's number is its place.
    Enum(Box<[Variant]>),
}

/// An attribute of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub(super) name: Box<str>,
    pub(super) structure: Structure,
}

impl Attribute {
    /// Its name. It comes from the peer and may hold any character.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its structure.
    pub const fn structure(&self) -> &Structure {
        &self.structure
    }
}

/// A variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub(super) name: Box<str>,
    pub(super) shape: VariantShape,
}

impl Variant {
    /// Its name. It comes from the peer and may hold any character.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of.
    pub const fn shape(&self) -> &VariantShape {
        &self.shape
    }
}

/// What a variant is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariantShape {
    /// Its name alone.
    Unit,
    /// One value.
    One(Box<Structure>),
    /// So many values.
    Tuple(Box<[Structure]>),
    /// Attributes, in the order of their definition.
    Structure(Box<[Attribute]>),
}

/// What stands in one place of a message. A tuple is the same alone and in a variant, and so
/// are attributes.
#[derive(Clone, Copy)]
pub(super) enum Piece<'s> {
    /// Neither a tuple nor a structure.
    One(&'s Shape),
    /// An entry of a map.
    Pair(&'s Structure, &'s Structure),
    Tuple(&'s [Structure]),
    Record(&'s [Attribute]),
}

impl Structure {
    pub(super) const fn piece(&self) -> Piece<'_> {
        match &self.0 {
            Shape::Tuple(items) => Piece::Tuple(items),
            Shape::Structure(attributes) => Piece::Record(attributes),
            shape => Piece::One(shape),
        }
    }

    /// Whether a value may be shown as null, so that an option of it cannot.
    pub(super) const fn is_nullable(&self) -> bool {
        matches!(self.0, Shape::Option(_) | Shape::Unit)
    }
}

impl VariantShape {
    /// What follows the variant's number, unless that is nothing.
    pub(super) const fn piece(&self) -> Option<Piece<'_>> {
        match self {
            Self::Unit => None,
            Self::One(inner) => Some(inner.piece()),
            Self::Tuple(items) => Some(Piece::Tuple(items)),
            Self::Structure(attributes) => Some(Piece::Record(attributes)),
        }
    }
}

/// A text of the peer, with every character that is not printable written as an escape: it could
/// steer a terminal, or show nothing. The backslash is one, too, so that no name looks like another.
pub(super) struct Plain<'t>(pub(super) &'t str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '"' | '\'' => f.write_char(character),
            _ => write!(f, "{}", character.escape_debug()),
        })
    }
}

impl Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Option(inner) => write!(f, "option {}", Part(inner)),
            Shape::Sequence(inner) => write!(f, "[ {inner} ]"),
            Shape::Map { key, value } => write!(f, "map of {} to {}", Part(key), Part(value)),
            Shape::Tuple(items) => tuple(items, f),
            Shape::Structure(attributes) => record(attributes, f),
            Shape::Enum(variants) => choice(variants, f),
            other => f.write_str(simple(other)),
        }
    }
}

/// The names of the shapes that have no parts.
const fn simple(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool => "bool",
        Shape::I8 => "i8",
        Shape::I16 => "i16",
        Shape::I32 => "i32",
        Shape::I64 => "i64",
        Shape::I128 => "i128",
        Shape::U8 => "u8",
        Shape::U16 => "u16",
        Shape::U32 => "u32",
        Shape::U64 => "u64",
        Shape::U128 => "u128",
        Shape::F32 => "f32",
        Shape::F64 => "f64",
        Shape::Char => "char",
        Shape::String => "str",
        Shape::Bytes => "bytes",
        Shape::Unit => "unit",
        Shape::Option(_) => "option",
        Shape::Sequence(_) => "sequence",
        Shape::Map { .. } => "map",
        Shape::Tuple(_) => "tuple",
        Shape::Structure(_) => "structure",
        Shape::Enum(_) => "enum",
    }
}

/// A part of an option or map: an enum would run into what follows.
struct Part<'s>(&'s Structure);

impl Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.shape() {
            Shape::Enum(_) => write!(f, "({})", self.0),
            _ => self.0.fmt(f),
        }
    }
}

fn tuple(items: &[Structure], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match items {
        [only] => write!(f, "({only},)"),
        [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|item| item == first) => {
            write!(f, "[{first}; {}]", items.len())
        }
        _ => {
            f.write_char('(')?;
            list(items, f, |item, f| item.fmt(f))?;
            f.write_char(')')
        }
    }
}

fn record(attributes: &[Attribute], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if attributes.is_empty() {
        return f.write_str("{}");
    }
    f.write_str("{ ")?;
    list(attributes, f, |attribute, f| {
        write!(f, "{}: {}", Plain(&attribute.name), attribute.structure)
    })?;
    f.write_str(" }")
}

fn list<T>(
    items: &[T],
    f: &mut fmt::Formatter<'_>,
    each: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(at, item)| {
        f.write_str(if at == 0 { "" } else { ", " })?;
        each(item, f)
    })
}

fn choice(variants: &[Variant], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if variants.is_empty() {
        return f.write_str("no variant");
    }
    variants.iter().enumerate().try_for_each(|(at, variant)| {
        f.write_str(if at == 0 { "" } else { " | " })?;
        write!(f, "{}", Plain(&variant.name))?;
        match &variant.shape {
            VariantShape::Unit => Ok(()),
            VariantShape::One(inner) => write!(f, "({inner})"),
            VariantShape::Tuple(items) => named_tuple(items, f),
            VariantShape::Structure(attributes) => named_record(attributes, f),
        }
    })
}

fn named_tuple(items: &[Structure], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // An array after a name would look like an index.
    match items {
        [only] => write!(f, "({only},)"),
        _ => {
            f.write_char('(')?;
            list(items, f, |item, f| item.fmt(f))?;
            f.write_char(')')
        }
    }
}

fn named_record(attributes: &[Attribute], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char(' ')?;
    record(attributes, f)
}

/// A message: its name, then what it is made of, as a variant is printed.
pub(super) fn message(name: &str, structure: &Structure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", Plain(name))?;
    match &structure.0 {
        Shape::Unit => Ok(()),
        Shape::Tuple(items) => named_tuple(items, f),
        Shape::Structure(attributes) => named_record(attributes, f),
        _ => write!(f, "({structure})"),
    }
}
