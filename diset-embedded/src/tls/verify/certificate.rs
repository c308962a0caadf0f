//! The parts of an X.509 certificate that are looked at.

use super::Point;
use super::der::{
    BIT_STRING, Der, Element, GENERALIZED_TIME, INTEGER, OCTET_STRING, SEQUENCE, UTC_TIME, only_sequence,
};

/// The constructed context tags of TBSCertificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Version 3.
const VERSION_3: &[u8] = &[INTEGER, 1, 2];
/// The algorithm ecdsa-with-SHA256, without parameters.
const ECDSA_SHA256: &[u8] = &[SEQUENCE, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// All that stands before the point in a public key of P-256, up to the number of unused bits.
const P256: [u8; 26] = [
    SEQUENCE, 89, SEQUENCE, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
    BIT_STRING, 66, 0,
];

/// A certificate taken apart. Nothing is checked but its form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    /// What is signed.
    pub(super) signed: &'a [u8],
    /// The signature in DER, if the algorithm is ECDSA with SHA-256.
    pub(super) signature: Option<&'a [u8]>,
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) not_before: Element<'a>,
    pub(super) not_after: Element<'a>,
    /// SubjectPublicKeyInfo, whole.
    pub(super) key: &'a [u8],
    /// The extensions one after the other.
    pub(super) extensions: Der<'a>,
}

impl<'a> Parts<'a> {
    /// `None` when it is not a certificate of version 3 in DER, to the last byte.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = only_sequence(certificate)?;
        let signed = outer.expect(SEQUENCE)?;
        let algorithm = outer.expect(SEQUENCE)?.whole;
        let signature = bits(outer.expect(BIT_STRING)?)?;
        let mut fields = Der::new(signed.content);
        if !outer.is_empty() || fields.expect(VERSION)?.content != VERSION_3 {
            return None;
        }
        fields.expect(INTEGER)?;
        if fields.expect(SEQUENCE)?.whole != algorithm {
            return None;
        }
        let issuer = fields.expect(SEQUENCE)?.whole;
        let mut validity = fields.sequence()?;
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = fields.expect(SEQUENCE)?.whole;
        let key = fields.expect(SEQUENCE)?.whole;
        let extensions = match fields.optional(EXTENSIONS)? {
            Some(element) => only_sequence(element.content)?,
            None => Der::new(&[]),
        };
        // The unique identifiers of old are not understood here.
        if !fields.is_empty() || !validity.is_empty() {
            return None;
        }
        Some(Self {
            signed: signed.whole,
            signature: (algorithm == ECDSA_SHA256).then_some(signature),
            issuer,
            subject,
            not_before,
            not_after,
            key,
            extensions,
        })
    }

    /// The key, if it is one of P-256; it may still not be on the curve.
    pub(super) fn point(&self) -> Option<&'a Point> {
        let (start, point) = self.key.split_first_chunk()?;
        let point: &Point = point.try_into().ok()?;
        (*start == P256 && point.first() == Some(&4)).then_some(point)
    }
}

/// The bytes of a string of bits that is one of bytes.
fn bits(element: Element<'_>) -> Option<&[u8]> {
    match element.content.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}

fn time<'a>(der: &mut Der<'a>) -> Option<Element<'a>> {
    der.next()
        .filter(|element| matches!(element.tag, UTC_TIME | GENERALIZED_TIME))
}

/// Seconds since 1970; what was before counts as 1970.
pub(super) fn seconds(time: Element<'_>) -> Option<u64> {
    let (year, rest) = match time.tag {
        UTC_TIME => {
            let (year, rest) = two(time.content)?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        _ => {
            let (century, rest) = two(time.content)?;
            let (year, rest) = two(rest)?;
            (century * 100 + year, rest)
        }
    };
    let (month, rest) = two(rest)?;
    let (day, rest) = two(rest)?;
    let (hour, rest) = two(rest)?;
    let (minute, rest) = two(rest)?;
    let (second, rest) = two(rest)?;
    let is_real = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !is_real || rest != b"Z" {
        return None;
    }
    // Years begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    // 1970-01-01 by the same count.
    let days = days.saturating_sub(719_469);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Two digits.
fn two(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let ([tens, ones], rest) = bytes.split_first_chunk()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte & 0x0f));
    Some((digit(tens)? * 10 + digit(ones)?, rest))
}

/// One extension: its object identifier, whether it is critical, its value.
pub(super) fn extension<'a>(extensions: &mut Der<'a>) -> Option<(&'a [u8], bool, &'a [u8])> {
    let mut parts = extensions.sequence()?;
    let id = parts.expect(super::der::OBJECT)?.content;
    let critical = match parts.optional(super::der::BOOLEAN)? {
        None => false,
        // DER leaves out what is the default.
        Some(element) if element.content == [0xff] => true,
        Some(_) => return None,
    };
    let value = parts.expect(OCTET_STRING)?.content;
    parts.is_empty().then_some((id, critical, value))
}
