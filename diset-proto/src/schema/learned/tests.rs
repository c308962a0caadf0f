//! Catalogs and structures that a peer described: what is learned is what was defined, and
//! nothing else is taken.

use alloc::collections::BTreeMap;

use postcard_schema::Schema;
use postcard_schema::schema::NamedType;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::description::BadDescription as Bad;
use super::{LearnedCatalog, LearnedMessage};
use crate::{Direction, EntryKind, MessageDef, ServiceDef, ServiceName, define_service};

#[derive(Serialize, Deserialize, Schema)]
struct Ping {
    id: i64,
}
#[derive(Serialize, Deserialize, Schema)]
enum Kind {
    Heat,
    Light(u8),
    Pair(u8, u8),
    Line([i8; 2]),
    Both { a: u8, b: Option<Option<bool>> },
}
#[derive(Serialize, Deserialize, Schema)]
struct Sample {
    name: String,
    value: f64,
}
#[derive(Serialize, Deserialize, Schema)]
struct Reading {
    samples: Vec<Sample>,
    at: Option<u64>,
    kind: Kind,
    limits: BTreeMap<u16, Option<Kind>>,
    wide: (i128, u128, f32, (char,), ()),
}
#[derive(Serialize, Deserialize, Schema)]
struct Stop;
#[derive(Serialize, Deserialize, Schema)]
struct Wrapped(Kind);
#[derive(Serialize, Deserialize, Schema)]
struct Two(i8, i8);
#[derive(Serialize, Deserialize, Schema)]
struct Note<'a> {
    text: &'a str,
}

define_service! {
    Lab = "Test/Lab";
    from_client: [Ping, Stop, Note<'a>],
    from_service: [Reading, Two],
    both: [Wrapped],
}

fn lab() -> LearnedCatalog {
    LearnedCatalog::of::<Lab>().unwrap()
}

#[test]
fn what_is_learned_is_what_was_defined() {
    let learned = lab();
    assert_eq!(learned.service(), "Test/Lab");
    assert_eq!(learned.digest(), Lab::CATALOG.digest(), "PROTOCOL S-3");
    assert_eq!(learned.messages().len(), Lab::CATALOG.messages().len());
    for (number, def) in (0..).zip(Lab::CATALOG.messages()) {
        let message = learned.by_number(number).unwrap();
        assert_eq!(learned.message(def.name()), Some(message));
        assert_eq!(message.name(), def.name());
        assert_eq!(message.direction(), def.direction());
        assert_eq!(message.key(), def.key(), "PROTOCOL S-3");
        let description = message.to_description();
        assert_eq!(description.len(), def.size(), "PROTOCOL S-7");
        assert_eq!(LearnedMessage::decode(&description).as_ref(), Ok(&**message));
    }
    assert_eq!(learned.message("Pong"), None);
    assert_eq!(learned.by_number(6), None);
}

/// A service with an entry of each kind, listed by hand.
struct Clock;
impl ServiceDef for Clock {
    const CATALOG: &'static crate::Catalog = &crate::Catalog::new(
        "Test/Clock",
        &[
            MessageDef::asked::<Ping, Two>(EntryKind::Call, "Ask", Direction::FromClient),
            MessageDef::new::<Ping>("Ping", Direction::Both),
            MessageDef::asked::<Stop, Ping>(EntryKind::Stream, "Ticks", Direction::FromClient),
            MessageDef::asked::<Ping, Stop>(EntryKind::Upload, "Firmware", Direction::FromService),
            MessageDef::asked::<Note<'static>, Option<u8>>(EntryKind::Download, "Log", Direction::Both),
        ],
    );
    const STRUCTURES: &'static [&'static NamedType] =
        &[Ping::SCHEMA, Ping::SCHEMA, Stop::SCHEMA, Ping::SCHEMA, Note::SCHEMA];
    const ANSWERS: &'static [&'static NamedType] = &[Two::SCHEMA, Ping::SCHEMA, Stop::SCHEMA, <Option<u8>>::SCHEMA];
}

