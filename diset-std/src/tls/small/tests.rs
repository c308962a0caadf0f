//! What clients with small records cannot take is found when the settings are made.

use core::error::Error;
use std::fs;

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::tls::throwaway::{ThrowawayCa, expired, to_pem};
use crate::tls::{Authorities, TlsFiles};

type TestResult = Result<(), Box<dyn Error>>;

/// The settings of a service with this certificate for all.
fn with(certificate: Certificate, authorities: Authorities) -> Result<ServerTls, TlsError> {
    ServerTls::builder(certificate, authorities).small_records(None).build()
}

/// A certificate of a key of another kind.
fn of_kind(kind: &'static SignatureAlgorithm) -> Result<Certificate, Box<dyn Error>> {
    let key = KeyPair::generate_for(kind)?;
    let certificate = CertificateParams::new(vec!["localhost".into()])?.self_signed(&key)?;
    let der = PrivateKeyDer::try_from(key.serialize_der())?;
    Ok(Certificate::from_der(vec![certificate.der().clone()], der)?)
}

/// With so many names of a certain length.
fn names(ca: &ThrowawayCa, count: usize, length: usize) -> Result<Certificate, Box<dyn Error>> {
    let names: Vec<String> = (0..count).map(|i| format!("{i:0length$}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(ca.server(&names)?)
}

#[track_caller]
fn is_too_long(built: Result<ServerTls, TlsError>) {
    let error = built.expect_err("PROTOCOL X-8: it does not fit");
    assert!(
        matches!(error, TlsError::SmallRecordsFlight { .. }),
        "PROTOCOL X-8: {error}"
    );
    let message = error.to_string();
    assert!(message.contains("hold 994; leave out intermediates"), "{message}");
}

#[test]
fn a_handshake_that_does_not_fit_one_record_is_an_error_at_the_start() -> TestResult {
    let ca = ThrowawayCa::new()?;
    with(ca.server(&["localhost"])?, ca.authorities())?;
    is_too_long(with(names(&ca, 40, 20)?, ca.authorities()));
    // A long chain.
    let own = ca.server(&["localhost"])?;
    let authority = ca.authorities().certificates()[0].clone();
    let chain = vec![own.chain()[0].clone(), authority.clone(), authority];
    let chain = Certificate::from_der(chain, own.key().clone_key())?;
    is_too_long(with(chain.clone(), ca.authorities()));
    // Only when it is asked for; and that of all others does not matter when there is another.
    ServerTls::new(chain.clone(), ca.authorities())?;
    let builder = ServerTls::builder(chain, ca.authorities());
    builder.small_records(ca.server(&["localhost"])?).build()?;
    Ok(())
}

#[test]
fn how_long_the_handshake_is_is_known_to_the_byte() -> TestResult {
    let ca = ThrowawayCa::new()?;
    // The longest name that still fits in steps of one byte; behind it all are refused.
    let (mut longest, mut refused) = (0, 0);
    for length in 20..60 {
        let tls = with(names(&ca, 8, length)?, ca.authorities());
        match tls {
            Ok(_) => longest = length,
            Err(_) => refused += 1,
        }
    }
    println!("8 names of {longest} bytes fit, {refused} lengths do not");
    assert!(
        longest > 20 && refused > 0 && longest + refused + 1 >= 60,
        "{longest}, {refused}"
    );
    Ok(())
}

#[test]
fn a_key_that_such_clients_do_not_know_is_an_error_at_the_start() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let mut kinds = vec![&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384];
    if cfg!(feature = "aws-lc-rs") {
        kinds.push(&rcgen::PKCS_RSA_SHA256);
    }
    for kind in kinds {
        let other = of_kind(kind)?;
        let error = with(other.clone(), ca.authorities()).expect_err("PROTOCOL X-8");
        assert!(
            matches!(error, TlsError::SmallRecordsKey { .. }),
            "PROTOCOL X-8: {error}"
        );
        assert!(error.to_string().contains("not ECDSA on P-256"), "{error}");
        let builder = ServerTls::builder(other, ca.authorities());
        builder.small_records(ca.server(&["localhost"])?).build()?;
    }
    // One for them alone is checked as the other is.
    let builder = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
    let late = builder
        .small_records(ca.server_valid(&["localhost"], expired())?)
        .build();
    assert!(matches!(late, Err(TlsError::Expired { .. })), "{late:?}");
    Ok(())
}

#[test]
fn cryptography_that_cannot_is_an_error_at_the_start() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let able = with(ca.server(&["localhost"])?, ca.authorities())?;
    let provider = able.now().config.crypto_provider().as_ref().clone();
    for spoil in [
        |provider: &mut CryptoProvider| provider.kx_groups.retain(|group| group.name() != NamedGroup::secp256r1),
        |provider: &mut CryptoProvider| {
            let needed = CipherSuite::TLS13_AES_128_GCM_SHA256;
            provider.cipher_suites.retain(|suite| suite.suite() != needed);
        },
    ] {
        let mut unable = provider.clone();
        spoil(&mut unable);
        let builder = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
        let built = builder.small_records(None).crypto_provider(Arc::new(unable)).build();
        assert!(matches!(built, Err(TlsError::SmallRecordsCrypto(_))), "{built:?}");
    }
    Ok(())
}

#[test]
fn settings_that_change_stay_as_they_were_when_it_does_not_fit() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name);
    let write = |certificate: &Certificate| -> TestResult {
        let (chain, key) = to_pem(certificate);
        fs::write(file("host.pem"), chain)?;
        Ok(fs::write(file("host.key"), key)?)
    };
    fs::write(file("ca.pem"), ca.pem())?;
    write(&ca.server(&["localhost"])?)?;
    let files = TlsFiles::new(file("host.pem"), file("host.key"), file("ca.pem"));
    let tls = ServerTls::builder_from_files(&files)?.small_records(None).build()?;

    let before = tls.now();
    write(&names(&ca, 40, 20)?)?;
    let error = tls
        .reload(&files)
        .expect_err("PROTOCOL X-8: it does not fit")
        .to_string();
    assert!(error.contains("host.pem") && error.contains("leave out"), "{error}");
    is_too_long(
        tls.change(|tls| tls.certificate(names(&ca, 40, 20).expect("names")))
            .map(|()| tls.clone()),
    );
    assert!(Arc::ptr_eq(&before, &tls.now()));

    write(&ca.server(&["localhost", "elsewhere"])?)?;
    assert!(tls.reload(&files)?.certificate);
    let (old, new) = (before.small.as_ref(), tls.now());
    assert!(
        !Arc::ptr_eq(old.ok_or("none")?, new.small.as_ref().ok_or("none")?),
        "both are new"
    );
    Ok(())
}
