//! Hashes that stand for definitions, made while compiling.
//!
//! Two structures have one digest exactly when they have the same shape on the wire and
//! the same attribute and variant names. Names of types do not count; a newtype counts as
//! what it wraps (PROTOCOL S-3).

use postcard_schema::schema::NamedType;

use super::MessageDef;
use super::canonical::Sink;
#[cfg(feature = "alloc")]
use super::learned::LearnedMessage;
use crate::definition::{Digest, Direction, EntryKind, Key};

/// What stands for a structure alone.
///
/// # Panics
/// When the structure cannot work (PROTOCOL S-1); at compile time when called in a constant.
pub(crate) const fn structure(ty: &NamedType) -> Key {
    measured(ty).0
}

/// As [`structure`], and how many bytes the canonical form of the type takes.
pub(super) const fn measured(ty: &NamedType) -> (Key, usize) {
    let (half, length) = finished(Sink::hash("diset/1 structure").ty(ty, 0));
    (Key(half), length)
}

/// What stands for a name with the structures of an entry of this kind.
pub(crate) const fn entry_key(kind: EntryKind, name: &str, structure: &Key, answer: Option<&Key>) -> Key {
    Key(finished(key_of(kind, name, structure, answer)).0)
}

/// What stands for a service with all its entries in their order.
pub(crate) const fn catalog(service: &str, messages: &[MessageDef]) -> Digest {
    let mut sink = catalog_of(service, messages.len());
    let mut rest = messages;
    while let [first, tail @ ..] = rest {
        sink = entry(sink, first.direction(), first.kind(), first.key());
        rest = tail;
    }
    Digest(finished(sink).0)
}

/// As [`entry_key`], with the structures in canonical form; `None` when the name is too long for one.
#[cfg(feature = "alloc")]
pub(super) fn described(kind: EntryKind, name: &str, canonical: &[u8], answer: Option<&[u8]>) -> Option<Key> {
    let structure_of = |canonical| Sink::hash("diset/1 structure").put(canonical).finish();
    let (structure, _) = structure_of(canonical).ok()?;
    let answer = match answer {
        Some(answer) => Some(Key(structure_of(answer).ok()?.0)),
        None => None,
    };
    let key = key_of(kind, name, &Key(structure), answer.as_ref()).finish();
    key.ok().map(|(half, _)| Key(half))
}

/// As [`catalog`], of entries that a peer described; `None` when there are too many for
/// one.
#[cfg(feature = "alloc")]
pub(super) fn learned(service: &str, messages: &[alloc::sync::Arc<LearnedMessage>]) -> Option<Digest> {
    let start = catalog_of(service, messages.len());
    let all = messages.iter().fold(start, |sink, each| {
        entry(sink, each.direction(), each.kind(), each.key())
    });
    all.finish().ok().map(|(half, _)| Digest(half))
}

const fn catalog_of(service: &str, messages: usize) -> Sink<'static> {
    Sink::hash("diset/1 catalog").text(service).number(messages)
}

const fn entry(sink: Sink<'static>, direction: Direction, kind: EntryKind, key: Key) -> Sink<'static> {
    sink.put(&[direction.number(), kind.number()]).put(&key.0)
}

const fn key_of(kind: EntryKind, name: &str, structure: &Key, answer: Option<&Key>) -> Sink<'static> {
    // Which way a transfer goes is in the catalog alone, as the direction is.
    let purpose = match kind {
        EntryKind::Message => "diset/1 message",
        EntryKind::Call => "diset/1 call",
        EntryKind::Stream => "diset/1 stream",
        EntryKind::Upload | EntryKind::Download => "diset/1 transfer",
    };
    let sink = Sink::hash(purpose).text(name).put(&structure.0);
    match answer {
        Some(answer) => sink.put(&answer.0),
        None => sink,
    }
}

#[allow(
    clippy::panic,
    reason = "evaluated while compiling, on definitions and never on what a peer sends"
)]
const fn finished(sink: Sink<'static>) -> ([u8; 16], usize) {
    match sink.finish() {
        Ok(finished) => finished,
        Err(fault) => panic!("{}", fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postcard_schema::Schema;
    use postcard_schema::schema::{DataModelType as Ty, NamedValue};
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

    /// An attribute without a name, by hand.
    struct Nameless;
    impl Schema for Nameless {
        const SCHEMA: &'static NamedType = &NamedType {
            name: "Nameless",
            ty: &Ty::Struct(&[&NamedValue {
                name: "",
                ty: u8::SCHEMA,
            }]),
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
    fn the_key_and_the_digest_of_each_kind_are_the_documented_hashes() {
        let hash = |parts: &[&[u8]]| -> [u8; 16] {
            let form = parts
                .iter()
                .fold(sha2::Sha256::new(), |form, part| form.chain_update(part));
            form.finalize()[..16].try_into().unwrap()
        };
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap(), 0], text.as_bytes()].concat();
        let (request, answer) = (of::<u8>(), of::<Ordinary>());
        assert_ne!(request, answer);
        for (number, kind, purpose) in [
            (1, EntryKind::Call, "diset/1 call"),
            (2, EntryKind::Stream, "diset/1 stream"),
            (3, EntryKind::Upload, "diset/1 transfer"),
            (4, EntryKind::Download, "diset/1 transfer"),
        ] {
            let def = MessageDef::asked::<u8, Ordinary>(kind, "Ask", Direction::FromService);
            let key = hash(&[&text(purpose), &text("Ask"), &request.0, &answer.0]);
            assert_eq!(def.key().0, key, "PROTOCOL S-3: {kind:?}");
            let message = MessageDef::new::<u8>("Said", Direction::Both);
            let said = hash(&[&text("diset/1 message"), &text("Said"), &request.0]);
            assert_eq!(message.key().0, said, "PROTOCOL S-3");
            let start = [text("diset/1 catalog"), text("A/B")].concat();
            let whole = hash(&[&start, &[2, 0], &[3, 0], &said, &[2, number], &key]);
            assert_eq!(catalog("A/B", &[message, def]).0, whole, "PROTOCOL S-3: {kind:?}");
        }
    }

    #[test]
    fn definitions_that_cannot_work_are_refused() {
        fn refused<T: Schema>() -> bool {
            std::panic::catch_unwind(|| of::<T>()).is_err()
        }
        type Deep3<T> = Option<Option<Option<T>>>;
        assert!(refused::<(u8, (Machine,))>(), "PROTOCOL S-1");
        assert!(refused::<Nameless>());
        assert!(refused::<Vec<()>>());
        assert!(refused::<[u8; 257]>());
        assert!(refused::<Deep3<Deep3<Deep3<Deep3<Deep3<Deep3<u8>>>>>>>());
        assert!(!refused::<[u8; 256]>());
        assert!(!refused::<Vec<(u8, ())>>());
        let asked = |kind| std::panic::catch_unwind(move || MessageDef::asked::<u8, u8>(kind, "A", Direction::Both));
        assert!(
            asked(EntryKind::Message).is_err(),
            "PROTOCOL S-3: a message has no answer"
        );
        assert!(asked(EntryKind::Stream).is_ok());
    }
}