#[test]
fn entries_of_all_kinds_are_learned_and_shown() {
    let learned = LearnedCatalog::of::<Clock>().unwrap();
    assert_eq!(learned.digest(), Clock::CATALOG.digest(), "PROTOCOL S-3");
    for (def, entry) in Clock::CATALOG.messages().iter().zip(learned.messages()) {
        assert_eq!(
            (entry.kind(), entry.key()),
            (def.kind(), def.key()),
            "PROTOCOL S-3, S-7"
        );
        assert_eq!(entry.answer().is_some(), def.kind().has_answer());
        let description = entry.to_description();
        assert_eq!(description.len(), def.size(), "PROTOCOL S-7");
        assert_eq!(LearnedMessage::decode(&description).as_ref(), Ok(&**entry));
    }
    let printed: Vec<_> = learned.messages().iter().map(ToString::to_string).collect();
    let expected = [
        "call Ask { id: i64 } -> [i8; 2]",
        "Ping { id: i64 }",
        "stream Ticks -> { id: i64 }",
        "upload Firmware { id: i64 } -> unit",
        "download Log { text: str } -> option u8",
    ];
    assert_eq!(printed, expected);
}

/// As [`Clock`], but what it says of its answers is not what the catalog has.
struct Wrong;
impl ServiceDef for Wrong {
    const CATALOG: &'static crate::Catalog = Clock::CATALOG;
    const STRUCTURES: &'static [&'static NamedType] = Clock::STRUCTURES;
}

#[test]
fn a_service_without_the_structures_of_its_answers_is_not_described() {
    assert!(LearnedCatalog::of::<Wrong>().is_err(), "PROTOCOL S-7");
}

#[test]
fn definitions_are_printed_on_one_line() {
    let learned = lab();
    let printed: Vec<_> = learned.messages().iter().map(ToString::to_string).collect();
    let kind = "Heat | Light(u8) | Pair(u8, u8) | Line([i8; 2]) | Both { a: u8, b: option option bool }";
    let reading = format!(
        "Reading {{ samples: [ {{ name: str, value: f64 }} ], at: option u64, kind: {kind}, \
         limits: map of u16 to option ({kind}), wide: (i128, u128, f32, (char,), unit) }}"
    );
    let expected = [
        "Ping { id: i64 }",
        "Stop",
        "Note { text: str }",
        &reading,
        "Two(i8, i8)",
        &format!("Wrapped({kind})"),
    ];
    assert_eq!(printed, expected);
}

#[test]
fn names_of_a_peer_do_not_reach_the_terminal_as_they_are() {
    let message = LearnedMessage::decode(&[3, 0, 2, 0, b'A', 7, 22, 1, 0, 1, 0, 27, 7]).unwrap();
    assert_eq!(message.name(), "A\u{7}");
    assert_eq!(message.to_string(), "A\\u{7} { \\u{1b}: u8 }", "PROTOCOL E-2");
    // Nor do those that turn the writing direction, show nothing, break the line or join the letter before.
    let printed = |name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        let description = [&[3, 0, 1, 0, b'A', 22, 1, 0, length, 0], name.as_bytes(), &[7]].concat();
        LearnedMessage::decode(&description).unwrap().to_string()
    };
    for hidden in [
        '\u{202e}', '\u{200b}', '\u{2028}', '\u{2066}', '\u{feff}', '\u{9b}', '\u{7f}', '\u{301}',
    ] {
        let escaped = format!("A {{ a{}b: u8 }}", hidden.escape_unicode());
        assert_eq!(printed(&format!("a{hidden}b")), escaped, "PROTOCOL E-2");
    }
    assert_eq!(printed(r"\u{7}"), r"A { \\u{7}: u8 }");
    assert_eq!(printed("größe \"1\" 大"), "A { größe \"1\" 大: u8 }");
}

