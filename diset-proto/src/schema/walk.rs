//! The one walk over a structure and a payload: whether bytes are valid, for those without the type.

use postcard_schema::schema::{DataModelType as Ty, DataModelVariant as Variant, NamedType, NamedValue};

use super::cursor::{self, Rest};
use super::invalid::Invalid;
use crate::limits::MAX_DEPTH;

/// What is in one place of a structure, whether that was compiled in or learned.
pub(super) trait Described: Copy {
    /// What a value takes.
    fn form(self) -> Form<Self>;
    /// The part of a tuple or structure at this place, and what its name costs.
    fn part(self, at: usize) -> Option<(usize, Self)>;
    /// What follows the number of this variant, unless that is nothing, and what its name costs.
    fn variant(self, number: usize) -> Option<(usize, Option<Self>)>;
}

/// What a value takes.
pub(super) enum Form<D> {
    Leaf(Leaf),
    Option(D),
    Sequence(D),
    Map(D, D),
    /// One value of each part, which may be none.
    Parts,
    /// A variant, of so many.
    Choice(usize),
    /// No definition has this (PROTOCOL S-1).
    Undefined,
}

/// A value without parts.
#[derive(Clone, Copy)]
pub(super) enum Leaf {
    Bool,
    /// So many bytes, whatever they are.
    Bytes(usize),
    /// A number of so many bits.
    Number(usize),
    Char,
    Text,
    Counted,
}

impl Leaf {
    #[inline]
    fn skip(self, rest: &mut Rest<'_>) -> Result<(), Invalid> {
        match self {
            Self::Bool => cursor::flag(rest).map(drop),
            Self::Bytes(count) => cursor::take(rest, count).map(drop),
            Self::Number(bits) => cursor::number(rest, bits),
            Self::Char => cursor::character(rest).map(drop),
            Self::Text => cursor::text(rest).map(drop),
            Self::Counted => cursor::counted(rest).map(drop),
        }
    }
}

/// Whether `bytes` are exactly one value of the structure (PROTOCOL M-2). `pay` is told the cost of each part (M-6), and
/// ends the walk by an error.
pub(super) fn check<D: Described>(
    structure: D,
    bytes: &[u8],
    mut pay: impl FnMut(usize) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let mut rest = bytes.iter();
    value(structure, &mut rest, 0, &mut pay)?;
    cursor::end(&rest)
}

/// Takes one value off the front of bytes that were checked.
#[cfg(feature = "alloc")]
pub(super) fn skip<D: Described>(structure: D, rest: &mut Rest<'_>) -> Result<(), Invalid> {
    value(structure, rest, 0, &mut |_| Ok(()))
}

#[inline]
const fn check_depth(depth: usize) -> Result<(), Invalid> {
    // An enum and what is in its variant are two here, and may be one for PROTOCOL S-1.
    if depth > 2 * MAX_DEPTH {
        return Err(Invalid::Depth);
    }
    Ok(())
}

fn value<D: Described, P: FnMut(usize) -> Result<(), Invalid>>(
    structure: D,
    rest: &mut Rest<'_>,
    depth: usize,
    pay: &mut P,
) -> Result<(), Invalid> {
    check_depth(depth)?;
    pay(1)?;
    match structure.form() {
        Form::Leaf(leaf) => leaf.skip(rest),
        Form::Option(inner) => match cursor::flag(rest)? {
            true => value(inner, rest, depth + 1, pay),
            false => Ok(()),
        },
        Form::Sequence(inner) => elements(inner, rest, depth + 1, pay),
        Form::Map(key, inner) => (0..cursor::length(rest)?).try_for_each(|_| {
            value(key, rest, depth + 1, pay)?;
            value(inner, rest, depth + 1, pay)
        }),
        Form::Parts => {
            let mut parts = (0..).map_while(|at| structure.part(at));
            parts.try_for_each(|(cost, part)| {
                pay(cost)?;
                value(part, rest, depth + 1, pay)
            })
        }
        Form::Choice(count) => {
            let number = cursor::variant(rest, count)?;
            let variant = structure.variant(number as usize);
            let (cost, inner) = variant.ok_or(Invalid::Variant(number))?;
            pay(cost)?;
            inner.map_or(Ok(()), |inner| value(inner, rest, depth + 1, pay))
        }
        Form::Undefined => Err(Invalid::Unread),
    }
}

