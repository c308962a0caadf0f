//! Lengths and counts on the wire: little-endian base 128, in the shortest form but for the length of a frame
//! (PROTOCOL F-1, F-2).

/// What a look at the front of some bytes found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A value and how many bytes it took.
    Value(u64, usize),
    /// The bytes end inside the value.
    Partial,
    /// The value takes too many bytes or does not fit.
    Malformed,
}

/// Most bytes of a value.
pub(crate) const MAX_BYTES: usize = 10;

/// Reads a value of at most `max_bytes` bytes, in its shortest form, from the front of `bytes`.
#[inline]
pub(crate) fn read(bytes: &[u8], max_bytes: usize) -> Parsed {
    match read_padded(bytes, max_bytes) {
        Parsed::Value(value, size) if size > len(value) => Parsed::Malformed,
        parsed => parsed,
    }
}

/// As [`read`], also in a form that is longer than needed.
#[inline]
pub(crate) fn read_padded(bytes: &[u8], max_bytes: usize) -> Parsed {
    let mut value = 0u64;
    let max_bytes = max_bytes.min(MAX_BYTES);
    for (at, &byte) in bytes.iter().enumerate().take(max_bytes) {
        if at == MAX_BYTES - 1 && byte > 1 {
            return Parsed::Malformed;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Parsed::Value(value, at + 1);
        }
    }
    if bytes.len() >= max_bytes {
        Parsed::Malformed
    } else {
        Parsed::Partial
    }
}

/// How many bytes `value` takes. Called and not copied to where it is used: it is much there, and of little use to speed.
#[inline(never)]
pub(crate) const fn len(mut value: u64) -> usize {
    // Most take one or two: shorter, and seldom slower, than counting bits and dividing.
    let mut len = 1;
    while value >= 0x80 {
        value >>= 7;
        len += 1;
    }
    len
}

/// How many bytes the length of a frame takes, without a branch.
#[inline]
pub(crate) const fn len_of_length(length: u32) -> usize {
    1 + (length >= 1 << 7) as usize
        + (length >= 1 << 14) as usize
        + (length >= 1 << 21) as usize
        + (length >= 1 << 28) as usize
}

/// Writes `value` to the front of `out`, in its shortest form; `None` when it does not fit.
pub(crate) fn write(value: u64, out: &mut [u8]) -> Option<usize> {
    write_padded(value, len(value), out)
}

/// Writes `value` to the front of `out` in `size` bytes, which are enough for it; `None` when they do not fit.
pub(crate) fn write_padded(mut value: u64, size: usize, out: &mut [u8]) -> Option<usize> {
    let (last, front) = out.get_mut(..size)?.split_last_mut()?;
    for byte in front {
        *byte = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
    }
    *last = (value & 0x7f) as u8;
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            value in any::<u64>(),
            shift in 0u32..64,
            extra in 0usize..3,
            padding in 1usize..4,
        ) {
            let value = value >> shift;
            let mut bytes = [0xff; 16];
            let size = write(value, &mut bytes).unwrap();
            prop_assert_eq!(size, len(value));
            if let Ok(length) = u32::try_from(value) {
                prop_assert_eq!(size, len_of_length(length));
            }
            prop_assert_eq!(read(&bytes[..size + extra], MAX_BYTES), Parsed::Value(value, size));
            for cut in 0..size {
                prop_assert_eq!(read(&bytes[..cut], MAX_BYTES), Parsed::Partial);
            }
            let wide = size + padding;
            if wide <= MAX_BYTES {
                prop_assert_eq!(write_padded(value, wide, &mut bytes), Some(wide));
                prop_assert_eq!(read(&bytes, MAX_BYTES), Parsed::Malformed, "PROTOCOL F-1");
                prop_assert_eq!(read_padded(&bytes[..wide + extra], wide), Parsed::Value(value, wide));
                for cut in 0..wide {
                    prop_assert_eq!(read_padded(&bytes[..cut], wide), Parsed::Partial);
                }
                prop_assert_eq!(read_padded(&bytes, wide - 1), Parsed::Malformed, "PROTOCOL F-2");
            }
        }
    }

    #[test]
    fn over_long_forms_are_malformed() {
        assert_eq!(read(&[0x80, 0x00], 5), Parsed::Malformed, "PROTOCOL F-1");
        assert_eq!(read_padded(&[0xff; 5], 5), Parsed::Malformed, "PROTOCOL F-2");
        assert_eq!(read_padded(&[0xff; 4], 5), Parsed::Partial);
        assert_eq!(read(&[0x00], 5), Parsed::Value(0, 1));
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(read(&most, MAX_BYTES), Parsed::Value(u64::MAX, 10), "PROTOCOL F-1");
        most[9] = 2;
        assert_eq!(read(&most, MAX_BYTES), Parsed::Malformed, "PROTOCOL F-1");
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_written() {
        assert_eq!(write(300, &mut [0; 1]), None);
    }
}
