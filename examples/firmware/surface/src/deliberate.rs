//! Panics on purpose: `./ci.sh panics` must find each of them, or it would not find others either.

use core::hint::black_box;

/// All of them, or none: the compiler cannot know which.
pub(crate) fn all(chance: u8) {
    // Of no length that the compiler knows.
    let bytes = [chance; 4];
    let bytes = black_box::<&[u8]>(&bytes);
    let which: [fn(&[u8]) -> u8; 2] = [by_an_index, by_a_helper];
    let seen = match chance {
        0 => direct(bytes),
        1 => {
            let judge: &dyn Judge = if bytes.is_empty() { &Strict } else { &Lenient };
            judge.judge(bytes)
        }
        _ => which.get(usize::from(chance & 1)).map_or(0, |call| call(bytes)),
    };
    board::report("deliberate", seen.into());
}

#[inline(never)]
#[expect(clippy::unwrap_used, reason = "to be found")]
fn direct(bytes: &[u8]) -> u8 {
    *bytes.iter().max().unwrap()
}

/// Called through a pointer.
#[inline(never)]
#[expect(clippy::indexing_slicing, reason = "to be found")]
fn by_an_index(bytes: &[u8]) -> u8 {
    bytes[usize::from(bytes.len() > 3) + 3]
}

/// The panic is in `core`.
#[inline(never)]
fn by_a_helper(bytes: &[u8]) -> u8 {
    let mut copy = [0; 7];
    copy.copy_from_slice(bytes);
    copy.iter().fold(0, |a, b| a ^ b)
}

/// Called through a table of methods.
trait Judge {
    fn judge(&self, bytes: &[u8]) -> u8;
}

struct Strict;
struct Lenient;

impl Judge for Strict {
    #[inline(never)]
    #[expect(clippy::expect_used, reason = "to be found")]
    fn judge(&self, bytes: &[u8]) -> u8 {
        core::str::from_utf8(bytes).expect("text").len() as u8
    }
}

impl Judge for Lenient {
    #[inline(never)]
    fn judge(&self, bytes: &[u8]) -> u8 {
        bytes.first().copied().unwrap_or_default()
    }
}