/// The elements of a sequence: there may be many, so the form of those without parts is looked up once.
// Called and not copied: all other values are read with fewer registers.
#[inline(never)]
fn elements<D: Described, P: FnMut(usize) -> Result<(), Invalid>>(
    structure: D,
    rest: &mut Rest<'_>,
    depth: usize,
    pay: &mut P,
) -> Result<(), Invalid> {
    let count = cursor::length(rest)?;
    match structure.form() {
        Form::Leaf(Leaf::Bytes(1)) if count > 0 => {
            check_depth(depth)?;
            pay(count)?;
            cursor::take(rest, count).map(drop)
        }
        Form::Leaf(leaf) if count > 0 => {
            check_depth(depth)?;
            (0..count).try_for_each(|_| {
                pay(1)?;
                leaf.skip(rest)
            })
        }
        _ => (0..count).try_for_each(|_| value(structure, rest, depth, pay)),
    }
}

/// Whether `bytes` are exactly one value of the structure: as [`decode`](crate::decode), for those without the type.
///
/// Bounded by the bytes and by [`MAX_DEPTH`]; allocates nothing.
///
/// # Errors
/// The first thing that does not fit.
pub fn check_structure(ty: &NamedType, bytes: &[u8]) -> Result<(), Invalid> {
    check(Compiled::of(ty), bytes, |_| Ok(()))
}

/// What is in one place of a type's schema. A tuple is the same alone and in a variant, and so are attributes.
#[derive(Clone, Copy)]
enum Compiled<'s> {
    /// Neither a tuple nor a structure.
    One(&'s Ty),
    Tuple(&'s [&'s NamedType]),
    Record(&'s [&'s NamedValue]),
}

impl<'s> Compiled<'s> {
    const fn of(ty: &'s NamedType) -> Self {
        match ty.ty {
            Ty::NewtypeStruct(inner) => Self::Tuple(core::slice::from_ref(inner)),
            Ty::Tuple(items) | Ty::TupleStruct(items) => Self::Tuple(items),
            Ty::Struct(attributes) => Self::Record(attributes),
            other => Self::One(other),
        }
    }
}

impl Described for Compiled<'_> {
    fn form(self) -> Form<Self> {
        let Self::One(ty) = self else { return Form::Parts };
        match ty {
            Ty::Bool => Form::Leaf(Leaf::Bool),
            Ty::I8 | Ty::U8 => Form::Leaf(Leaf::Bytes(1)),
            Ty::I16 | Ty::U16 => Form::Leaf(Leaf::Number(16)),
            Ty::I32 | Ty::U32 => Form::Leaf(Leaf::Number(32)),
            Ty::I64 | Ty::U64 => Form::Leaf(Leaf::Number(64)),
            Ty::I128 | Ty::U128 => Form::Leaf(Leaf::Number(128)),
            Ty::F32 => Form::Leaf(Leaf::Bytes(4)),
            Ty::F64 => Form::Leaf(Leaf::Bytes(8)),
            Ty::Char => Form::Leaf(Leaf::Char),
            Ty::String => Form::Leaf(Leaf::Text),
            Ty::ByteArray => Form::Leaf(Leaf::Counted),
            Ty::Unit | Ty::UnitStruct => Form::Leaf(Leaf::Bytes(0)),
            Ty::Option(inner) => Form::Option(Self::of(inner)),
            Ty::Seq(inner) => Form::Sequence(Self::of(inner)),
            Ty::Map { key, val } => Form::Map(Self::of(key), Self::of(val)),
            Ty::NewtypeStruct(_) | Ty::Tuple(_) | Ty::TupleStruct(_) | Ty::Struct(_) => Form::Parts,
            Ty::Enum(variants) => Form::Choice(variants.len()),
            Ty::Usize | Ty::Isize | Ty::Schema => Form::Undefined,
        }
    }

    fn part(self, at: usize) -> Option<(usize, Self)> {
        let part = match self {
            Self::One(_) => None,
            Self::Tuple(items) => items.get(at).copied(),
            Self::Record(attributes) => attributes.get(at).map(|attribute| attribute.ty),
        };
        Some((0, Self::of(part?)))
    }

    fn variant(self, number: usize) -> Option<(usize, Option<Self>)> {
        let Self::One(Ty::Enum(variants)) = self else {
            return None;
        };
        let inner = match variants.get(number)?.ty {
            Variant::UnitVariant => None,
            Variant::NewtypeVariant(inner) => Some(Self::of(inner)),
            Variant::TupleVariant(items) => Some(Self::Tuple(items)),
            Variant::StructVariant(attributes) => Some(Self::Record(attributes)),
        };
        Some((0, inner))
    }
}
