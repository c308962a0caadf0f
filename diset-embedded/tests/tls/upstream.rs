//! What embedded-tls does when it is left alone. When one of these fails a release has mended it: then see
//! `docs/upstream/embedded-tls.md` what can go.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use embedded_tls::blocking::TlsConnection;
use embedded_tls::{
    Aes128GcmSha256, CertificateRef, CertificateVerifyRef, CryptoProvider, CryptoRngCore, Sha256, TlsConfig,
    TlsContext, TlsError, TlsVerifier, UnsecureProvider,
};
use rand_core::OsRng;

use super::line::{Line, line};
use crate::impostor::{Impostor, Traitor, World};

/// Accepts nobody.
struct Strict;

impl TlsVerifier<Aes128GcmSha256> for Strict {
    fn set_hostname_verification(&mut self, _name: &str) -> Result<(), TlsError> {
        Ok(())
    }

    fn verify_certificate(&mut self, _transcript: &Sha256, _certificate: CertificateRef<'_>) -> Result<(), TlsError> {
        Err(TlsError::InvalidCertificate)
    }

    fn verify_signature(&mut self, _verify: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        Err(TlsError::InvalidSignature)
    }
}

struct StrictProvider(Strict);

impl CryptoProvider for StrictProvider {
    type CipherSuite = Aes128GcmSha256;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        OsRng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.0)
    }
}

#[test]
fn a_server_without_certificate_is_accepted_whatever_the_verifier_says() {
    let world = World::new();
    let (client, server) = line();
    let loot = std::thread::scope(|scope| {
        let world = &world;
        let server = scope.spawn(move || Impostor::NoCertificate.serve(world, server));
        let (mut read, mut write) = ([0; 4096], [0; 4096]);
        let mut tls = TlsConnection::<_, Aes128GcmSha256>::new(Line::new(client), &mut read, &mut write);
        let opened = tls.open(TlsContext::new(&TlsConfig::new(), StrictProvider(Strict)));
        assert!(opened.is_ok());
        tls.write(b"secret").expect("room");
        tls.flush().expect("the line stands");
        drop(tls);
        server.join().expect("no panic")
    });
    assert_eq!(loot.application, b"secret");
}

/// Whether a client without any check panics.
fn panics(serve: impl FnOnce(&World, super::line::End) + Send) -> bool {
    let world = World::new();
    let (client, server) = line();
    std::thread::scope(|scope| {
        let world = &world;
        scope.spawn(move || serve(world, server));
        catch_unwind(AssertUnwindSafe(|| {
            let (mut read, mut write) = ([0; 4096], [0; 4096]);
            let mut tls = TlsConnection::<_, Aes128GcmSha256>::new(Line::new(client), &mut read, &mut write);
            let provider = UnsecureProvider::new::<Aes128GcmSha256>(OsRng);
            tls.open(TlsContext::new(&TlsConfig::new(), provider))?;
            tls.read(&mut [0; 64])?;
            tls.read(&mut [0; 64])
        }))
        .is_err()
    })
}

#[test]
fn an_empty_record_and_a_late_message_are_panics() {
    assert!(panics(|world, end| drop(Impostor::EmptyRecord.serve(world, end))));
    for crime in [
        Traitor::EmptyRecord,
        Traitor::Finished,
        Traitor::CertificateRequest,
        Traitor::Extensions,
    ] {
        assert!(panics(move |world, end| drop(crime.serve(world, end))), "{crime:?}");
    }
}