/// A description of a message A of this type.
fn described(ty: &[u8]) -> Result<LearnedMessage, Bad> {
    LearnedMessage::decode(&[&[3, 0, 1, 0, b'A'], ty].concat())
}

#[test]
fn descriptions_that_break_a_rule_are_refused() {
    let refused = |ty: &[u8]| described(ty).unwrap_err();
    assert_eq!(refused(&[]), Bad::TooShort, "PROTOCOL S-7");
    assert_eq!(refused(&[1, 1, 1]), Bad::LeftOver(2), "PROTOCOL S-7");
    assert_eq!(refused(&[0]), Bad::Type(0));
    assert_eq!(refused(&[24]), Bad::Type(24));
    assert_eq!(refused(&[23, 1, 0, 1, 0, b'a', 4]), Bad::Variant(4));
    assert_eq!(refused(&[21, 1, 1]), Bad::Elements(257), "PROTOCOL S-1");
    assert_eq!(refused(&[21, 0, 1, 1]), Bad::TooShort, "PROTOCOL S-7");
    assert_eq!(refused(&[22, 1, 0, 0, 0, 7, 7]), Bad::Name, "PROTOCOL S-1");
    assert_eq!(refused(&[22, 1, 0, 1, 0, 0xff, 7]), Bad::Name);
    assert_eq!(
        refused(&[22, 2, 0, 1, 0, b'a', 7, 1, 0, b'a', 8]),
        Bad::SameName,
        "PROTOCOL S-1"
    );
    assert_eq!(refused(&[23, 2, 0, 1, 0, b'a', 0, 1, 0, b'a', 0]), Bad::SameName);
    assert_eq!(refused(&[19, 17]), Bad::Unbounded, "PROTOCOL S-1");
    assert_eq!(refused(&[19, 21, 2, 0, 17, 22, 0, 0]), Bad::Unbounded);
    assert_eq!(refused(&[20, 17, 7]), Bad::Unbounded);
    let mut long = vec![22, 1, 0, 65, 0];
    long.extend([b'x'; 65]);
    long.push(7);
    assert_eq!(refused(&long), Bad::Name, "PROTOCOL S-1");
    assert_eq!(LearnedMessage::decode(&[4, 0, 1, 0, b'A', 7]), Err(Bad::Direction(4)));
    for number in 5..=u8::MAX {
        let unknown = LearnedMessage::decode(&[1, number, 1, 0, b'A', 7, 7]);
        assert_eq!(unknown, Err(Bad::Kind(number)), "PROTOCOL S-7");
    }
    assert_eq!(
        LearnedMessage::decode(&[1, 1, 1, 0, b'A', 7]),
        Err(Bad::TooShort),
        "PROTOCOL S-7: a call without an answer"
    );
    assert_eq!(
        LearnedMessage::decode(&[1, 0, 1, 0, b'A', 7, 7]),
        Err(Bad::LeftOver(1)),
        "PROTOCOL S-7: a message with one"
    );
    assert_eq!(
        LearnedMessage::decode(&[1, 2, 1, 0, b'A', 7, 19, 17]),
        Err(Bad::Unbounded),
        "PROTOCOL S-1"
    );
    assert_eq!(LearnedMessage::decode(&[1, 0, 0, 0, 7]), Err(Bad::Name), "PROTOCOL S-2");
}

#[test]
fn bombs_are_refused_without_harm() {
    let nested = |depth: usize| described(&[[18u8].repeat(depth), vec![7]].concat());
    assert!(nested(15).is_ok(), "PROTOCOL S-1");
    assert_eq!(nested(16), Err(Bad::Depth), "PROTOCOL S-1");
    assert_eq!(nested(60_000), Err(Bad::Depth));
    // Each level claims 256 elements and shows one.
    assert_eq!(described(&[21, 0, 1].repeat(1000)), Err(Bad::Depth));
    // The elements claimed are not there: nothing is set aside for them.
    assert_eq!(
        described(&[22, 0, 1, 1, 0, b'a', 7]),
        Err(Bad::TooShort),
        "PROTOCOL S-7"
    );
}

