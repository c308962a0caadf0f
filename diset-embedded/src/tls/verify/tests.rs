//! The form of certificates: times, and what is not DER. What a certificate says is judged in `tests/tls`.

use super::certificate::{Parts, seconds};
use super::der::{Der, Element, GENERALIZED_TIME, UTC_TIME};
use super::{PinnedAuthority, Validity, VerifyServer};
use crate::tls::CertificateError;

fn time(tag: u8, text: &str) -> Option<u64> {
    seconds(Element {
        tag,
        content: text.as_bytes(),
        whole: &[],
    })
}

#[test]
fn times_are_seconds_since_1970() {
    for (tag, text, expected) in [
        (UTC_TIME, "700101000000Z", 0),
        (UTC_TIME, "260701000000Z", 1_782_864_000),
        (UTC_TIME, "000229235959Z", 951_868_799),
        (UTC_TIME, "491231235959Z", 2_524_607_999),
        (UTC_TIME, "500101000000Z", 0),
        (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
        (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
        (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        (GENERALIZED_TIME, "00000101000000Z", u64::MAX),
    ] {
        let expected = (expected != u64::MAX).then_some(expected);
        assert_eq!(time(tag, text), expected, "{text}");
    }
    for text in [
        "260701000000",
        "2607010000Z",
        "261301000000Z",
        "260700000000Z",
        "260701240000Z",
        "26070100000aZ",
    ] {
        assert_eq!(time(UTC_TIME, text), None, "{text}");
    }
}

#[test]
fn lengths_have_one_form() {
    let mut long = vec![0x30, 0x81, 0x80];
    long.resize(131, 0);
    assert!(Der::new(&long).next().is_some());
    for bytes in [
        &[0x30][..],
        &[0x30, 2, 0],
        &[0x30, 0x80, 0, 0],
        &[0x30, 0x81, 0x7f],
        &[0x30, 0x82, 0, 0x80],
        &[0x30, 0x83, 0, 0, 1, 0],
        &[0x1f, 0x81, 1, 0],
    ] {
        assert!(Der::new(bytes).next().is_none(), "{bytes:?}");
    }
}

#[test]
fn a_certificate_is_refused_with_a_bit_changed_or_a_byte_missing_anywhere() -> Result<(), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(["a.test".to_owned()])?;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?.der().to_vec();
    let authorities: [&[u8]; 1] = [&certificate];
    let rule = PinnedAuthority::new(&authorities, "A.test", Validity::NotChecked);
    assert!(rule.verify(&certificate).is_ok());
    let mut changed = certificate.clone();
    for at in 0..changed.len() {
        // One bit of each: a signature takes long.
        let bit = 1 << (at % 8);
        changed[at] ^= bit;
        assert!(rule.verify(&changed).is_err(), "byte {at}");
        changed[at] ^= bit;
    }
    for end in 0..certificate.len() {
        assert_eq!(
            rule.verify(&certificate[..end]).err(),
            Some(CertificateError::Malformed)
        );
    }
    let longer = [&certificate[..], &[0]].concat();
    assert!(Parts::of(&longer).is_none());
    Ok(())
}
