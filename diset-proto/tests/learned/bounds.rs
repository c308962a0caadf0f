//! Structures and payloads made to cost much: the work, and what is shown, are bounded by the bytes.

use diset_proto::{Invalid, LearnedMessage};

use super::support::{described, from_text, shown};

/// A tuple of a byte and so many units, as 256 at a time in a tuple of their own.
fn units(blocks: u8) -> Vec<u8> {
    let block = [&[21, 0, 1][..], &[17; 256]].concat();
    [&[21, blocks + 1, 0, 7][..], &block.repeat(blocks.into())].concat()
}

#[test]
fn units_cost_no_more_than_the_bytes_allow() {
    // 1030 parts in each element; any message may have 16,384 and 64 for each of its bytes.
    let message = described(&[&[19], &units(4)[..]].concat());
    let few = [&[17][..], &[7; 17]].concat();
    assert_eq!(message.structure().check(&few), Ok(()));
    let many = [&[18][..], &[7; 18]].concat();
    assert_eq!(
        message.structure().check(&many),
        Err(Invalid::TooMuchWork),
        "PROTOCOL M-6"
    );
    assert_eq!(message.read(&many).err(), Some(Invalid::TooMuchWork));
    // One such element is nothing special.
    let one = described(&units(4));
    let text = shown(&one, &[7]);
    assert_eq!(text.matches("null").count(), 1024);
    assert_eq!(from_text(&one, &text).unwrap(), [7]);
}

/// A name of 64 bytes that is unlike those of other numbers up to 960. JSON needs six bytes for each of these.
fn escaped(number: u16) -> Vec<u8> {
    let digits = [number / 31, number % 31].map(|digit| u8::try_from(digit).unwrap() + 1);
    [&[64, 0][..], &[1; 62], &digits].concat()
}

/// A name of 31 letters and digits.
fn plain(number: u16) -> Vec<u8> {
    [
        &[31, 0][..],
        format!("attribute_of_a_wide_record_{number:04}").as_bytes(),
    ]
    .concat()
}

/// A structure of these attributes, each a name and a type.
fn structure(attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let count = u16::try_from(attributes.len()).unwrap().to_le_bytes();
    let each = attributes.iter().flat_map(|(name, ty)| [&name[..], ty].concat());
    [22].into_iter().chain(count).chain(each).collect()
}

/// A sequence of this type.
fn sequence(ty: &[u8]) -> LearnedMessage {
    described(&[&[19], ty].concat())
}

/// A sequence of so many elements, each of these bytes.
fn elements(element: &[u8], mut count: usize) -> Vec<u8> {
    let all = element.repeat(count);
    let mut payload = Vec::new();
    while count > 0x7f {
        payload.push(0x80 | u8::try_from(count & 0x7f).unwrap());
        count >>= 7;
    }
    payload.push(u8::try_from(count).unwrap());
    [payload, all].concat()
}

/// What may be shown of a payload: at most 5 bytes for each 1 that is counted, and 9 for each byte.
fn most_shown(payload: &[u8]) -> usize {
    5 * (16_384 + 64 * payload.len()) + 9 * payload.len()
}

/// Shows sequences of this element up to 64 KiB; those that are refused are refused for what they would show. How many
/// elements the longest one had.
fn longest_shown(message: &LearnedMessage, element: &[u8]) -> usize {
    let mut longest = 0;
    for power in 0..=16 {
        let count = 1 << power;
        let payload = elements(element, count);
        match message.read(&payload) {
            Ok(described) => {
                let text = serde_json::to_string(&described).unwrap();
                let most = most_shown(&payload);
                assert!(text.len() <= most, "PROTOCOL M-6: {} of {most} bytes", text.len());
                longest = count;
            }
            Err(refused) => assert_eq!(refused, Invalid::TooMuchWork),
        }
    }
    longest
}

