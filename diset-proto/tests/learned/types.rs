//! Learned definitions beside the types they were learned from, on random values and on damaged bytes.

use std::collections::BTreeMap;

use diset_proto::{Invalid, LearnedMessage, Schema, ServiceDef, check_structure, decode, define_service};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::shapes::Blob;
use super::support::{bytes, from_text, learned, shown};

type Numbers = ((u8, i16, u32, i64), (u64, i8, u16, i32));

#[derive(Debug, Clone, Serialize, Deserialize, Schema)]
enum Form {
    Point,
    Circle(f32),
    Box { width: u16, height: Option<u16> },
    Line(i8, i64),
    Nested(Vec<Form2>),
}
#[derive(Debug, Clone, Serialize, Deserialize, Schema)]
enum Form2 {
    A,
    B(Option<()>),
}
#[derive(Debug, Clone, Serialize, Deserialize, Schema)]
struct Wrapped(u32);
#[derive(Debug, Clone, Serialize, Deserialize, Schema)]
struct All {
    flag: bool,
    numbers: Numbers,
    wide: (u128, i128),
    floats: [f64; 2],
    letter: char,
    text: String,
    blob: Blob,
    maybe: Option<Option<u16>>,
    list: Vec<Wrapped>,
    nested: Vec<Vec<u8>>,
    form: Form,
    unit: (),
}
#[derive(Debug, Clone, Serialize, Deserialize, Schema)]
struct Maps {
    texts: BTreeMap<String, Vec<i16>>,
    pairs: BTreeMap<(u8, bool), Option<BTreeMap<char, u8>>>,
}

define_service! { Types = "Test/Types"; both: [All, Maps] }

fn form() -> impl Strategy<Value = Form> {
    let second = any::<Option<bool>>().prop_map(|drawn| match drawn {
        None => Form2::A,
        Some(some) => Form2::B(some.then_some(())),
    });
    prop_oneof![
        Just(Form::Point),
        any::<f32>().prop_map(|value| Form::Circle(if value.is_nan() { f32::NAN } else { value })),
        any::<(u16, Option<u16>)>().prop_map(|(width, height)| Form::Box { width, height }),
        any::<(i8, i64)>().prop_map(|(a, b)| Form::Line(a, b)),
        prop::collection::vec(second, 0..4).prop_map(Form::Nested),
    ]
}

/// Every bit pattern but those of NaN, which are shown alike.
fn float() -> impl Strategy<Value = f64> {
    any::<u64>()
        .prop_map(f64::from_bits)
        .prop_map(|value| if value.is_nan() { f64::NAN } else { value })
}

prop_compose! {
    fn all()(
        (flag, numbers, wide) in any::<(bool, Numbers, (u128, i128))>(),
        (floats, letter, text) in ([float(), float()], any::<char>(), any::<String>()),
        (blob, maybe, list) in any::<(Vec<u8>, Option<Option<u16>>, Vec<u32>)>(),
        (nested, form) in (any::<Vec<Vec<u8>>>(), form()),
    ) -> All {
        let (blob, list) = (Blob(blob), list.into_iter().map(Wrapped).collect());
        All { flag, numbers, wide, floats, letter, text, blob, maybe, list, nested, form, unit: () }
    }
}

prop_compose! {
    fn maps()(
        texts in prop::collection::btree_map("[a-c]{0,2}", any::<Vec<i16>>(), 0..4),
        pairs in prop::collection::btree_map(
            any::<(u8, bool)>(),
            prop::option::of(prop::collection::btree_map(any::<char>(), any::<u8>(), 0..3)),
            0..4,
        ),
    ) -> Maps {
        Maps { texts, pairs }
    }
}

/// Changes a byte, cuts, or puts one more in.
fn damage(mut bytes: Vec<u8>, at: usize, byte: u8, how: u8) -> Vec<u8> {
    let at = at % (bytes.len() + 1);
    match how {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte),
        _ => {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
    }
    bytes
}

