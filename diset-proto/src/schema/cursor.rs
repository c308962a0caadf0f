//! What a payload is made of, read from the front of its bytes: the rule of what is valid (PROTOCOL M-2), once for all
//! that read.

use super::invalid::Invalid;

/// What is still to be read. As an iterator it moves on by one number, where a slice moves by two.
pub(super) type Rest<'b> = core::slice::Iter<'b, u8>;

#[inline]
pub(super) fn take<'b>(rest: &mut Rest<'b>, count: usize) -> Result<&'b [u8], Invalid> {
    let (taken, after) = rest.as_slice().split_at_checked(count).ok_or(Invalid::TooShort)?;
    *rest = after.iter();
    Ok(taken)
}

/// A number of 8 bits is its byte.
#[inline]
pub(super) fn byte(rest: &mut Rest<'_>) -> Result<u8, Invalid> {
    match rest.next() {
        Some(&byte) => Ok(byte),
        None => Err(Invalid::TooShort),
    }
}

/// So many bytes, as they are: a float.
#[inline]
pub(super) fn chunk<const N: usize>(rest: &mut Rest<'_>) -> Result<[u8; N], Invalid> {
    let (taken, after) = rest.as_slice().split_first_chunk().ok_or(Invalid::TooShort)?;
    *rest = after.iter();
    Ok(*taken)
}

/// A boolean, or whether an option has a value.
#[inline]
pub(super) fn flag(rest: &mut Rest<'_>) -> Result<bool, Invalid> {
    match byte(rest)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Invalid::Bool),
    }
}

macro_rules! numbers {
    ($($unsigned:ident: $value:ty, $signed:ident: $of_either_sign:ty;)*) => {$(
        /// Digits in base 128 from the lowest on: no more than the number needs.
        #[inline]
        pub(super) fn $unsigned(rest: &mut Rest<'_>) -> Result<$value, Invalid> {
            const LAST: u32 = (<$value>::BITS - 1) / 7;
            let (mut value, mut left) = (0, rest.clone());
            for at in 0..LAST {
                let Some(&byte) = left.next() else {
                    return Err(Invalid::TooShort);
                };
                value |= <$value>::from(byte & 0x7f) << (7 * at);
                if byte < 0x80 {
                    if byte == 0 && at > 0 {
                        return Err(Invalid::Number);
                    }
                    *rest = left;
                    return Ok(value);
                }
            }
            let Some(&byte) = left.next() else {
                return Err(Invalid::TooShort);
            };
            // Less than seven bits are left.
            if byte == 0 || byte >> (<$value>::BITS - 7 * LAST) > 0 {
                return Err(Invalid::Number);
            }
            *rest = left;
            Ok(value | <$value>::from(byte) << (7 * LAST))
        }

        /// The sign is the lowest bit, so that small numbers stay short.
        #[inline]
        pub(super) fn $signed(rest: &mut Rest<'_>) -> Result<$of_either_sign, Invalid> {
            let value = $unsigned(rest)?;
            Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
        }
    )*};
}

numbers! {
    u16: u16, i16: i16;
    u32: u32, i32: i32;
    u64: u64, i64: i64;
    u128: u128, i128: i128;
}

/// A number of so many bits, for those who do not want its value.
pub(super) fn number(rest: &mut Rest<'_>, bits: usize) -> Result<(), Invalid> {
    match bits {
        16 => u16(rest).map(drop),
        32 => u32(rest).map(drop),
        64 => u64(rest).map(drop),
        _ => u128(rest).map(drop),
    }
}

/// How many elements or bytes follow: a number of 32 bits. Each takes at least one byte (PROTOCOL S-1), so that nothing
/// is counted, or set aside, which is not there.
#[inline]
pub(super) fn length(rest: &mut Rest<'_>) -> Result<usize, Invalid> {
    let length = usize::try_from(u32(rest)?).ok();
    length.filter(|&length| length <= rest.len()).ok_or(Invalid::TooShort)
}

#[inline]
pub(super) fn counted<'b>(rest: &mut Rest<'b>) -> Result<&'b [u8], Invalid> {
    let length = length(rest)?;
    take(rest, length)
}

#[inline]
pub(super) fn text<'b>(rest: &mut Rest<'b>) -> Result<&'b str, Invalid> {
    core::str::from_utf8(counted(rest)?).map_err(|_| Invalid::Text)
}

/// A character is a text of exactly one.
#[inline]
pub(super) fn character(rest: &mut Rest<'_>) -> Result<char, Invalid> {
    let mut characters = text(rest)?.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Invalid::Text),
    }
}

/// The number of a variant, of so many. The variants of an enum are no more than 256, and so are its numbers.
#[inline]
pub(super) fn variant(rest: &mut Rest<'_>, count: usize) -> Result<u32, Invalid> {
    let number = u32(rest)?;
    match usize::try_from(number) {
        Ok(at) if at < count => Ok(number),
        _ => Err(Invalid::Variant(number)),
    }
}

/// Nothing follows.
pub(super) fn end(rest: &Rest<'_>) -> Result<(), Invalid> {
    match rest.len() {
        0 => Ok(()),
        left => Err(Invalid::LeftOver(u32::try_from(left).unwrap_or(u32::MAX))),
    }
}
