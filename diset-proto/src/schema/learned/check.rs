//! Learned structures for the walk, and what a message of one may cost.

use super::structure::{Piece, Shape, Structure};
use crate::schema::invalid::Invalid;
use crate::schema::walk::{self, Described, Form, Leaf};

/// What any message may cost, and what for each of its bytes (PROTOCOL M-6). Only names of
/// more than 62 bytes for each byte of the payload bring a structure there whose parts all
/// take bytes.
const BUDGET: usize = 16_384;
const BUDGET_PER_BYTE: usize = 64;

impl Structure {
    /// Whether `bytes` are exactly one value of this structure (PROTOCOL M-2).
    ///
    /// The work, and what is shown of the value, are bounded by the number of bytes, whatever
    /// the structure is (PROTOCOL M-6). Allocates nothing.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Invalid> {
        let mut budget = bytes.len().saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET);
        walk::check(self.piece(), bytes, |cost| {
            budget = budget.checked_sub(cost).ok_or(Invalid::TooMuchWork)?;
            Ok(())
        })
    }
}

/// The length of a name as JSON shows it.
fn shown_length(name: &str) -> usize {
    let lengths = name.bytes().map(|byte| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    });
    lengths.sum()
}

impl Described for Piece<'_> {
    fn form(self) -> Form<Self> {
        let Self::One(shape) = self else { return Form::Parts };
        match shape {
            Shape::Bool => Form::Leaf(Leaf::Bool),
            Shape::I8 | Shape::U8 => Form::Leaf(Leaf::Bytes(1)),
            Shape::I16 | Shape::U16 => Form::Leaf(Leaf::Number(16)),
            Shape::I32 | Shape::U32 => Form::Leaf(Leaf::Number(32)),
            Shape::I64 | Shape::U64 => Form::Leaf(Leaf::Number(64)),
            Shape::I128 | Shape::U128 => Form::Leaf(Leaf::Number(128)),
            Shape::F32 => Form::Leaf(Leaf::Bytes(4)),
            Shape::F64 => Form::Leaf(Leaf::Bytes(8)),
            Shape::Char => Form::Leaf(Leaf::Char),
            Shape::String => Form::Leaf(Leaf::Text),
            Shape::Bytes => Form::Leaf(Leaf::Counted),
            Shape::Unit => Form::Leaf(Leaf::Bytes(0)),
            Shape::Option(inner) => Form::Option(inner.piece()),
            Shape::Sequence(inner) => Form::Sequence(inner.piece()),
            Shape::Map { key, value } => Form::Map(key.piece(), value.piece()),
            Shape::Tuple(_) | Shape::Structure(_) => Form::Parts,
            Shape::Enum(variants) => Form::Choice(variants.len()),
        }
    }

    fn part(self, at: usize) -> Option<(usize, Self)> {
        match self {
            Self::One(_) => None,
            Self::Pair(key, value) => Some((0, [key, value].get(at)?.piece())),
            Self::Tuple(items) => Some((0, items.get(at)?.piece())),
            Self::Record(attributes) => {
                let attribute = attributes.get(at)?;
                Some((shown_length(attribute.name()), attribute.structure().piece()))
            }
        }
    }

    fn variant(self, number: usize) -> Option<(usize, Option<Self>)> {
        let Self::One(Shape::Enum(variants)) = self else {
            return None;
        };
        let variant = variants.get(number)?;
        Some((shown_length(variant.name()), variant.shape().piece()))
    }
}
