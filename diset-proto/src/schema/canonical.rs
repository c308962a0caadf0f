//! The canonical form of definitions: bytes that are equal exactly when the definitions are
//! (PROTOCOL S-3), and the refusal of those that cannot work (S-1).
//!
//! One traversal writes them: into a hash while compiling, and into a buffer to be told to
//! clients. That names are not repeated is left to the
//! compiler, which sees to it in every type: comparing all pairs takes long in a constant.

use postcard_schema::schema::{DataModelType as Ty, DataModelVariant as Variant, NamedType, NamedValue, NamedVariant};
use sha2_const_stable::Sha256;

#[cfg(feature = "alloc")]
use super::MessageDef;
use crate::definition::{Direction, EntryKind};
use crate::limits::{MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE_NAME};

/// The byte that stands for a kind of type.
pub(super) mod kind {
    pub(crate) const BOOL: u8 = 1;
    pub(crate) const I8: u8 = 2;
    pub(crate) const I16: u8 = 3;
    pub(crate) const I32: u8 = 4;
    pub(crate) const I64: u8 = 5;
    pub(crate) const I128: u8 = 6;
    pub(crate) const U8: u8 = 7;
    pub(crate) const U16: u8 = 8;
    pub(crate) const U32: u8 = 9;
    pub(crate) const U64: u8 = 10;
    pub(crate) const U128: u8 = 11;
    pub(crate) const F32: u8 = 12;
    pub(crate) const F64: u8 = 13;
    pub(crate) const CHAR: u8 = 14;
    pub(crate) const STRING: u8 = 15;
    pub(crate) const BYTES: u8 = 16;
    pub(crate) const UNIT: u8 = 17;
    pub(crate) const OPTION: u8 = 18;
    pub(crate) const SEQUENCE: u8 = 19;
    pub(crate) const MAP: u8 = 20;
    pub(crate) const TUPLE: u8 = 21;
    pub(crate) const STRUCTURE: u8 = 22;
    pub(crate) const ENUM: u8 = 23;
}

/// The byte that stands for a kind of variant.
pub(super) mod variant {
    pub(crate) const UNIT: u8 = 0;
    pub(crate) const ONE: u8 = 1;
    pub(crate) const TUPLE: u8 = 2;
    pub(crate) const STRUCTURE: u8 = 3;
}

/// Takes the canonical form in, piece by piece.
pub(super) struct Sink<'p> {
    to: To<'p>,
    /// How many bytes came.
    count: usize,
    /// Why the definition cannot work. Nothing is taken in after that.
    fault: Option<&'static str>,
}

enum To<'p> {
    Hash(Sha256),
    /// Keeps as much as there is place for.
    Bytes(&'p mut [u8]),
}

impl Sink<'static> {
    /// A hash that begins with what it is for.
    pub(super) const fn hash(purpose: &str) -> Self {
        let empty = Self {
            to: To::Hash(Sha256::new()),
            count: 0,
            fault: None,
        };
        let mut sink = empty.text(purpose);
        sink.count = 0;
        sink
    }

    /// The first half of the hash, and how many bytes were hashed after the purpose.
    ///
    /// # Errors
    /// The rule that the definition breaks.
    pub(super) const fn finish(self) -> Result<([u8; 16], usize), &'static str> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.to {
            To::Hash(hash) => match hash.finalize().first_chunk::<16>() {
                Some(half) => Ok((*half, self.count)),
                None => Err("SHA-256 has 32 bytes"),
            },
            To::Bytes(_) => Err("not a hash"),
        }
    }
}

impl<'p> Sink<'p> {
    const fn bytes(place: &'p mut [u8]) -> Self {
        Self {
            to: To::Bytes(place),
            count: 0,
            fault: None,
        }
    }

    const fn refuse(mut self, fault: &'static str) -> Self {
        if self.fault.is_none() {
            self.fault = Some(fault);
        }
        self
    }

    pub(super) const fn put(self, bytes: &[u8]) -> Self {
        if self.fault.is_some() {
            return self;
        }
        let start = self.count;
        let to = match self.to {
            To::Hash(hash) => To::Hash(hash.update(bytes)),
            To::Bytes(place) => {
                if let Some((_, free)) = place.split_at_mut_checked(start)
                    && let Some((slot, _)) = free.split_at_mut_checked(bytes.len())
                {
                    slot.copy_from_slice(bytes);
                }
                To::Bytes(place)
            }
        };
        Self {
            to,
            count: start + bytes.len(),
            fault: None,
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "compared before")]
    pub(super) const fn number(self, number: usize) -> Self {
        if number > u16::MAX as usize {
            return self.refuse("a text or list is too long for a definition");
        }
        self.put(&(number as u16).to_le_bytes())
    }

