//! rustls' verifiers, with what they looked at when they refused put into words: an error of TLS alone does not say which certificate it means.

use core::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::Authorities;
use super::case::{Case, Role};
use super::words::explain;

thread_local! {
    /// Why the last chain was refused on this thread. TLS asks its verifier in the course of a call that ends with the error, so whoever made that
    /// call finds here what belongs to it; rustls itself hands on only the error, from which it also makes the alert.
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is wrong with the certificate that has just been refused on this thread.
pub(crate) fn why_refused() -> Option<String> {
    REFUSED.take()
}

/// A verifier whose refusals can be explained.
#[derive(Debug)]
pub(super) struct Explaining<V: ?Sized> {
    inner: Arc<V>,
    authorities: Authorities,
}

impl<V: ?Sized> Explaining<V> {
    pub(super) fn new(inner: Arc<V>, authorities: &Authorities) -> Arc<Self> {
        Arc::new(Self {
            inner,
            authorities: authorities.clone(),
        })
    }

    fn note<T>(
        &self,
        judged: Result<T, Error>,
        role: Role,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        in_handshake: bool,
    ) -> Result<T, Error> {
        judged.inspect_err(|error| {
            let case = Case {
                own,
                rest,
                role,
                authorities: &self.authorities,
                in_handshake,
            };
            REFUSED.set(Some(explain(error, &case).of_the_peer()));
        })
    }
}

// As trait objects, because there may be several in one another.
impl ServerCertVerifier for Explaining<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.inner.verify_server_cert(own, rest, name, ocsp, now);
        self.note(judged, Role::Service, own, rest, false)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let judged = self.inner.verify_tls13_signature(message, own, signed);
        self.note(judged, Role::Service, own, &[], true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Explaining<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judged = self.inner.verify_client_cert(own, rest, now);
        self.note(judged, Role::Client, own, rest, false)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let judged = self.inner.verify_tls13_signature(message, own, signed);
        self.note(judged, Role::Client, own, &[], true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
