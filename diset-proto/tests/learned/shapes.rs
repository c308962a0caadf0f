//! How each kind of value is shown, and that the same is taken back.

use std::collections::BTreeMap;

use diset_proto::{Schema, define_service};
use postcard_schema::schema::{DataModelType, NamedType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::support::{bytes, described, from_text, from_value, learned, shown};

/// Bytes as one value: schemas have a name for them, the usual types do not.
#[derive(Debug, Clone)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Schema for Blob {
    const SCHEMA: &'static NamedType = &NamedType {
        name: "Blob",
        ty: &DataModelType::ByteArray,
    };
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

#[derive(Serialize, Deserialize, Schema)]
struct Numbers {
    a: i8,
    b: i16,
    c: i32,
    d: i64,
    e: u8,
    f: u16,
    g: u32,
    h: u64,
}
#[derive(Serialize, Deserialize, Schema)]
struct Wide(i128, u128, Option<u128>, Option<Option<i128>>);
#[derive(Serialize, Deserialize, Schema)]
struct Floats(f32, f64, f32, f64, f64);
#[derive(Serialize, Deserialize, Schema)]
struct Texts {
    text: String,
    letter: char,
    blob: Blob,
    flag: bool,
}
#[derive(Serialize, Deserialize, Schema)]
struct Options {
    none: Option<u8>,
    some: Option<u8>,
    outer: Option<Option<u8>>,
    inner: Option<Option<u8>>,
    value: Option<Option<u8>>,
    unit: Option<()>,
    no_unit: Option<()>,
}
#[derive(Serialize, Deserialize, Schema)]
enum Choice {
    Unit,
    New(u8),
    Nothing(()),
    Tup(u8, String),
    Rec { a: u8, b: Option<Box<bool>> },
}
#[derive(Serialize, Deserialize, Schema)]
struct Choices(Vec<Choice>);
#[derive(Serialize, Deserialize, Schema)]
struct Maps {
    texts: BTreeMap<String, u16>,
    numbers: BTreeMap<u8, String>,
    pairs: BTreeMap<(u8, bool), ()>,
}
#[derive(Serialize, Deserialize, Schema)]
struct Stop;
#[derive(Serialize, Deserialize, Schema)]
struct Empty {}

define_service! {
    Shapes = "Test/Shapes";
    both: [Numbers, Wide, Floats, Texts, Options, Choices, Maps, Stop, Empty],
}

/// Typed → bytes → JSON → bytes, through a tree and through the text.
fn both_ways<T: Serialize>(name: &str, value: &T, expected: &Value) {
    let (message, payload) = (learned::<Shapes>(name), bytes(value));
    let described = message.read(&payload).unwrap();
    assert_eq!(serde_json::to_value(described).unwrap(), *expected);
    assert_eq!(from_value(&message, expected.clone()).unwrap(), payload);
    assert_eq!(from_text(&message, &shown(&message, &payload)).unwrap(), payload);
}

#[test]
fn numbers() {
    let (a, b, c, d) = (i8::MIN, i16::MIN, i32::MIN, i64::MIN);
    let (e, f, g, h) = (u8::MAX, u16::MAX, u32::MAX, u64::MAX);
    let expected = json!({ "a": a, "b": b, "c": c, "d": d, "e": e, "f": f, "g": g, "h": h });
    both_ways("Numbers", &Numbers { a, b, c, d, e, f, g, h }, &expected);
}

#[test]
fn wide_numbers_keep_their_digits() {
    let message = learned::<Shapes>("Wide");
    for value in [
        Wide(i128::MIN, u128::MAX, Some(u128::MAX), Some(Some(i128::MIN))),
        Wide(i128::MAX, 0, None, Some(None)),
        Wide(-1, 1, Some(0), None),
    ] {
        let payload = bytes(&value);
        let text = shown(&message, &payload);
        assert_eq!(from_text(&message, &text).unwrap(), payload, "{text}");
    }
    let most = bytes(&Wide(i128::MIN, u128::MAX, None, None));
    let expected = format!("[{},{},null,null]", i128::MIN, u128::MAX);
    assert_eq!(shown(&message, &most), expected);
}

