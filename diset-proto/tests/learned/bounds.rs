//! Structures and payloads made to cost much: the work is bounded by the bytes.

use diset_proto::Invalid;

use crate::support::{described, from_text, shown};

/// A tuple of a byte and so many units, as 256 at a time in a tuple of their own.
fn units(blocks: u8) -> Vec<u8> {
    let block = [&[21, 0, 1][..], &[17; 256]].concat();
    [&[21, blocks + 1, 0, 7][..], &block.repeat(blocks.into())].concat()
}

#[test]
fn units_cost_no_more_than_the_bytes_allow() {
    // 1029 steps for each element; any message may take 65,536 and 16 for each of its bytes.
    let message = described(&[&[19], &units(4)[..]].concat());
    let few = [&[60][..], &[7; 60]].concat();
    assert_eq!(message.structure().check(&few), Ok(()));
    let many = [&[0x80, 1][..], &[7; 128]].concat();
    assert_eq!(message.structure().check(&many), Err(Invalid::TooMuchWork));
    assert_eq!(message.read(&many).err(), Some(Invalid::TooMuchWork));
    // One such element is nothing special.
    let one = described(&units(4));
    let text = shown(&one, &[7]);
    assert_eq!(text.matches("null").count(), 1024);
    assert_eq!(from_text(&one, &text).unwrap(), [7]);
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
    let claimed = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2];
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
