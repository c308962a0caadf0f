//! The canonical form of definitions, hashed while compiling, and the refusal of those
//! that cannot work.
//!
//! Two structures have one digest exactly when they have the same shape on the wire and
//! the same attribute and variant names. Names of types do not count; a newtype counts as
//! what it wraps (PROTOCOL S-3).

#![allow(
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "evaluated while compiling, on definitions and never on what a peer sends"
)]

use postcard_schema::schema::{DataModelType as Ty, DataModelVariant as Variant, NamedType, NamedValue, NamedVariant};
use sha2_const_stable::Sha256;

use super::MessageDef;
use crate::definition::{Digest, Key};
use crate::limits::{MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE_NAME};

/// What stands for a structure alone.
///
/// # Panics
/// When the structure cannot work (PROTOCOL S-1); at compile time when called in a constant.
pub(crate) const fn structure(ty: &NamedType) -> Key {
    Key(half(feed(tagged("diset/1 structure"), ty, 0)))
}

/// What stands for a name with a structure.
pub(crate) const fn message(name: &str, structure: &Key) -> Key {
    Key(half(text(tagged("diset/1 message"), name).update(&structure.0)))
}

/// What stands for a service with all its messages in their order.
pub(crate) const fn catalog(service: &str, messages: &[MessageDef]) -> Digest {
    let mut hash = count(text(tagged("diset/1 catalog"), service), messages.len());
    let mut rest = messages;
    while let [first, tail @ ..] = rest {
        // Direction, delivery class (0: the sender's choice), key.
        hash = hash.update(&[first.direction().number(), 0]).update(&first.key().0);
        rest = tail;
    }
    Digest(half(hash))
}

const fn tagged(purpose: &str) -> Sha256 {
    text(Sha256::new(), purpose)
}

const fn half(hash: Sha256) -> [u8; 16] {
    let full = hash.finalize();
    match full.first_chunk::<16>() {
        Some(half) => *half,
        None => panic!("SHA-256 has 32 bytes"),
    }
}

const fn count(hash: Sha256, count: usize) -> Sha256 {
    assert!(
        count <= u16::MAX as usize,
        "a text or list is too long for a definition"
    );
    hash.update(&(count as u16).to_le_bytes())
}

const fn text(hash: Sha256, text: &str) -> Sha256 {
    count(hash, text.len()).update(text.as_bytes())
}

const fn name(hash: Sha256, name: &str) -> Sha256 {
    assert!(
        name.len() <= MAX_MESSAGE_NAME,
        "the name of an attribute or variant is longer than 64 bytes"
    );
    text(hash, name)
}

/// Feeds one type, depth first: a byte for its kind, then what it is made of.
const fn feed(hash: Sha256, ty: &NamedType, depth: usize) -> Sha256 {
    assert!(
        depth < MAX_DEPTH,
        "a structure is nested more than 16 deep, or contains itself"
    );
    match ty.ty {
        Ty::Bool => hash.update(&[1]),
        Ty::I8 => hash.update(&[2]),
        Ty::I16 => hash.update(&[3]),
        Ty::I32 => hash.update(&[4]),
        Ty::I64 => hash.update(&[5]),
        Ty::I128 => hash.update(&[6]),
        Ty::U8 => hash.update(&[7]),
        Ty::U16 => hash.update(&[8]),
        Ty::U32 => hash.update(&[9]),
        Ty::U64 => hash.update(&[10]),
        Ty::U128 => hash.update(&[11]),
        Ty::F32 => hash.update(&[12]),
        Ty::F64 => hash.update(&[13]),
        Ty::Char => hash.update(&[14]),
        Ty::String => hash.update(&[15]),
        Ty::ByteArray => hash.update(&[16]),
        Ty::Unit | Ty::UnitStruct => hash.update(&[17]),
        Ty::Option(inner) => feed(hash.update(&[18]), inner, depth + 1),
        Ty::NewtypeStruct(inner) => feed(hash, inner, depth + 1),
        Ty::Seq(inner) => {
            assert!(
                !may_be_empty(inner),
                "a sequence of elements that may take no bytes has no bound"
            );
            feed(hash.update(&[19]), inner, depth + 1)
        }
        Ty::Map { key, val } => {
            assert!(!may_be_empty(key), "a map of keys that may take no bytes has no bound");
            feed(feed(hash.update(&[20]), key, depth + 1), val, depth + 1)
        }
        Ty::Tuple(items) | Ty::TupleStruct(items) => tuple(hash.update(&[21]), items, depth),
        Ty::Struct(attributes) => record(hash.update(&[22]), attributes, depth),
        Ty::Enum(variants) => choice(hash.update(&[23]), variants, depth),
        Ty::Usize | Ty::Isize => panic!("usize and isize differ between machines: use u32, i64 or the like"),
        Ty::Schema => panic!("a schema cannot be an attribute of a message"),
    }
}

const fn tuple(hash: Sha256, items: &[&NamedType], depth: usize) -> Sha256 {
    let mut hash = elements(hash, items.len());
    let mut rest = items;
    while let [first, tail @ ..] = rest {
        hash = feed(hash, first, depth + 1);
        rest = tail;
    }
    hash
}

