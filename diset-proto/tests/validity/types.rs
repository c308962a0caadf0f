//! Types that do not read what their structure says: an error that says so, for their authors, and never a panic.

use core::fmt;
use std::collections::HashMap;

use diset_proto::postcard_schema::schema::{DataModelType, NamedType};
use diset_proto::{Code, Invalid, Schema, check_structure, check_wire, decode};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Passes over its value, which is a number.
#[derive(Debug, Deserialize)]
struct Ignored(#[allow(dead_code, reason = "it has no value")] IgnoredAny);

/// Asks what its value is, which is a number.
#[derive(Debug, Deserialize)]
struct Anything(#[allow(dead_code, reason = "never there")] serde_json::Value);

/// Reads the first of three numbers.
#[derive(Debug)]
struct First;

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = First;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("three numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<First, A::Error> {
                numbers.next_element::<u8>().map(|_| First)
            }
        }
        reader.deserialize_tuple(3, One)
    }
}

/// A map that has no order of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Unordered(HashMap<u8, u16>);

macro_rules! structures {
    ($($name:ident = $ty:expr;)*) => {$(
        impl Schema for $name {
            const SCHEMA: &'static NamedType = &NamedType { name: stringify!($name), ty: &$ty };
        }
    )*};
}

structures! {
    Ignored = DataModelType::U16;
    Anything = DataModelType::U16;
    Unordered = DataModelType::Map { key: u8::SCHEMA, val: u16::SCHEMA };
    First = DataModelType::Tuple(&[u8::SCHEMA, u8::SCHEMA, u8::SCHEMA]);
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, Schema)]
struct Inner {
    a: u8,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    inner: Inner,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
#[serde(tag = "kind")]
enum Tagged {
    One(Inner),
    Two(Inner),
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
#[serde(tag = "kind", content = "value")]
enum Beside {
    One(u8),
    Two(u8),
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Skipped {
    id: u8,
    #[serde(skip_deserializing)]
    inner: Inner,
}
/// Reads a number where it writes a text.
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Changed {
    id: u8,
    #[serde(skip_serializing_if = "is_zero")]
    value: u8,
}
/// Says less than it was told.
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Halved {
    #[serde(deserialize_with = "halved")]
    value: u8,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

fn halved<'de, D: Deserializer<'de>>(reader: D) -> Result<u8, D::Error> {
    u8::deserialize(reader).map(|value| value / 2)
}

/// What a type says of a payload that fits its structure.
#[track_caller]
fn reads<T: Schema + DeserializeOwned + fmt::Debug>(payload: &[u8]) -> Invalid {
    assert_eq!(check_structure(T::SCHEMA, payload), Ok(()));
    // Whatever comes: an answer.
    for first in 0..=255 {
        let _ = decode::<T>(&[first, payload[0], 1, 0]);
        let _ = decode::<T>(&[first]);
    }
    decode::<T>(payload).unwrap_err()
}

#[test]
fn a_type_that_reads_otherwise_than_its_structure_is_told() {
    assert_eq!(reads::<Ignored>(&[1]), Invalid::Unread, "PROTOCOL M-2");
    assert_eq!(reads::<Anything>(&[1]), Invalid::Unread);
    assert_eq!(reads::<First>(&[1, 2, 3]), Invalid::Unread);
    assert_eq!(reads::<Flat>(&[1, 5]), Invalid::Unread);
    assert_eq!(reads::<Flat>(&[0, 5]), Invalid::Refused);
    assert_eq!(reads::<Untagged>(&[0, 5]), Invalid::Unread);
    assert_eq!(reads::<Tagged>(&[1, 5]), Invalid::Unread);
    assert_eq!(reads::<Beside>(&[1, 5]), Invalid::Unread);
    assert_eq!(reads::<Skipped>(&[1, 5]), Invalid::LeftOver(1));
    // Not the peer's fault, but there is no better code for it.
    assert_eq!(Invalid::Unread.code(), Code::Invalid);
    assert_eq!(Invalid::Capacity.code(), Code::TooLong);
}

#[test]
fn check_wire_finds_types_that_read_or_write_otherwise() {
    let inner = || Inner { a: 5 };
    let mut scratch = [0; 64];
    assert_eq!(check_wire(&inner(), &mut scratch), Ok(()));
    // Of a map without a length nothing is written.
    let flat = Flat { id: 1, inner: inner() };
    assert_eq!(check_wire(&flat, &mut scratch), Err(Invalid::Refused));
    assert_eq!(
        check_wire(&Untagged::Text("hi".to_owned()), &mut scratch),
        Err(Invalid::Variant(2))
    );
    assert!(check_wire(&Tagged::Two(inner()), &mut scratch).is_err());
    let skipped = Skipped { id: 1, inner: inner() };
    assert_eq!(check_wire(&skipped, &mut scratch), Err(Invalid::LeftOver(1)));
    assert_eq!(
        check_wire(&Changed { id: 1, value: 0 }, &mut scratch),
        Err(Invalid::TooShort)
    );
    assert_eq!(check_wire(&Halved { value: 4 }, &mut scratch), Err(Invalid::Unread));
    assert_eq!(check_wire(&Halved { value: 4 }, &mut []), Err(Invalid::Refused));
    // A map without an order is written in another one.
    let map = Unordered((0..20).map(|key| (key, 1000 + u16::from(key))).collect());
    assert_eq!(check_wire(&map, &mut [0; 256]), Ok(()));
    assert_eq!(check_wire(&Beside::Two(5), &mut scratch), Err(Invalid::Unread));
}

#[test]
fn what_a_sample_borrows_may_be_shorter_lived_than_the_scratch() {
    #[derive(Serialize, Deserialize, Schema)]
    struct Lent<'b> {
        text: &'b str,
    }
    let mut scratch = [0; 8];
    let text = String::from("hi");
    assert_eq!(check_wire(&Lent { text: &text }, &mut scratch), Ok(()));
}
