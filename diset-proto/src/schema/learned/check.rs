//! Bytes held against a learned structure: what `check_structure` does for types that are
//! compiled in, and that no key of a map is repeated.

use alloc::vec::Vec;

use super::structure::{Piece, Shape, Structure, Variant};
use crate::schema::walk::{self, Invalid};

/// What any message may cost, and what for each of its bytes (PROTOCOL M-6). Only names of
/// more than 62 bytes for each byte of the payload bring a structure there whose parts all
/// take bytes.
const BUDGET: usize = 16_384;
const BUDGET_PER_BYTE: usize = 64;

impl Structure {
    /// Whether `bytes` are exactly one value of this structure (PROTOCOL M-2).
    ///
    /// The work, and what is shown of the value, are bounded by the number of bytes, whatever
    /// the structure is (PROTOCOL M-6). For the keys of maps so many pointers are set aside as
    /// there are keys in the bytes.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Invalid> {
        let mut rest = bytes;
        let budget = bytes.len().saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET);
        Walk(budget).value(self.piece(), &mut rest)?;
        match rest.len() {
            0 => Ok(()),
            left => Err(Invalid::LeftOver(left)),
        }
    }
}

/// Takes one value off the front of bytes that were checked.
pub(super) fn skip(piece: Piece<'_>, rest: &mut &[u8]) -> Result<(), Invalid> {
    Walk(usize::MAX).value(piece, rest)
}

/// Whether two of these are equal; sorts them.
pub(super) fn repeated(keys: &mut [&[u8]]) -> bool {
    keys.sort_unstable();
    let mut pairs = keys.iter().zip(keys.iter().skip(1));
    pairs.any(|(one, other)| one == other)
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

/// What is left of the budget.
struct Walk(usize);

impl Walk {
    fn pay(&mut self, cost: usize) -> Result<(), Invalid> {
        self.0 = self.0.checked_sub(cost).ok_or(Invalid::TooMuchWork)?;
        Ok(())
    }

    fn value(&mut self, piece: Piece<'_>, rest: &mut &[u8]) -> Result<(), Invalid> {
        self.pay(1)?;
        match piece {
            Piece::One(shape) => self.shape(shape, rest),
            Piece::Pair(key, value) => {
                self.value(key.piece(), rest)?;
                self.value(value.piece(), rest)
            }
            Piece::Tuple(items) => items.iter().try_for_each(|item| self.value(item.piece(), rest)),
            Piece::Record(attributes) => attributes.iter().try_for_each(|attribute| {
                self.pay(shown_length(attribute.name()))?;
                self.value(attribute.structure().piece(), rest)
            }),
        }
    }

    fn shape(&mut self, shape: &Shape, rest: &mut &[u8]) -> Result<(), Invalid> {
        match shape {
            Shape::Bool => walk::flag(rest).map(drop),
            Shape::I8 | Shape::U8 => walk::take(rest, 1).map(drop),
            Shape::I16 | Shape::U16 => walk::number(rest, 16).map(drop),
            Shape::I32 | Shape::U32 => walk::number(rest, 32).map(drop),
            Shape::I64 | Shape::U64 => walk::number(rest, 64).map(drop),
            Shape::I128 | Shape::U128 => walk::number(rest, 128).map(drop),
            Shape::F32 => walk::take(rest, 4).map(drop),
            Shape::F64 => walk::take(rest, 8).map(drop),
            Shape::Char => walk::character(rest).map(drop),
            Shape::String => walk::text(rest).map(drop),
            Shape::Bytes => walk::counted(rest).map(drop),
            Shape::Unit => Ok(()),
            Shape::Option(inner) => {
                if walk::flag(rest)? {
                    self.value(inner.piece(), rest)?;
                }
                Ok(())
            }
            Shape::Sequence(inner) => (0..walk::length(rest)?).try_for_each(|_| self.value(inner.piece(), rest)),
            Shape::Map { key, value } => self.map(key, value, rest),
            Shape::Tuple(items) => self.value(Piece::Tuple(items), rest),
            Shape::Structure(attributes) => self.value(Piece::Record(attributes), rest),
            Shape::Enum(variants) => {
                let variant = chosen(variants, rest)?;
                self.pay(shown_length(variant.name()))?;
                variant.shape().piece().map_or(Ok(()), |piece| self.value(piece, rest))
            }
        }
    }

    /// A map that was read with a repeated key has one entry less when it is written again,
    /// so it is not in canonical form (PROTOCOL M-2).
    fn map(&mut self, key: &Structure, value: &Structure, rest: &mut &[u8]) -> Result<(), Invalid> {
        let mut keys = Vec::new();
        for _ in 0..walk::length(rest)? {
            let start = *rest;
            self.value(key.piece(), rest)?;
            keys.push(start.get(..start.len() - rest.len()).unwrap_or_default());
            self.value(value.piece(), rest)?;
        }
        if repeated(&mut keys) {
            return Err(Invalid::NotCanonical);
        }
        Ok(())
    }
}

/// The variant whose number comes next.
pub(super) fn chosen<'s>(variants: &'s [Variant], rest: &mut &[u8]) -> Result<&'s Variant, Invalid> {
    let number = u32::try_from(walk::number(rest, 32)?).map_err(|_| Invalid::Number)?;
    let variant = usize::try_from(number).ok().and_then(|number| variants.get(number));
    variant.ok_or(Invalid::Variant(number))
}