    pub(super) const fn text(self, text: &str) -> Self {
        self.number(text.len()).put(text.as_bytes())
    }

    const fn name(self, name: &str) -> Self {
        if name.is_empty() || name.len() > MAX_MESSAGE_NAME {
            return self.refuse("the name of an attribute or variant is empty or longer than 64 bytes");
        }
        self.text(name)
    }

    const fn elements(self, number: usize) -> Self {
        if number > MAX_ELEMENTS {
            return self.refuse("an array, tuple, structure or enum has more than 256 elements: use a sequence");
        }
        self.number(number)
    }

    /// Takes in one type, depth first: a byte for its kind, then what it is made of.
    pub(super) const fn ty(self, ty: &NamedType, depth: usize) -> Self {
        if self.fault.is_some() {
            return self;
        }
        if depth >= MAX_DEPTH {
            return self.refuse("a structure is nested more than 16 deep, or contains itself");
        }
        match ty.ty {
            Ty::Bool => self.put(&[kind::BOOL]),
            Ty::I8 => self.put(&[kind::I8]),
            Ty::I16 => self.put(&[kind::I16]),
            Ty::I32 => self.put(&[kind::I32]),
            Ty::I64 => self.put(&[kind::I64]),
            Ty::I128 => self.put(&[kind::I128]),
            Ty::U8 => self.put(&[kind::U8]),
            Ty::U16 => self.put(&[kind::U16]),
            Ty::U32 => self.put(&[kind::U32]),
            Ty::U64 => self.put(&[kind::U64]),
            Ty::U128 => self.put(&[kind::U128]),
            Ty::F32 => self.put(&[kind::F32]),
            Ty::F64 => self.put(&[kind::F64]),
            Ty::Char => self.put(&[kind::CHAR]),
            Ty::String => self.put(&[kind::STRING]),
            Ty::ByteArray => self.put(&[kind::BYTES]),
            Ty::Unit | Ty::UnitStruct => self.put(&[kind::UNIT]),
            Ty::Option(inner) => self.put(&[kind::OPTION]).ty(inner, depth + 1),
            Ty::NewtypeStruct(inner) => self.ty(inner, depth + 1),
            Ty::Seq(inner) if may_be_empty(inner, depth + 1) => {
                self.refuse("a sequence of elements that may take no bytes has no bound")
            }
            Ty::Seq(inner) => self.put(&[kind::SEQUENCE]).ty(inner, depth + 1),
            Ty::Map { key, .. } if may_be_empty(key, depth + 1) => {
                self.refuse("a map of keys that may take no bytes has no bound")
            }
            Ty::Map { key, val } => self.put(&[kind::MAP]).ty(key, depth + 1).ty(val, depth + 1),
            Ty::Tuple(items) | Ty::TupleStruct(items) => self.put(&[kind::TUPLE]).tuple(items, depth),
            Ty::Struct(attributes) => self.put(&[kind::STRUCTURE]).record(attributes, depth),
            Ty::Enum(variants) => self.put(&[kind::ENUM]).choice(variants, depth),
            Ty::Usize | Ty::Isize => self.refuse("usize and isize differ between machines: use u32, i64 or the like"),
            Ty::Schema => self.refuse("a schema cannot be an attribute of a message"),
        }
    }

    const fn tuple(self, items: &[&NamedType], depth: usize) -> Self {
        let mut sink = self.elements(items.len());
        let mut rest = items;
        while let [first, tail @ ..] = rest {
            sink = sink.ty(first, depth + 1);
            rest = tail;
        }
        sink
    }

    const fn record(self, attributes: &[&NamedValue], depth: usize) -> Self {
        let mut sink = self.elements(attributes.len());
        let mut rest = attributes;
        while let [first, tail @ ..] = rest {
            sink = sink.name(first.name).ty(first.ty, depth + 1);
            rest = tail;
        }
        sink
    }

    const fn choice(self, variants: &[&NamedVariant], depth: usize) -> Self {
        let mut sink = self.elements(variants.len());
        let mut rest = variants;
        while let [first, tail @ ..] = rest {
            sink = sink.name(first.name);
            sink = match first.ty {
                Variant::UnitVariant => sink.put(&[variant::UNIT]),
                Variant::NewtypeVariant(inner) => sink.put(&[variant::ONE]).ty(inner, depth + 1),
                Variant::TupleVariant(items) => sink.put(&[variant::TUPLE]).tuple(items, depth),
                Variant::StructVariant(attributes) => sink.put(&[variant::STRUCTURE]).record(attributes, depth),
            };
            rest = tail;
        }
        sink
    }
}

