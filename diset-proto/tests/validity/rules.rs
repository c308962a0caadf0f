//! A case or two for each sentence of the rule.

use core::fmt::Debug;
use core::marker::PhantomData;
use std::collections::BTreeMap;

use diset_proto::{Invalid, LearnedMessage, Schema, check_structure, decode, decode_seed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::seeds::targets::value::compare;

/// What all say of these bytes, as a `T`, whose structure has this canonical form (PROTOCOL S-3).
#[track_caller]
fn judged<T: Schema + DeserializeOwned + Debug>(ty: &[u8], bytes: &[u8]) -> Result<T, Invalid> {
    let learned = LearnedMessage::decode(&[&[3, 0, 1, 0, b'A'], ty].concat()).unwrap();
    let walked = compare(learned.structure(), bytes);
    assert_eq!(check_structure(T::SCHEMA, bytes), walked, "PROTOCOL M-2");
    let decoded = decode::<T>(bytes);
    assert_eq!(decoded.as_ref().err(), walked.as_ref().err(), "PROTOCOL M-2");
    decoded
}

/// Holds an integer type against its bytes: the most, one more digit, one more bit, longer than needed, cut.
macro_rules! integers {
    ($($ty:ident $kind:literal $most:expr, $last:literal;)*) => {$({
        let ty = [$kind];
        let width = <$ty>::BITS.div_ceil(7) as usize;
        let mut most = vec![0xff; width];
        most[width - 1] = $last;
        assert_eq!(judged::<$ty>(&ty, &most), Ok($most), "PROTOCOL M-2");
        assert_eq!(judged::<$ty>(&ty, &[0]), Ok(0));
        assert_eq!(judged::<$ty>(&ty, &most[..width - 1]), Err(Invalid::TooShort));
        assert_eq!(judged::<$ty>(&ty, &[]), Err(Invalid::TooShort));
        most[width - 1] = $last + 1;
        assert_eq!(judged::<$ty>(&ty, &most), Err(Invalid::Number), "PROTOCOL M-2: its width");
        most[width - 1] = 0x80 | $last;
        most.push(0);
        assert_eq!(judged::<$ty>(&ty, &most), Err(Invalid::Number), "PROTOCOL M-2: its width");
        for digits in 1..width {
            let long = [vec![0xff; digits], vec![0]].concat();
            assert_eq!(judged::<$ty>(&ty, &long), Err(Invalid::Number), "PROTOCOL M-2: the shortest form");
        }
        assert_eq!(judged::<$ty>(&ty, &[0x80, 0]), Err(Invalid::Number), "PROTOCOL M-2: the shortest form");
        assert_eq!(judged::<$ty>(&ty, &[1, 0]), Err(Invalid::LeftOver(1)), "PROTOCOL M-2: nothing left over");
    })*};
}

#[test]
fn integers_are_in_the_shortest_form_and_within_their_width() {
    integers! {
        u16 8 u16::MAX, 3;
        i16 3 i16::MIN, 3;
        u32 9 u32::MAX, 0x0f;
        i32 4 i32::MIN, 0x0f;
        u64 10 u64::MAX, 1;
        i64 5 i64::MIN, 1;
        u128 11 u128::MAX, 3;
        i128 6 i128::MIN, 3;
    }
    // Those of eight bits are their byte.
    assert_eq!(judged::<u8>(&[7], &[0xff]), Ok(255));
    assert_eq!(judged::<i8>(&[2], &[0xff]), Ok(-1));
    assert_eq!(judged::<u8>(&[7], &[0x80, 1]), Err(Invalid::LeftOver(1)));
}

#[test]
fn lengths_are_in_the_shortest_form_and_within_32_bits() {
    let longest = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for beyond in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
        assert_eq!(judged::<String>(&[15], beyond), Err(Invalid::Number), "PROTOCOL M-2");
        assert_eq!(
            judged::<Vec<u16>>(&[19, 8], beyond),
            Err(Invalid::Number),
            "PROTOCOL M-2"
        );
        assert_eq!(judged::<char>(&[14], beyond), Err(Invalid::Number), "PROTOCOL M-2");
        let map = judged::<BTreeMap<bool, u8>>(&[20, 1, 7], beyond);
        assert_eq!(map, Err(Invalid::Number), "PROTOCOL M-2");
    }
    assert_eq!(judged::<String>(&[15], &longest), Err(Invalid::TooShort));
    assert_eq!(judged::<Vec<u16>>(&[19, 8], &longest), Err(Invalid::TooShort));
    assert_eq!(
        judged::<String>(&[15], &[0x81, 0, b'a']),
        Err(Invalid::Number),
        "PROTOCOL M-2"
    );
    assert_eq!(
        judged::<Vec<u8>>(&[19, 7], &[0x80, 0]),
        Err(Invalid::Number),
        "PROTOCOL M-2"
    );
    // More elements than there are bytes, the last of them cut.
    assert_eq!(judged::<Vec<u16>>(&[19, 8], &[3, 1, 1]), Err(Invalid::TooShort));
    assert_eq!(judged::<Vec<u16>>(&[19, 8], &[2, 1, 0x81]), Err(Invalid::TooShort));
    assert_eq!(judged::<Vec<u16>>(&[19, 8], &[2, 1, 1]), Ok(vec![1, 1]));
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
enum Choice {
    Nothing,
    One(u8),
    Two(bool, bool),
    Named { a: u8 },
}

/// Canonical form of the same.
const CHOICE: &[u8] =
    b"\x17\x04\0\x07\0Nothing\0\x03\0One\x01\x07\x03\0Two\x02\x02\0\x01\x01\x05\0Named\x03\x01\0\x01\0a\x07";

#[test]
fn the_number_of_a_variant_is_below_their_count() {
    assert_eq!(judged::<Choice>(CHOICE, &[0]), Ok(Choice::Nothing));
    assert_eq!(judged::<Choice>(CHOICE, &[1, 9]), Ok(Choice::One(9)));
    assert_eq!(judged::<Choice>(CHOICE, &[2, 0, 1]), Ok(Choice::Two(false, true)));
    assert_eq!(judged::<Choice>(CHOICE, &[3, 7]), Ok(Choice::Named { a: 7 }));
    assert_eq!(judged::<Choice>(CHOICE, &[4]), Err(Invalid::Variant(4)), "PROTOCOL M-2");
    let largest = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(judged::<Choice>(CHOICE, &largest), Err(Invalid::Variant(u32::MAX)));
    assert_eq!(
        judged::<Choice>(CHOICE, &[0x80, 0]),
        Err(Invalid::Number),
        "PROTOCOL M-2: the shortest form"
    );
    let beyond = [0x80, 0x80, 0x80, 0x80, 0x10];
    assert_eq!(
        judged::<Choice>(CHOICE, &beyond),
        Err(Invalid::Number),
        "PROTOCOL M-2: 32 bits"
    );
    assert_eq!(judged::<Choice>(CHOICE, &[2, 0]), Err(Invalid::TooShort));
    assert_eq!(judged::<Choice>(CHOICE, &[0, 0]), Err(Invalid::LeftOver(1)));
}

/// serde makes `Rest` of what it does not know; the rule does not.
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
enum WithRest {
    One,
    #[serde(other)]
    Rest,
}

#[test]
fn a_variant_for_all_others_takes_no_number_beyond_the_count() {
    let ty = b"\x17\x02\0\x03\0One\0\x04\0Rest\0";
    assert_eq!(judged::<WithRest>(ty, &[1]), Ok(WithRest::Rest));
    assert_eq!(judged::<WithRest>(ty, &[2]), Err(Invalid::Variant(2)), "PROTOCOL M-2");
}

#[test]
fn truth_values_and_option_tags_are_0_or_1() {
    assert_eq!(judged::<bool>(&[1], &[1]), Ok(true));
    assert_eq!(judged::<bool>(&[1], &[2]), Err(Invalid::Bool), "PROTOCOL M-2");
    assert_eq!(judged::<Option<u8>>(&[18, 7], &[0]), Ok(None));
    assert_eq!(judged::<Option<u8>>(&[18, 7], &[1, 2]), Ok(Some(2)));
    assert_eq!(
        judged::<Option<u8>>(&[18, 7], &[2, 2]),
        Err(Invalid::Bool),
        "PROTOCOL M-2"
    );
    assert_eq!(judged::<Option<u8>>(&[18, 7], &[0, 2]), Err(Invalid::LeftOver(1)));
    assert_eq!(judged::<Option<u8>>(&[18, 7], &[1]), Err(Invalid::TooShort));
}

#[test]
fn text_is_utf_8_and_a_char_is_a_text_of_one_character() {
    assert_eq!(judged::<String>(&[15], &[2, 0xc3, 0xa4]), Ok("ä".to_owned()));
    for bad in [
        &[1, 0xff][..],
        &[1, 0xc3],
        &[2, 0xc1, 0x81],
        &[3, 0xed, 0xa0, 0x80],
        &[4, 0xf4, 0x90, 0x80, 0x80],
    ] {
        assert_eq!(judged::<String>(&[15], bad), Err(Invalid::Text), "PROTOCOL M-2");
        assert_eq!(judged::<char>(&[14], bad), Err(Invalid::Text), "PROTOCOL M-2");
    }
    assert_eq!(judged::<char>(&[14], &[4, 0xf0, 0x9f, 0x98, 0x80]), Ok('😀'));
    for count in [
        &[0][..],
        &[2, b'a', b'a'],
        &[3, b'a', 0xc3, 0xa4],
        &[5, b'a', b'b', b'c', b'd', b'e'],
    ] {
        assert_eq!(
            judged::<char>(&[14], count),
            Err(Invalid::Text),
            "PROTOCOL M-2: exactly one"
        );
    }
}

#[test]
fn no_byte_is_left_over() {
    assert_eq!(judged::<()>(&[17], &[]), Ok(()));
    assert_eq!(judged::<()>(&[17], &[0]), Err(Invalid::LeftOver(1)), "PROTOCOL M-2");
    assert_eq!(
        judged::<[u8; 2]>(&[21, 2, 0, 7, 7], &[1, 2, 3, 4]),
        Err(Invalid::LeftOver(2)),
        "PROTOCOL M-2"
    );
}

#[test]
fn any_bytes_are_a_float() {
    for bits in [
        0,
        0x7f80_0001_u32,
        0x7fa0_0001,
        0xffff_ffff,
        0x7fc0_0000,
        0x8000_0000,
        0x15ae_43fd,
    ] {
        let float = judged::<f32>(&[12], &bits.to_le_bytes()).unwrap();
        assert_eq!(float.to_bits(), bits, "PROTOCOL M-2");
    }
    for bits in [0, 0x7ff0_0000_0000_0001_u64, 0xfff4_0605_0403_0201, u64::MAX] {
        let float = judged::<f64>(&[13], &bits.to_le_bytes()).unwrap();
        assert_eq!(float.to_bits(), bits, "PROTOCOL M-2");
    }
    assert_eq!(judged::<f32>(&[12], &[0; 3]), Err(Invalid::TooShort));
    assert_eq!(judged::<f64>(&[13], &[0; 9]), Err(Invalid::LeftOver(1)));
}

#[test]
fn a_map_may_have_a_key_twice_and_its_type_says_what_that_means() {
    let (ty, twice) = ([20, 7, 7], [3, 5, 1, 4, 2, 5, 3]);
    let map = judged::<BTreeMap<u8, u8>>(&ty, &twice).unwrap();
    assert_eq!(map, BTreeMap::from([(4, 2), (5, 3)]), "PROTOCOL M-2");
    let seed = PhantomData::<heapless::LinearMap<u8, u8, 2>>;
    assert_eq!(decode_seed(seed, &twice).unwrap().len(), 2);
}

#[test]
fn a_type_may_take_less_than_its_structure() {
    type Text = heapless::String<2>;
    type List = heapless::Vec<u8, 2>;
    // What is valid, and beyond a capacity.
    assert_eq!(check_structure(Text::SCHEMA, &[3, b'a', b'b', b'c']), Ok(()));
    assert_eq!(
        decode::<Text>(&[3, b'a', b'b', b'c']),
        Err(Invalid::Capacity),
        "PROTOCOL M-2"
    );
    assert_eq!(decode::<List>(&[3, 1, 2, 3]), Err(Invalid::Capacity), "PROTOCOL M-2");
    let map = PhantomData::<heapless::LinearMap<u8, u8, 1>>;
    assert_eq!(
        decode_seed(map, &[2, 1, 1, 2, 2]),
        Err(Invalid::Capacity),
        "PROTOCOL M-2"
    );
    assert_eq!(decode::<Text>(&[2, b'a', b'b']).unwrap(), "ab");
    // And beyond its range.
    let zero = decode::<core::num::NonZeroU8>(&[0]);
    assert_eq!(zero, Err(Invalid::Refused), "PROTOCOL M-2");
    let nanoseconds = [
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..],
        &[0x80, 0x94, 0xeb, 0xdc, 3],
    ]
    .concat();
    assert_eq!(
        decode::<core::time::Duration>(&nanoseconds),
        Err(Invalid::Refused),
        "PROTOCOL M-2"
    );
    // What is not valid stays that.
    assert_eq!(decode::<Text>(&[1, 0xff]), Err(Invalid::Text));
    assert_eq!(decode::<Text>(&[3, b'a', b'b']), Err(Invalid::TooShort));
}

#[test]
fn texts_and_bytes_are_borrowed() {
    #[derive(Debug, PartialEq, Deserialize, Schema)]
    struct Lent<'b> {
        text: &'b str,
        bytes: &'b [u8],
        #[serde(borrow)]
        more: Option<&'b str>,
    }
    let payload = [2, b'h', b'i', 2, 0xff, 0, 1, 1, b'x'];
    let lent: Lent<'_> = decode(&payload).unwrap();
    assert_eq!(
        lent,
        Lent {
            text: "hi",
            bytes: &[0xff, 0],
            more: Some("x")
        }
    );
    assert!(payload.as_ptr_range().contains(&lent.text.as_ptr()));
    assert!(payload.as_ptr_range().contains(&lent.bytes.as_ptr()));
}