#[test]
fn what_is_shown_is_bounded_by_the_bytes() {
    // A flag and so many units under long names of control characters.
    let record = |units: u16| {
        let units = (0..units).map(|number| (escaped(number), vec![17]));
        let all: Vec<_> = units.chain([(plain(0), vec![1])]).collect();
        structure(&all)
    };
    assert_eq!(longest_shown(&sequence(&record(0)), &[1]), 65_536);
    assert_eq!(longest_shown(&sequence(&record(1)), &[1]), 32);
    assert_eq!(longest_shown(&sequence(&record(15)), &[1]), 2);
    assert_eq!(longest_shown(&sequence(&record(250)), &[1]), 0);
    // Such names one inside the other, around the only byte.
    let nested = (0..14).fold(vec![1], |inner, number| structure(&[(escaped(number), inner)]));
    assert_eq!(longest_shown(&sequence(&nested), &[1]), 2);
    // A variant with such a name.
    let variant = [&[23, 1, 0][..], &escaped(0), &[0]].concat();
    assert_eq!(longest_shown(&sequence(&variant), &[0]), 32);
    // Short names, where the quotes and the colon count most.
    let short = |number: u8| (vec![1, 0, b'a' + number], vec![17]);
    let short: Vec<_> = (0..26).map(short).chain([(plain(0), vec![1])]).collect();
    assert_eq!(longest_shown(&sequence(&structure(&short)), &[1]), 512);
}

#[test]
fn wide_records_of_parts_that_take_bytes_are_shown() {
    // 250 attributes, each an enum whose variant takes one byte, all with names of 31 letters.
    let variant = [&[23, 1, 0][..], &plain(0), &[0]].concat();
    let attributes: Vec<_> = (0..250).map(|number| (plain(number), variant.clone())).collect();
    let message = sequence(&structure(&attributes));
    let payload = elements(&[0; 250], 4000);
    assert_eq!(message.structure().check(&payload), Ok(()), "PROTOCOL M-6");
    let few = elements(&[0; 250], 4);
    assert_eq!(from_text(&message, &shown(&message, &few)).unwrap(), few);
}

#[test]
fn what_would_be_refused_is_not_encoded() {
    let message = sequence(&units(4));
    let element = format!("[7{}]", format!(",[{}]", vec!["null"; 256].join(",")).repeat(4));
    let text = |count: usize| format!("[{}]", vec![element.as_str(); count].join(","));
    assert_eq!(from_text(&message, &text(17)).unwrap(), elements(&[7], 17));
    assert_eq!(
        from_text(&message, &text(18)).unwrap_err(),
        "the message shows too many parts and names for its length",
        "PROTOCOL M-6"
    );
}

#[test]
fn many_levels_of_options_are_no_cost() {
    let ty = [[18].repeat(14), vec![7]].concat();
    let message = described(&[vec![19], ty].concat());
    let payload = [vec![0xff, 0xff, 0x03], [vec![1; 14], vec![5]].concat().repeat(65_535)].concat();
    assert_eq!(message.structure().check(&payload), Ok(()));
}

#[test]
fn counts_are_held_against_the_bytes() {
    let message = described(&[19, 19, 15]);
    let claimed = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2];
    assert_eq!(message.read(&claimed).err(), Some(Invalid::TooShort));
    let map = described(&[20, 15, 7]);
    assert_eq!(map.read(&[0xff, 0x7f, 0, 0]).err(), Some(Invalid::TooShort));
}

#[test]
fn deep_values_do_not_fit_a_structure() {
    let deepest = described(&[[19].repeat(15), vec![7]].concat());
    let fits = format!("{}7{}", "[".repeat(15), "]".repeat(15));
    let payload = from_text(&deepest, &fits).unwrap();
    assert_eq!(payload, [[1].repeat(15), vec![7]].concat());
    assert_eq!(shown(&deepest, &payload), fits);
    let path = "[0]".repeat(15);
    assert_eq!(
        from_text(&deepest, &"[".repeat(100_000)).unwrap_err(),
        format!("`{path}`: expected an unsigned number up to 255, got an array")
    );
}