/// Whether a value of this type may take no byte at all. A sequence of such could be of
/// any length in a few bytes.
const fn may_be_empty(ty: &NamedType, depth: usize) -> bool {
    if depth >= MAX_DEPTH {
        // Refused by the traversal.
        return false;
    }
    match ty.ty {
        Ty::Unit | Ty::UnitStruct => true,
        Ty::NewtypeStruct(inner) => may_be_empty(inner, depth + 1),
        Ty::Tuple(items) | Ty::TupleStruct(items) => {
            let mut rest = *items;
            while let [first, tail @ ..] = rest {
                if !may_be_empty(first, depth + 1) {
                    return false;
                }
                rest = tail;
            }
            true
        }
        Ty::Struct(attributes) => {
            let mut rest = *attributes;
            while let [first, tail @ ..] = rest {
                if !may_be_empty(first.ty, depth + 1) {
                    return false;
                }
                rest = tail;
            }
            true
        }
        _ => false,
    }
}

/// What comes before the types in the description of an entry.
const fn head<'p>(sink: Sink<'p>, name: &str, direction: Direction, kind: EntryKind) -> Sink<'p> {
    sink.put(&[direction.number(), kind.number()]).text(name)
}

/// How many bytes that takes.
pub(super) const fn head_len(name: &str) -> usize {
    head(Sink::bytes(&mut []), name, Direction::Both, EntryKind::Message).count
}

/// Writes the description of an entry (PROTOCOL S-7): its answer stands behind the structure, when it has one. False
/// when that does not fill the place, or when a structure cannot work.
#[cfg(feature = "alloc")]
pub(super) fn describe(def: &MessageDef, structure: &NamedType, answer: Option<&NamedType>, place: &mut [u8]) -> bool {
    let size = place.len();
    let head = head(Sink::bytes(place), def.name(), def.direction(), def.kind());
    let request = head.ty(structure, 0);
    let sink = match answer {
        Some(answer) => request.ty(answer, 0),
        None => request,
    };
    sink.fault.is_none() && sink.count == size
}

#[cfg(test)]
mod tests {
    use super::*;
    use postcard_schema::Schema;

    #[derive(Schema)]
    #[allow(dead_code, reason = "described only")]
    enum Note {
        Empty,
        Text(String),
        Point { x: f32, tags: Vec<(u8, Option<char>)> },
    }

    #[test]
    fn a_description_is_the_documented_bytes() {
        let def = MessageDef::new::<Note>("Note", Direction::FromService);
        let mut whole = [0xee; 100];
        let size = def.size();
        assert!(describe(&def, Note::SCHEMA, None, &mut whole[..size]), "PROTOCOL S-7");
        let mut expected = vec![2, 0, 4, 0];
        expected.extend(b"Note");
        expected.extend([23, 3, 0, 5, 0]);
        expected.extend(b"Empty");
        expected.extend([0, 4, 0]);
        expected.extend(b"Text");
        expected.extend([1, 15, 5, 0]);
        expected.extend(b"Point");
        expected.extend([3, 2, 0, 1, 0, b'x', 12, 4, 0]);
        expected.extend(b"tags");
        expected.extend([19, 21, 2, 0, 7, 18, 14]);
        assert_eq!(whole[..size], expected, "PROTOCOL S-7");
        assert!(!describe(&def, Note::SCHEMA, None, &mut whole[..size - 1]));
        assert!(!describe(&def, Note::SCHEMA, None, &mut whole[..=size]));
    }

    #[test]
    fn a_call_is_described_with_its_answer() {
        let def = MessageDef::asked::<(u8, bool), Option<u16>>(EntryKind::Call, "Ask", Direction::FromClient);
        let mut whole = [0xee; 20];
        let size = def.size();
        let (request, answer) = (<(u8, bool)>::SCHEMA, <Option<u16>>::SCHEMA);
        assert!(
            describe(&def, request, Some(answer), &mut whole[..size]),
            "PROTOCOL S-7"
        );
        let expected = [&[1, 1, 3, 0][..], b"Ask", &[21, 2, 0, 7, 1], &[18, 8]].concat();
        assert_eq!(whole[..size], expected, "PROTOCOL S-7");
        assert!(!describe(&def, request, None, &mut whole[..size]));
        assert!(!describe(&def, request, Some(answer), &mut whole[..size - 1]));
    }

    #[test]
    fn what_cannot_work_is_not_described() {
        let def = MessageDef::new::<u8>("A", Direction::Both);
        assert!(!describe(&def, <Vec<()>>::SCHEMA, None, &mut [0; 7]), "PROTOCOL S-1");
    }
}
