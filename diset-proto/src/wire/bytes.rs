//! Copies without a panic: the functions of the standard library check lengths that are known to fit here, and end the
//! program if they did not.

use core::ops::Range;

/// Copies as much as there is room for.
#[inline]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Moves these bytes so that they begin at `to`; the two places may overlap. Nothing is moved when one of them is not
/// there as a whole.
pub(crate) fn shift(bytes: &mut [u8], from: Range<usize>, to: usize) {
    let (low, high) = (from.start.min(to), from.start.max(to));
    let both = bytes.get_mut(low..high.saturating_add(from.len()));
    let step = high - low;
    let Some((both, rest)) = both.and_then(|both| Some((&mut *both, both.len().checked_sub(step)?))) else {
        return;
    };
    // As this is written the compiler sees that nothing here can panic.
    if to < from.start {
        both.copy_within(step.., 0);
    } else if to > from.start {
        both.copy_within(..rest, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_moved_as_by_the_standard_library() {
        let all: [u8; 9] = core::array::from_fn(|at| at as u8);
        for start in 0..=9 {
            for end in start..=9 {
                for to in 0..=9 - (end - start) {
                    let (mut ours, mut theirs) = (all, all);
                    shift(&mut ours, start..end, to);
                    theirs.copy_within(start..end, to);
                    assert_eq!(ours, theirs, "{start}..{end} to {to}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_alone() {
        let mut bytes = [1, 2, 3];
        shift(&mut bytes, 1..3, 2);
        shift(&mut bytes, 2..4, 0);
        shift(&mut bytes, 0..1, usize::MAX);
        assert_eq!(bytes, [1, 2, 3]);
        copy(&[7, 8], &mut bytes[2..]);
        copy(&[9], &mut bytes);
        assert_eq!(bytes, [9, 2, 7]);
    }
}
