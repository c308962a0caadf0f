//! What people are told of a value that cannot be encoded: the place, what was expected, what came.

use std::collections::BTreeMap;

use diset_proto::{LearnedMessage, Schema, define_service};
use serde::{Deserialize, Serialize};

use super::support::{described, from_text, learned};

#[derive(Serialize, Deserialize, Schema)]
struct Sample {
    name: String,
    value: u8,
}
#[derive(Serialize, Deserialize, Schema)]
enum Kind {
    Heat,
    Light(u8),
    Line(i8, i8),
    Both { a: u8 },
}
#[derive(Serialize, Deserialize, Schema)]
struct Reading {
    samples: Vec<Sample>,
    at: Option<u64>,
    twice: Option<Option<bool>>,
    kind: Kind,
    limits: BTreeMap<String, f32>,
    table: BTreeMap<u8, char>,
    pair: (i16, f64),
    wide: i128,
    unit: (),
}

define_service! { Lab = "Test/Lab"; both: [Reading] }

/// A reading that can be encoded, with one attribute replaced.
fn reading(attribute: &str, value: &str) -> Result<Vec<u8>, String> {
    let all = [
        ("samples", r#"[]"#),
        ("kind", r#""Heat""#),
        ("limits", "{}"),
        ("table", "[]"),
        ("pair", "[1, 1.5]"),
        ("wide", "-1"),
        ("unit", "null"),
    ];
    let others = all.iter().filter(|(name, _)| *name != attribute);
    let mut parts: Vec<_> = others.map(|(name, value)| format!("\"{name}\": {value}")).collect();
    parts.push(format!("\"{attribute}\": {value}"));
    from_text(&learned::<Lab>("Reading"), &format!("{{ {} }}", parts.join(", ")))
}

#[track_caller]
fn refused(attribute: &str, value: &str, expected: &str) {
    assert_eq!(reading(attribute, value).unwrap_err(), expected);
}

#[test]
fn the_reading_can_be_encoded() {
    assert_eq!(reading("at", "5").unwrap()[..3], [0, 1, 5]);
}

#[test]
fn numbers() {
    refused(
        "samples",
        r#"[{ "name": "a", "value": 1 }, { "name": "b", "value": "x" }]"#,
        "`samples[1].value`: expected an unsigned number up to 255, got the text \"x\"",
    );
    let value = |value: &str| reading("samples", &format!(r#"[{{ "name": "a", "value": {value} }}]"#)).unwrap_err();
    let expected = "`samples[0].value`: expected an unsigned number up to 255, got";
    assert_eq!(value("256"), format!("{expected} the number 256"));
    assert_eq!(value("-1"), format!("{expected} the number -1"));
    assert_eq!(value("1.0"), format!("{expected} the number 1.0"));
    assert_eq!(value("1e99"), format!("{expected} the number 1e99"));
    assert_eq!(value("null"), format!("{expected} null"));
    assert_eq!(value("true"), format!("{expected} true"));
    assert_eq!(value("[1]"), format!("{expected} an array"));
    assert_eq!(value("{}"), format!("{expected} an object"));
    refused(
        "pair",
        "[40000, 1]",
        "`pair[0]`: expected a whole number from -32768 to 32767, got the number 40000",
    );
    refused(
        "pair",
        "[1, \"1\"]",
        "`pair[1]`: expected a number, or the text NaN, inf or -inf, got the text \"1\"",
    );
    refused(
        "at",
        "18446744073709551616",
        "`at`: expected an unsigned number up to 18446744073709551615, got the number 1.8446744073709552e19",
    );
    refused(
        "limits",
        r#"{ "cern": 1e39 }"#,
        "`limits[\"cern\"]`: expected a number up to 3.4028235e38, or the text NaN, inf or -inf, got the number 1e39",
    );
    // Wide numbers are read by the format itself, which adds its own words.
    let wide = format!("`wide`: expected a whole number from {} to {}", i128::MIN, i128::MAX);
    let text = reading("wide", "\"x\"").unwrap_err();
    assert!(text.starts_with(&format!("{wide}: invalid number at line 1")), "{text}");
    let value = learned::<Lab>("Reading")
        .encode(serde_json::json!({ "wide": "x" }))
        .unwrap_err();
    assert!(
        value
            .to_string()
            .starts_with(&format!("{wide}: invalid type: string \"x\"")),
        "{value}"
    );
    let huge = reading("wide", "170141183460469231731687303715884105728").unwrap_err();
    assert!(huge.starts_with(&format!("{wide}: ")), "{huge}");
}

#[test]
fn texts() {
    refused(
        "samples",
        r#"[{ "name": 5, "value": 1 }]"#,
        "`samples[0].name`: expected a text, got the number 5",
    );
    for (letter, got) in [("", "\"\""), ("ab", "\"ab\"")] {
        refused(
            "table",
            &format!("[[1, \"{letter}\"]]"),
            &format!("`table[0][1]`: expected a text of one character, got the text {got}"),
        );
    }
    let blob = described(&[16]);
    for text in ["abc", "0g", "µ", "+1"] {
        assert_eq!(
            from_text(&blob, &format!("\"{text}\"")).unwrap_err(),
            format!("expected a text of hexadecimal digits, two for each byte, got the text \"{text}\"")
        );
    }
    let flag = described(&[1]);
    assert_eq!(
        from_text(&flag, "0").unwrap_err(),
        "expected true or false, got the number 0"
    );
    let long = "y".repeat(50);
    let shown = format!("expected true or false, got the text \"{}\"…", "y".repeat(40));
    assert_eq!(from_text(&flag, &format!("\"{long}\"")).unwrap_err(), shown);
    assert_eq!(
        from_text(&flag, r#""\u001b[2J""#).unwrap_err(),
        r#"expected true or false, got the text "\u{1b}[2J""#
    );
}

#[test]
fn attributes() {
    refused(
        "sample",
        "[]",
        "expected an object with the attributes `samples`, `at`, `twice`, `kind`, `limits`, `table`, `pair`, `wide`, \
         `unit`, got the attribute \"sample\"",
    );
    let message = learned::<Lab>("Reading");
    assert_eq!(
        from_text(&message, "{}").unwrap_err(),
        "the attribute `samples` is missing"
    );
    refused(
        "samples",
        r#"[{ "name": "a" }]"#,
        "`samples[0]`: the attribute `value` is missing",
    );
    refused("at", "1, \"at\": 2", "the attribute `at` stands twice");
    refused("unit", "1", "`unit`: expected null, got the number 1");
    let [nothing, three] = [described(&[22, 0, 0]), described(&[21, 1, 0, 22, 0, 0])];
    assert_eq!(
        from_text(&nothing, r#"{ "a": 1 }"#).unwrap_err(),
        "expected an object without attributes, got the attribute \"a\""
    );
    assert_eq!(
        from_text(&three, "[5]").unwrap_err(),
        "`[0]`: expected an object without attributes, got the number 5"
    );
}

#[test]
fn variants() {
    let names = "`Heat`, `Light`, `Line`, `Both`";
    let expected = format!("`kind`: expected one of the variants {names}, got");
    refused(
        "kind",
        "\"Heet\"",
        &format!("`kind`: there is no variant \"Heet\"; the variants are {names}"),
    );
    refused(
        "kind",
        "{ \"Heet\": 1 }",
        &format!("`kind`: there is no variant \"Heet\"; the variants are {names}"),
    );
    refused("kind", "5", &format!("{expected} the number 5"));
    refused("kind", "{}", &format!("{expected} an object without entries"));
    refused(
        "kind",
        r#"{ "Light": 1, "Heat": 2 }"#,
        &format!("{expected} an object of more than one entry"),
    );
    refused(
        "kind",
        "\"Light\"",
        "`kind`: the variant `Light` needs a value, as an object {\"Light\": …}",
    );
    refused(
        "kind",
        r#"{ "Heat": null }"#,
        "`kind`: the variant `Heat` is given as a text, without a value",
    );
    refused(
        "kind",
        r#"{ "Both": { "a": -1 } }"#,
        "`kind.Both.a`: expected an unsigned number up to 255, got the number -1",
    );
    refused(
        "kind",
        r#"{ "Line": [1, 1000] }"#,
        "`kind.Line[1]`: expected a whole number from -128 to 127, got the number 1000",
    );
}

#[test]
fn options() {
    refused(
        "at",
        "\"x\"",
        "`at`: expected an unsigned number up to 18446744073709551615, got the text \"x\"",
    );
    let expected = "`twice`: expected null or {\"Some\": …}, got";
    refused("twice", "true", &format!("{expected} true"));
    refused("twice", r#"{ "None": 1 }"#, &format!("{expected} another object"));
    refused(
        "twice",
        r#"{ "Some": null, "more": 1 }"#,
        &format!("{expected} an object of more than one entry"),
    );
    refused(
        "twice",
        r#"{ "Some": 5 }"#,
        "`twice.Some`: expected true or false, got the number 5",
    );
}

#[test]
fn arrays_and_maps() {
    refused("pair", "[1]", "`pair`: expected an array of 2 elements, got only 1");
    refused("pair", "[1, 2, 3]", "`pair`: expected an array of 2 elements, got more");
    refused("pair", "{}", "`pair`: expected an array of 2 elements, got an object");
    refused("samples", "{}", "`samples`: expected an array, got an object");
    refused("limits", "[]", "`limits`: expected an object, got an array");
    refused(
        "table",
        "{}",
        "`table`: expected an array of arrays [key, value], got an object",
    );
    refused(
        "table",
        "[[1]]",
        "`table[0]`: expected an array [key, value], got only 1",
    );
    refused(
        "table",
        "[5]",
        "`table[0]`: expected an array [key, value], got the number 5",
    );
}

#[test]
fn a_key_may_stand_twice() {
    let texts = described(&[20, 15, 7]);
    assert_eq!(
        from_text(&texts, r#"{ "a": 1, "b": 2, "a": 3 }"#).unwrap(),
        [3, 1, b'a', 1, 1, b'b', 2, 1, b'a', 3],
        "PROTOCOL M-2"
    );
    let keyed = described(&[20, 21, 2, 0, 7, 7, 7]);
    assert_eq!(
        from_text(&keyed, "[[[1, 1], 5], [[1, 2], 5], [[1, 1], 6]]").unwrap(),
        [3, 1, 1, 5, 1, 2, 5, 1, 1, 6],
        "PROTOCOL M-2"
    );
}

#[test]
fn what_the_format_finds_is_told_with_the_place() {
    let refused = reading("samples", r#"[{ "name": "a", "value": nul }]"#).unwrap_err();
    assert!(
        refused.starts_with("`samples[0].value`: expected ident at line 1"),
        "{refused}"
    );
}

#[test]
fn long_lists_of_names_are_cut_and_names_are_made_harmless() {
    let mut ty = vec![23, 25, 0];
    for number in 0..25u8 {
        ty.extend([2, 0, 27, b'a' + number, 0]);
    }
    let names: Vec<_> = (b'a'..b'a' + 20)
        .map(|letter| format!("`\\u{{1b}}{}`", char::from(letter)))
        .collect();
    let message: LearnedMessage = described(&ty);
    assert_eq!(
        from_text(&message, "1").unwrap_err(),
        format!(
            "expected one of the variants {} and 5 more, got the number 1",
            names.join(", ")
        ),
        "PROTOCOL E-2"
    );
}

#[test]
fn place_and_reason_can_be_asked_for() {
    let message = learned::<Lab>("Reading");
    let refused = message.encode(serde_json::json!({ "samples": [7] })).unwrap_err();
    assert_eq!(refused.path(), "samples[0]");
    assert_eq!(
        refused.reason(),
        "expected an object with the attributes `name`, `value`, got the number 7"
    );
}