#[test]
fn floats() {
    let value = Floats(0.1, 0.1, f32::NAN, f64::INFINITY, f64::NEG_INFINITY);
    // The shortest form of each: a tree would show the f32 with the digits of an f64.
    let message = learned::<Shapes>("Floats");
    assert_eq!(shown(&message, &bytes(&value)), r#"[0.1,0.1,"NaN","inf","-inf"]"#);
    assert_eq!(
        from_text(&message, r#"[0.1,0.1,"NaN","inf","-inf"]"#).unwrap(),
        bytes(&value)
    );
    // Its shortest form, 7.038531e-26, read as an f64 and rounded again, is its neighbour.
    let misread = bytes(&Floats(
        f32::from_bits(0x15ae_43fd),
        0.0,
        f32::from_bits(0x95ae_43fd),
        0.0,
        0.0,
    ));
    assert_eq!(from_text(&message, &shown(&message, &misread)).unwrap(), misread);
    let whole = bytes(&Floats(1.0, -2.0, 16_777_216.0, 1e300, -0.0));
    assert_eq!(from_text(&message, "[1,-2,16777216,1e300,-0.0]").unwrap(), whole);
    let huge = u128::from(u64::MAX);
    let wide = from_text(&message, &format!("[{huge},{huge},0,0,0]")).unwrap();
    assert_eq!(wide, bytes(&Floats(huge as f32, huge as f64, 0.0, 0.0, 0.0)));
}

#[test]
fn texts_and_bytes() {
    let value = Texts {
        text: "\"µ\"\n".into(),
        letter: '→',
        blob: Blob(vec![0, 0xab, 0x7f]),
        flag: true,
    };
    let expected = json!({ "text": "\"µ\"\n", "letter": "→", "blob": "00ab7f", "flag": true });
    both_ways("Texts", &value, &expected);
    let message = learned::<Shapes>("Texts");
    let upper = json!({ "text": "\"µ\"\n", "letter": "→", "blob": "00AB7F", "flag": true });
    assert_eq!(from_value(&message, upper).unwrap(), bytes(&value));
}

#[test]
fn options() {
    let value = Options {
        none: None,
        some: Some(0),
        outer: None,
        inner: Some(None),
        value: Some(Some(7)),
        unit: Some(()),
        no_unit: None,
    };
    let expected = json!({
        "none": null, "some": 0, "outer": null, "inner": { "Some": null }, "value": { "Some": 7 },
        "unit": { "Some": null }, "no_unit": null,
    });
    both_ways("Options", &value, &expected);
    // Those that are missing are none.
    let message = learned::<Shapes>("Options");
    let sparse = json!({ "value": { "Some": 7 }, "unit": { "Some": null }, "inner": { "Some": null }, "some": 0 });
    assert_eq!(from_value(&message, sparse).unwrap(), bytes(&value));
    assert_eq!(from_text(&message, "{}").unwrap(), [0; 7]);
}

#[test]
fn variants() {
    let value = Choices(vec![
        Choice::Unit,
        Choice::New(1),
        Choice::Nothing(()),
        Choice::Tup(2, "x".into()),
        Choice::Rec { a: 3, b: None },
    ]);
    let expected = json!([
        "Unit", { "New": 1 }, { "Nothing": null }, { "Tup": [2, "x"] }, { "Rec": { "a": 3, "b": null } },
    ]);
    both_ways("Choices", &value, &expected);
}

#[test]
fn maps() {
    let value = Maps {
        texts: [("b".into(), 300), ("a".into(), 1)].into(),
        numbers: [(2, "two".into()), (1, "one".into())].into(),
        pairs: [((1, true), ()), ((1, false), ())].into(),
    };
    let expected = json!({
        "texts": { "a": 1, "b": 300 },
        "numbers": [[1, "one"], [2, "two"]],
        "pairs": [[[1, false], null], [[1, true], null]],
    });
    both_ways("Maps", &value, &expected);
}

#[test]
fn messages_without_attributes() {
    both_ways("Stop", &Stop, &json!(null));
    both_ways("Empty", &Empty {}, &json!({}));
    assert_eq!(shown(&described(&[21, 0, 0]), &[]), "[]");
}

#[test]
fn attributes_are_shown_in_their_order_and_taken_in_any() {
    let message = learned::<Shapes>("Texts");
    let payload = bytes(&Texts {
        text: "a".into(),
        letter: 'b',
        blob: Blob(vec![1]),
        flag: false,
    });
    let expected = r#"{"text":"a","letter":"b","blob":"01","flag":false}"#;
    assert_eq!(shown(&message, &payload), expected);
    let other = r#"{ "flag": false, "blob": "01", "text": "a", "letter": "b" }"#;
    assert_eq!(from_text(&message, other).unwrap(), payload);
    // Nested in what is itself out of order.
    let nested = described(&[
        22, 2, 0, 1, 0, b'a', 22, 2, 0, 1, 0, b'x', 7, 1, 0, b'y', 7, 1, 0, b'b', 19, 7,
    ]);
    let text = r#"{ "b": [3, 4], "a": { "y": 2, "x": 1 } }"#;
    assert_eq!(from_text(&nested, text).unwrap(), [1, 2, 2, 3, 4]);
}

#[test]
fn what_is_shown_does_not_show_in_debug() {
    let message = learned::<Shapes>("Choices");
    let described = message.read(&[0]).unwrap();
    assert_eq!(format!("{described:?}"), "Described(1 bytes)");
}