#[test]
fn catalogs_that_break_a_rule_are_refused() {
    let name = ServiceName::parse("Test/Lab").unwrap();
    let learn = |descriptions: &[u8]| LearnedCatalog::decode(name, descriptions);
    let a = [3, 0, 1, 0, b'A', 7];
    assert_eq!(learn(&[]).unwrap().messages(), []);
    assert_eq!(learn(&[a, a].concat()), Err(Bad::SameName), "PROTOCOL S-2");
    assert_eq!(learn(&[&a[..], &[3, 0]].concat()), Err(Bad::TooShort));
    let many = |count: u8| {
        let each = (0..count).flat_map(|number| [3, 0, 2, 0, b'A' + number / 16, b'A' + number % 16, 7]);
        learn(&each.collect::<Vec<_>>())
    };
    assert_eq!(many(128).unwrap().messages().len(), 128, "PROTOCOL S-2");
    assert_eq!(many(129), Err(Bad::Messages), "PROTOCOL S-2");
    assert_eq!(learn(&[0; 65_537]), Err(Bad::TooLong), "PROTOCOL S-2");
}

#[test]
fn a_catalog_can_be_shared() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&alloc::sync::Arc::new(lab()));
}

#[test]
fn the_direction_is_part_of_the_digest_but_not_of_the_key() {
    let one = LearnedMessage::decode(&[1, 0, 1, 0, b'A', 7]).unwrap();
    let two = LearnedMessage::decode(&[2, 0, 1, 0, b'A', 7]).unwrap();
    assert_eq!(
        (one.direction(), two.direction()),
        (Direction::FromClient, Direction::FromService)
    );
    assert_eq!(one.key(), two.key(), "PROTOCOL S-3");
    let name = ServiceName::parse("Test/Lab").unwrap();
    let digest = |message: &LearnedMessage| {
        let catalog = LearnedCatalog::decode(name, &message.to_description());
        catalog.unwrap().digest()
    };
    assert_ne!(digest(&one), digest(&two), "PROTOCOL S-3");
}

/// Bytes that are mostly types.
pub(super) fn type_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => (1u8..18).prop_map(|kind| vec![kind]),
        2 => Just(vec![18]),
        2 => Just(vec![19]),
        1 => Just(vec![20]),
        2 => (0u8..4).prop_map(|count| vec![21, count, 0]),
        2 => (0u8..4).prop_map(|count| vec![22, count, 0]),
        2 => (0u8..4).prop_map(|count| vec![23, count, 0]),
        4 => (b'a'..=b'd').prop_map(|name| vec![1, 0, name]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_decoded_writes_the_same_bytes(ty in type_bytes(), random in prop::collection::vec(any::<u8>(), 0..64)) {
        for ty in [ty, random] {
            for number in 0..5 {
                // A message of this type; or the type asks, and the answer stands behind it.
                if let Ok(message) = LearnedMessage::decode(&[&[3, number, 1, 0, b'A'], &ty[..]].concat()) {
                    prop_assert_eq!(&message.to_description()[5..], &ty[..]);
                    prop_assert_eq!(message.kind().number(), number);
                    prop_assert!(!message.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn damaged_descriptions_are_refused_or_written_back(at in 0usize..300, byte in any::<u8>()) {
        for message in lab().messages().iter().chain(LearnedCatalog::of::<Clock>().unwrap().messages()) {
            let mut description = message.to_description();
            if let Some(place) = description.get_mut(at) {
                *place = byte;
            }
            if let Ok(other) = LearnedMessage::decode(&description) {
                prop_assert_eq!(other.to_description(), description);
            }
        }
    }
}
