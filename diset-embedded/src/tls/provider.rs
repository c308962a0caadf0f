//! What embedded-tls asks for during a handshake: random numbers, the client's certificate and signature, and a verdict
//! on the server.

use embedded_tls::{
    Certificate, CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider, CryptoRngCore, Sha256,
    SignatureScheme, TlsError as Error, TlsVerifier,
};
use p256::ecdsa::signature::digest::Digest;
use p256::ecdsa::signature::{self, SignerMut, Verifier};
use p256::ecdsa::{Signature, VerifyingKey};

use super::bytes::copy;
use super::error::{CertificateError, TlsError};
use super::flight;
use super::identity::ClientKey;
use super::port::Gate;
use super::signature::{InDer, from_der};
use super::suite::Suite;
use super::verify::{Point, VerifyServer};

/// What stands before the hash in what a server signs: RFC 8446, section 4.4.3.
const CONTEXT: &[u8; 34] = b"TLS 1.3, server CertificateVerify\0";

/// Lends embedded-tls what the caller has given.
pub(super) struct Provider<'p> {
    pub(super) gate: &'p Gate,
    pub(super) proof: Proof<'p>,
    pub(super) certificate: &'p [u8],
    pub(super) key: &'p mut dyn ClientKey,
    pub(super) random: &'p mut dyn CryptoRngCore,
}

impl CryptoProvider for Provider<'_> {
    type CipherSuite = Suite;
    type Signature = Signed;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut *self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Suite>, Error> {
        Ok(&mut self.proof)
    }

    fn signer(&mut self) -> Result<(impl SignerMut<Signed>, SignatureScheme), Error> {
        let signer = Signer {
            gate: self.gate,
            key: &mut *self.key,
        };
        Ok((signer, SignatureScheme::EcdsaSecp256r1Sha256))
    }

    fn client_cert(&mut self) -> Option<Certificate<impl AsRef<[u8]>>> {
        self.gate.asked.set(true);
        Some(Certificate::X509(self.certificate))
    }
}

/// A signature, or none: then the [`Gate`] lets nothing leave any more.
pub(super) struct Signed(Option<InDer>);

impl AsRef<[u8]> for Signed {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map(InDer::as_bytes).unwrap_or_default()
    }
}

struct Signer<'p> {
    gate: &'p Gate,
    key: &'p mut dyn ClientKey,
}

impl SignerMut<Signed> for Signer<'_> {
    fn try_sign(&mut self, message: &[u8]) -> Result<Signed, signature::Error> {
        Ok(self.sign(message))
    }

    // What embedded-tls calls. As the trait has it, a key that does not sign would be a panic.
    fn sign(&mut self, message: &[u8]) -> Signed {
        let signature = self.key.sign(&Sha256::digest(message).into()).ok();
        let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
        if signature.is_none() {
            self.gate.fail(TlsError::Signing);
        }
        Signed(signature.map(|signature| InDer::of(&signature)))
    }
}

/// What the server has proven so far.
pub(super) struct Proof<'p> {
    gate: &'p Gate,
    server: &'p dyn VerifyServer,
    seen: bool,
    /// The key of an acceptable certificate, and the transcript up to it.
    claim: Option<(Point, Sha256)>,
}

impl<'p> Proof<'p> {
    pub(super) const fn new(gate: &'p Gate, server: &'p dyn VerifyServer) -> Self {
        Self {
            gate,
            server,
            seen: false,
            claim: None,
        }
    }

    fn refuse(&self, error: TlsError) -> Error {
        self.gate.fail(error);
        Error::InvalidCertificate
    }
}

impl TlsVerifier<Suite> for Proof<'_> {
    fn set_hostname_verification(&mut self, _name: &str) -> Result<(), Error> {
        // The verifier knows the name.
        Ok(())
    }

    fn verify_certificate(&mut self, transcript: &Sha256, message: CertificateRef<'_>) -> Result<(), Error> {
        if core::mem::replace(&mut self.seen, true) {
            return Err(self.refuse(TlsError::Unexpected));
        }
        let certificate = match *message.entries {
            [CertificateEntryRef::X509(certificate)] => certificate,
            [] => return Err(self.refuse(TlsError::NotProven)),
            _ => return Err(self.refuse(TlsError::Certificate(CertificateError::Count))),
        };
        let point = self.server.verify(certificate);
        let point = point.map_err(|error| self.refuse(TlsError::Certificate(error)))?;
        self.claim = Some((*point, transcript.clone()));
        Ok(())
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), Error> {
        if let Some(code) = flight::alert_in(verify.signature) {
            return Err(self.refuse(TlsError::Alert(code)));
        }
        let Some((point, transcript)) = self.claim.take() else {
            return Err(self.refuse(TlsError::Unexpected));
        };
        if verify.signature_scheme != SignatureScheme::EcdsaSecp256r1Sha256
            || !is_signed(&point, transcript, verify.signature)
        {
            return Err(self.refuse(TlsError::Signature));
        }
        self.gate.proven.set(true);
        Ok(())
    }
}

/// Whether the holder of this key has signed this handshake as a server.
fn is_signed(point: &Point, transcript: Sha256, signature: &[u8]) -> bool {
    let (Ok(key), Some(signature)) = (VerifyingKey::from_sec1_bytes(point), from_der(signature)) else {
        return false;
    };
    let mut message = [0x20; 64 + CONTEXT.len() + 32];
    let (start, hash) = message.split_at_mut(64 + CONTEXT.len());
    if let Some(context) = start.last_chunk_mut() {
        *context = *CONTEXT;
    }
    copy(&transcript.finalize(), hash);
    key.verify(&message, &signature).is_ok()
}
