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

macro_rules! numbers {
    ($($unsigned:ident: $value:ty, $signed:ident: $of_either_sign:ty;)*) => {$(
        /// In base 128 from the lowest digit on, no more digits than it needs.
        #[inline]
        pub(super) fn $unsigned(rest: &mut &[u8]) -> Result<$value, Invalid> {
            let (mut value, mut shift, mut bytes) = (0, 0, *rest);
            loop {
                let (&byte, after) = bytes.split_first().ok_or(Invalid::TooShort)?;
                let digit = <$value>::from(byte & 0x7f);
                let is_last = byte < 0x80;
                let is_too_large = shift >= <$value>::BITS || digit << shift >> shift != digit;
                let is_over_long = byte == 0 && shift > 0;
                if is_too_large || is_over_long {
                    return Err(Invalid::Number);
                }
                value |= digit << shift;
                bytes = after;
                if is_last {
                    *rest = bytes;
                    return Ok(value);
                }
                shift += 7;
            }
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

/// A number of so many bits, for those who do not want its value.
pub(super) fn number(rest: &mut &[u8], bits: usize) -> Result<(), Invalid> {
    match bits {
        16 => u16(rest).map(drop),
        32 => u32(rest).map(drop),
        64 => u64(rest).map(drop),
        _ => u128(rest).map(drop),
    }
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