const fn record(hash: Sha256, attributes: &[&NamedValue], depth: usize) -> Sha256 {
    let mut hash = elements(hash, attributes.len());
    let mut rest = attributes;
    while let [first, tail @ ..] = rest {
        hash = feed(name(hash, first.name), first.ty, depth + 1);
        rest = tail;
    }
    hash
}

const fn choice(hash: Sha256, variants: &[&NamedVariant], depth: usize) -> Sha256 {
    let mut hash = elements(hash, variants.len());
    let mut rest = variants;
    while let [first, tail @ ..] = rest {
        hash = name(hash, first.name);
        hash = match first.ty {
            Variant::UnitVariant => hash.update(&[0]),
            Variant::NewtypeVariant(inner) => feed(hash.update(&[1]), inner, depth + 1),
            Variant::TupleVariant(items) => tuple(hash.update(&[2]), items, depth),
            Variant::StructVariant(attributes) => record(hash.update(&[3]), attributes, depth),
        };
        rest = tail;
    }
    hash
}

const fn elements(hash: Sha256, number: usize) -> Sha256 {
    assert!(
        number <= MAX_ELEMENTS,
        "an array, tuple, structure or enum has more than 256 elements: use a sequence"
    );
    count(hash, number)
}

/// Whether a value of this type may take no byte at all. A sequence of such could be of
/// any length in a few bytes.
const fn may_be_empty(ty: &NamedType) -> bool {
    match ty.ty {
        Ty::Unit | Ty::UnitStruct => true,
        Ty::NewtypeStruct(inner) => may_be_empty(inner),
        Ty::Tuple(items) | Ty::TupleStruct(items) => {
            let mut rest = *items;
            while let [first, tail @ ..] = rest {
                if !may_be_empty(first) {
                    return false;
                }
                rest = tail;
            }
            true
        }
        Ty::Struct(attributes) => {
            let mut rest = *attributes;
            while let [first, tail @ ..] = rest {
                if !may_be_empty(first.ty) {
                    return false;
                }
                rest = tail;
            }
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postcard_schema::Schema;
    use serde::{Deserialize, Serialize};
    use sha2::Digest as _;

    fn of<T: Schema>() -> Key {
        structure(T::SCHEMA)
    }

    #[derive(Serialize, Deserialize, Schema)]
    struct Ordinary {
        a: f64,
        b: u8,
    }
    #[derive(Serialize, Deserialize, Schema)]
    struct Colliding {
        aqb: u8,
    }
    #[derive(Serialize, Deserialize, Schema)]
    struct Renamed {
        a: f64,
        c: u8,
    }
    #[derive(Serialize, Deserialize, Schema)]
    struct OtherTypeName {
        a: f64,
        b: u8,
    }
    #[derive(Serialize, Deserialize, Schema)]
    struct Wrapped(Ordinary);

    /// As wide as the machine: a type that says so by hand.
    struct Machine;
    impl Schema for Machine {
        const SCHEMA: &'static NamedType = &NamedType {
            name: "usize",
            ty: &Ty::Usize,
        };
    }

    #[test]
    fn structures_that_differ_have_other_digests() {
        // The second pair collides in the eight-byte keys of postcard-schema.
        assert_ne!(of::<Ordinary>(), of::<Colliding>(), "PROTOCOL S-3");
        assert_ne!(of::<Ordinary>(), of::<Renamed>());
        assert_ne!(of::<u8>(), of::<i8>());
        assert_ne!(of::<Option<u8>>(), of::<u8>());
        assert_ne!(of::<(u8, u16)>(), of::<(u16, u8)>());
        assert_eq!(of::<Ordinary>(), of::<OtherTypeName>());
        assert_eq!(of::<Ordinary>(), of::<Wrapped>());
    }

    #[test]
    fn the_digest_is_the_documented_hash() {
        let mut form = sha2::Sha256::new();
        form.update([17, 0]);
        form.update("diset/1 structure");
        form.update([22, 2, 0]);
        form.update([1, 0]);
        form.update("a");
        form.update([13]);
        form.update([1, 0]);
        form.update("b");
        form.update([7]);
        assert_eq!(of::<Ordinary>().0, form.finalize()[..16], "PROTOCOL S-3");
    }

    #[test]
    fn definitions_that_cannot_work_are_refused() {
        fn refused<T: Schema>() -> bool {
            std::panic::catch_unwind(|| of::<T>()).is_err()
        }
        type Deep3<T> = Option<Option<Option<T>>>;
        assert!(refused::<(u8, (Machine,))>(), "PROTOCOL S-1");
        assert!(refused::<Vec<()>>());
        assert!(refused::<[u8; 257]>());
        assert!(refused::<Deep3<Deep3<Deep3<Deep3<Deep3<Deep3<u8>>>>>>>());
        assert!(!refused::<[u8; 256]>());
        assert!(!refused::<Vec<(u8, ())>>());
    }
}
