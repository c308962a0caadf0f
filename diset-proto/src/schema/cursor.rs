//! What a payload is made of, read from the front of its bytes: the rule of what is valid (PROTOCOL M-2), once for all
//! that read.

use super::invalid::Invalid;

pub(super) fn take<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], Invalid> {
    let (taken, after) = rest.split_at_checked(count).ok_or(Invalid::TooShort)?;
    *rest = after;
    Ok(taken)
}

/// So many bytes, as they are: a number of 8 bits, a float.
#[inline]
pub(super) fn chunk<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Invalid> {
    let (taken, after) = rest.split_first_chunk().ok_or(Invalid::TooShort)?;
    *rest = after;
    Ok(*taken)
}

/// A boolean, or whether an option has a value.
pub(super) fn flag(rest: &mut &[u8]) -> Result<bool, Invalid> {
    match chunk(rest)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Invalid::Bool),
    }
}

/// The digits of a number of at most `bits` bits, in base 128 from the lowest on: no more than it needs.
///
/// Apart from the value, whose width differs.
#[inline]
pub(super) fn digits<'b>(rest: &mut &'b [u8], bits: usize) -> Result<&'b [u8], Invalid> {
    let most = bits.div_ceil(7);
    let Some(above) = rest.iter().take(most).position(|&byte| byte < 0x80) else {
        return Err(if rest.len() < most {
            Invalid::TooShort
        } else {
            Invalid::Number
        });
    };
    let digits = take(rest, above + 1)?;
    let last = digits.last().copied().unwrap_or_default();
    let over_long = last == 0 && above > 0;
    let too_large = above + 1 == most && last >> (bits - 7 * above) != 0;
    if over_long || too_large {
        return Err(Invalid::Number);
    }
    Ok(digits)
}

macro_rules! numbers {
    ($($unsigned:ident: $value:ty, $signed:ident: $of_either_sign:ty;)*) => {$(
        #[inline]
        pub(super) fn $unsigned(rest: &mut &[u8]) -> Result<$value, Invalid> {
            // Most have one digit.
            if let [digit @ 0..0x80, after @ ..] = *rest {
                *rest = after;
                return Ok((*digit).into());
            }
            let digits = digits(rest, <$value>::BITS as usize)?;
            Ok(digits.iter().rev().fold(0, |value, byte| value << 7 | <$value>::from(byte & 0x7f)))
        }

        /// The sign is the lowest bit, so that small numbers stay short.
        #[inline]
        pub(super) fn $signed(rest: &mut &[u8]) -> Result<$of_either_sign, Invalid> {
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

/// How many elements or bytes follow: a number of 32 bits. Each takes at least one byte (PROTOCOL S-1), so that nothing
/// is counted, or set aside, which is not there.
pub(super) fn length(rest: &mut &[u8]) -> Result<usize, Invalid> {
    let length = usize::try_from(u32(rest)?).ok();
    length.filter(|&length| length <= rest.len()).ok_or(Invalid::TooShort)
}

pub(super) fn counted<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Invalid> {
    let length = length(rest)?;
    take(rest, length)
}

pub(super) fn text<'b>(rest: &mut &'b [u8]) -> Result<&'b str, Invalid> {
    core::str::from_utf8(counted(rest)?).map_err(|_| Invalid::Text)
}

/// A character is a text of exactly one.
pub(super) fn character(rest: &mut &[u8]) -> Result<char, Invalid> {
    let mut characters = text(rest)?.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Invalid::Text),
    }
}

/// The number of a variant, of so many. The variants of an enum are no more than 256, and so are its numbers.
pub(super) fn variant(rest: &mut &[u8], count: usize) -> Result<u32, Invalid> {
    let number = u32(rest)?;
    match usize::try_from(number) {
        Ok(at) if at < count => Ok(number),
        _ => Err(Invalid::Variant(number)),
    }
}
