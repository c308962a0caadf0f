//! Copies without a panic: the functions of the standard library check lengths that are known to fit here, and end the
//! program if they did not.

use core::ops::Range;

/// So many bytes are moved at a time: those that overlap must be held meanwhile.
const BLOCK: usize = 64;

/// Copies as much as there is room for.
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    // Many at a time: byte by byte is slow where nothing is optimised.
    let length = to.len().min(from.len());
    let (blocks, rest) = to.get_mut(..length).unwrap_or_default().as_chunks_mut::<32>();
    let (from_blocks, from_rest) = from.get(..length).unwrap_or_default().as_chunks::<32>();
    for (to, from) in blocks.iter_mut().zip(from_blocks) {
        *to = *from;
    }
    for (to, from) in rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

/// Moves these bytes so that they begin at `to`; the two places may overlap. Nothing is moved when one of them is not
/// there as a whole.
pub(crate) fn shift(bytes: &mut [u8], from: Range<usize>, to: usize) {
    let count = from.len();
    let end = to.saturating_add(count);
    if from.end > bytes.len() || end > bytes.len() {
        return;
    }
    // What is overwritten has been moved before.
    let is_forward = to > from.start;
    let (mut block, mut done) = ([0; BLOCK], 0);
    while done < count {
        let size = BLOCK.min(count - done);
        let at = if is_forward { count - done - size } else { done };
        let held = block.get_mut(..size).unwrap_or_default();
        copy(bytes.get(from.start + at..).unwrap_or_default(), held);
        copy(held, bytes.get_mut(to + at..).unwrap_or_default());
        done += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_moved_as_by_the_standard_library() {
        const SIZE: usize = 2 * BLOCK + 9;
        let all: [u8; SIZE] = core::array::from_fn(|at| at as u8);
        for start in 0..=SIZE {
            for end in start..=SIZE {
                for to in 0..=SIZE - (end - start) {
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
        for (length, room) in [(0, 0), (31, 100), (32, 32), (33, 40), (100, 33), (100, 100)] {
            let (from, mut to) = (vec![7; length], vec![0; room]);
            copy(&from, &mut to);
            assert_eq!(to.iter().filter(|&&byte| byte == 7).count(), length.min(room));
        }
        copy(&[7, 8], &mut bytes[2..]);
        copy(&[9], &mut bytes);
        assert_eq!(bytes, [9, 2, 7]);
    }
}