/// What a receiver with the type says (PROTOCOL M-2).
fn typed<'b, T: Schema + Deserialize<'b>>(bytes: &'b [u8]) -> Result<(), Invalid> {
    decode::<T>(bytes).map(drop)
}

/// Whether postcard takes it, and writes the same again.
fn twice<'b, T: Serialize + Deserialize<'b>>(bytes: &'b [u8]) -> bool {
    postcard::take_from_bytes::<T>(bytes).is_ok_and(|(value, rest)| rest.is_empty() && self::bytes(&value) == bytes)
}

/// What is shown of bytes that fit is taken back as the same bytes, but for the bits of a NaN.
fn there_and_back(message: &LearnedMessage, bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = shown(message, bytes);
    let back = from_text(message, &text).map_err(TestCaseError::fail)?;
    if !text.contains("NaN") {
        prop_assert_eq!(back, bytes);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_are_shown_and_taken_back(all in all(), maps in maps()) {
        let (message, payload) = (learned::<Types>("All"), bytes(&all));
        prop_assert_eq!(from_text(&message, &shown(&message, &payload)), Ok(payload));
        let (message, payload) = (learned::<Types>("Maps"), bytes(&maps));
        prop_assert_eq!(from_text(&message, &shown(&message, &payload)), Ok(payload));
    }

    #[test]
    fn damaged_bytes_are_judged_as_with_the_type(
        all in all(), at in any::<usize>(), byte in any::<u8>(), how in 0u8..4, random in any::<Vec<u8>>(),
    ) {
        let message = learned::<Types>("All");
        for bytes in [damage(bytes(&all), at, byte, how), random] {
            let verdict = message.structure().check(&bytes);
            prop_assert_eq!(verdict, check_structure(All::SCHEMA, &bytes), "PROTOCOL M-2");
            prop_assert_eq!(verdict, typed::<All>(&bytes), "PROTOCOL M-2");
            prop_assert_eq!(verdict.is_ok(), twice::<All>(&bytes), "PROTOCOL M-2");
            if verdict.is_ok() {
                there_and_back(&message, &bytes)?;
            }
        }
    }

    #[test]
    fn damaged_maps_are_judged_as_with_the_type(maps in maps(), at in any::<usize>(), byte in 0u8..4, how in 0u8..4) {
        let message = learned::<Types>("Maps");
        let bytes = damage(bytes(&maps), at, byte, how);
        let verdict = message.structure().check(&bytes);
        prop_assert_eq!(verdict, check_structure(Maps::SCHEMA, &bytes), "PROTOCOL M-2");
        prop_assert_eq!(verdict, typed::<Maps>(&bytes), "PROTOCOL M-2");
        prop_assert!(verdict.is_ok() || !twice::<Maps>(&bytes), "PROTOCOL M-2");
        if verdict.is_ok() {
            there_and_back(&message, &bytes)?;
        }
    }
}

#[test]
fn a_repeated_key_is_taken_as_with_the_type() {
    let message = learned::<Types>("Maps");
    // The same key twice, and keys out of order.
    for bytes in [[2, 1, b'a', 0, 1, b'a', 0, 0], [2, 1, b'b', 0, 1, b'a', 0, 0]] {
        assert_eq!(typed::<Maps>(&bytes), Ok(()), "PROTOCOL M-2");
        assert_eq!(message.structure().check(&bytes), Ok(()), "PROTOCOL M-2");
        assert_eq!(check_structure(Maps::SCHEMA, &bytes), Ok(()), "PROTOCOL M-2");
        there_and_back(&message, &bytes).unwrap();
    }
}

#[test]
fn keys_are_those_of_the_types() {
    for def in Types::CATALOG.messages() {
        assert_eq!(learned::<Types>(def.name()).key(), def.key(), "PROTOCOL S-3");
    }
}
