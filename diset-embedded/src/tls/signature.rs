//! ECDSA signatures as they travel: in DER, a sequence of r and s (RFC 3279, section 2.2.3). By hand: what the
//! cryptography brings for it takes 6 KiB of flash.

use p256::ecdsa::Signature;

use super::bytes::copy;
use super::verify::der::{Der, INTEGER, SEQUENCE, only_sequence};

/// A number: tag, length, a zero where the highest bit is set, 32 bytes.
const NUMBER: usize = 2 + 1 + 32;
/// The longest signature.
const LONGEST: usize = 2 + 2 * NUMBER;

/// A signature in DER.
pub(super) struct InDer {
    bytes: [u8; LONGEST],
    len: usize,
}

impl InDer {
    /// Of r and s.
    pub(super) fn of(signature: &Signature) -> Self {
        let mut der = Self {
            bytes: [0; LONGEST],
            len: 2,
        };
        let (r, s) = signature.split_bytes();
        der.number(&r);
        der.number(&s);
        let content = u8::try_from(der.len.saturating_sub(2)).unwrap_or_default();
        copy(&[SEQUENCE, content], &mut der.bytes);
        der
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn number(&mut self, number: &[u8]) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let value = number.get(zeros..).unwrap_or_default();
        // Without it the number would be a negative one.
        let zero: &[u8] = if value.first().is_some_and(|first| *first < 0x80) {
            &[]
        } else {
            &[0]
        };
        let len = u8::try_from(zero.len() + value.len()).unwrap_or_default();
        for part in [&[INTEGER, len], zero, value] {
            copy(part, self.bytes.get_mut(self.len..).unwrap_or_default());
            self.len += part.len();
        }
    }
}

/// A signature from strict DER. `None` when it is not, and when r or s is none of the curve.
pub(super) fn from_der(der: &[u8]) -> Option<Signature> {
    let mut numbers = only_sequence(der)?;
    let (r, s) = (number(&mut numbers)?, number(&mut numbers)?);
    Signature::from_scalars(r, s).ok().filter(|_| numbers.is_empty())
}

/// A positive number in its shortest form, of 32 bytes at most.
fn number(der: &mut Der<'_>) -> Option<[u8; 32]> {
    let value = match der.expect(INTEGER)?.content {
        [0, value @ ..] if value.first().is_some_and(|first| *first >= 0x80) => value,
        value if value.first().is_some_and(|first| (1..0x80).contains(first)) => value,
        _ => return None,
    };
    let mut number = [0; 32];
    let start = number.len().checked_sub(value.len())?;
    copy(value, number.get_mut(start..)?);
    Some(number)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;

    use super::*;

    /// r and s with leading zeros and highest bits are rare; these have some of all.
    fn signatures() -> impl Iterator<Item = Signature> {
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let short = |at: usize| {
            let mut scalar = [0; 32];
            scalar[at] = 0x80 >> (at % 8);
            scalar
        };
        let drawn = (0..500u32).map(move |text| Signer::<Signature>::sign(&key, &text.to_be_bytes()));
        let made = (1..32).map(move |at| Signature::from_scalars(short(at), short(32 - at)).expect("in range"));
        drawn.chain(made)
    }

    #[test]
    fn signatures_are_written_and_read_as_by_others() {
        for signature in signatures() {
            let der = InDer::of(&signature);
            assert_eq!(der.as_bytes(), signature.to_der().as_bytes());
            assert_eq!(from_der(der.as_bytes()), Some(signature));
        }
    }

    #[test]
    fn what_is_no_signature_is_refused_as_by_others() {
        let mut refused = 0;
        for signature in signatures().step_by(9) {
            let whole = InDer::of(&signature).as_bytes().to_vec();
            let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
            let longer = [0, 2, 0x30].map(|byte| [&whole[..], &[byte]].concat());
            let changed = (0..whole.len()).flat_map(|at| {
                let whole = &whole;
                [0, 1, 0x1f, 0x20, 0x21, 0x7f, 0x80, 0x81, 0xff].map(move |byte| {
                    let mut bytes = whole.clone();
                    bytes[at] = byte;
                    bytes
                })
            });
            for bytes in cut.chain(longer).chain(changed) {
                let theirs = Signature::from_der(&bytes).ok();
                assert_eq!(from_der(&bytes), theirs, "{bytes:02x?}");
                refused += u32::from(theirs.is_none());
            }
        }
        assert!(refused > 1000);
    }
}
