//! What a value should have been, in words for people.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use core::fmt::{self, Display};

use super::structure::{Piece, Plain, Shape};

/// Why a value cannot be encoded: where, and what was expected.
///
/// Printed for people: `` `samples[3].value`: expected a number, got the text "x" ``. It may
/// show the beginning of a text that was given to encode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    path: Box<str>,
    reason: Box<str>,
}

impl EncodeError {
    pub(super) fn new(path: &[Step<'_>], reason: impl Display) -> Self {
        Self {
            path: Path(path).to_string().into(),
            reason: reason.to_string().into(),
        }
    }

    /// The place in the message: names of attributes and variants with points between, and
    /// indices and keys in brackets. Empty for the message as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => f.write_str(&self.reason),
            path => write!(f, "`{path}`: {}", self.reason),
        }
    }
}

impl core::error::Error for EncodeError {}

/// One step into a message.
#[derive(Debug)]
pub(super) enum Step<'s> {
    Name(&'s str),
    Index(usize),
    Key(Box<str>),
}

struct Path<'p>(&'p [Step<'p>]);

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, step)| match step {
            Step::Name(name) => write!(f, "{}{}", if at == 0 { "" } else { "." }, Plain(name)),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{}]", Quoted(key)),
        })
    }
}

/// The beginning of a text, in quotes and with escapes.
pub(super) struct Quoted<'t>(pub(super) &'t str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// The first of some names, each in backquotes.
pub(super) struct Names<I>(pub(super) I);

impl<'n, I: Iterator<Item = &'n str> + Clone> Display for Names<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        self.0.clone().take(SHOWN).enumerate().try_for_each(|(at, name)| {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}`{}`", Plain(name))
        })?;
        match self.0.clone().skip(SHOWN).count() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What is expected in this place.
pub(super) struct Expected<'s>(pub(super) Piece<'s>);

impl Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Piece::One(shape) => expected(shape, f),
            Piece::Pair(..) => f.write_str("an array [key, value]"),
            Piece::Tuple(items) => write!(f, "an array of {} elements", items.len()),
            Piece::Record([]) => f.write_str("an object without attributes"),
            Piece::Record(attributes) => {
                let names = Names(attributes.iter().map(|attribute| attribute.name()));
                write!(f, "an object with the attributes {names}")
            }
        }
    }
}

fn expected(shape: &Shape, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match shape {
        Shape::Bool => f.write_str("true or false"),
        Shape::I8 => whole(i8::MIN, i8::MAX, f),
        Shape::I16 => whole(i16::MIN, i16::MAX, f),
        Shape::I32 => whole(i32::MIN, i32::MAX, f),
        Shape::I64 => whole(i64::MIN, i64::MAX, f),
        Shape::I128 => whole(i128::MIN, i128::MAX, f),
        Shape::U8 => unsigned(u8::MAX, f),
        Shape::U16 => unsigned(u16::MAX, f),
        Shape::U32 => unsigned(u32::MAX, f),
        Shape::U64 => unsigned(u64::MAX, f),
        Shape::U128 => unsigned(u128::MAX, f),
        Shape::F32 => write!(f, "a number up to {:e}, or the text NaN, inf or -inf", f32::MAX),
        Shape::F64 => f.write_str("a number, or the text NaN, inf or -inf"),
        Shape::Char => f.write_str("a text of one character"),
        Shape::String => f.write_str("a text"),
        Shape::Bytes => f.write_str("a text of hexadecimal digits, two for each byte"),
        Shape::Unit => f.write_str("null"),
        Shape::Option(inner) if inner.is_nullable() => f.write_str("null or {\"Some\": …}"),
        Shape::Option(inner) => write!(f, "null or {}", Expected(inner.piece())),
        Shape::Sequence(_) => f.write_str("an array"),
        Shape::Map { key, .. } if matches!(key.shape(), Shape::String) => f.write_str("an object"),
        Shape::Map { .. } => f.write_str("an array of arrays [key, value]"),
        Shape::Tuple(items) => Expected(Piece::Tuple(items)).fmt(f),
        Shape::Structure(attributes) => Expected(Piece::Record(attributes)).fmt(f),
        Shape::Enum(variants) => {
            let names = Names(variants.iter().map(|variant| variant.name()));
            write!(f, "one of the variants {names}")
        }
    }
}

fn whole(least: impl Display, most: impl Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "a whole number from {least} to {most}")
}

fn unsigned(most: impl Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "an unsigned number up to {most}")
}
