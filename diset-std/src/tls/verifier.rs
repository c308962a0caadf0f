//! rustls' verifiers with somebody who has a say after them: the revocation lists, and who puts into words what they looked at when they refused,
//! because an error of TLS alone does not say which certificate it means.

use core::cell::RefCell;
use core::fmt::Debug;
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

/// What a peer has shown.
pub(super) struct Shown<'a> {
    pub(super) role: Role,
    pub(super) own: &'a CertificateDer<'a>,
    pub(super) rest: &'a [CertificateDer<'a>],
}

/// Has a say after a verifier of rustls.
pub(super) trait Say: Debug + Send + Sync {
    /// It has judged a chain.
    fn of_chain<T>(&self, judged: Result<T, Error>, shown: &Shown<'_>, now: UnixTime) -> Result<T, Error>;

    /// It has judged whether the peer has the key of its certificate.
    fn of_key<T>(&self, judged: Result<T, Error>, _shown: &Shown<'_>) -> Result<T, Error> {
        judged
    }
}

/// A verifier, and who has a say after it.
#[derive(Debug)]
pub(super) struct Verifier<V: ?Sized, S> {
    inner: Arc<V>,
    say: S,
}

impl<V: ?Sized, S: Say> Verifier<V, S> {
    pub(super) fn new(inner: Arc<V>, say: S) -> Arc<Self> {
        Arc::new(Self { inner, say })
    }
}

/// Whose refusals can be explained.
#[derive(Debug)]
pub(super) struct Explains(pub(super) Authorities);

impl Explains {
    fn note<T>(&self, judged: Result<T, Error>, shown: &Shown<'_>, in_handshake: bool) -> Result<T, Error> {
        judged.inspect_err(|error| {
            let case = Case {
                own: shown.own,
                rest: shown.rest,
                role: shown.role,
                authorities: &self.0,
                in_handshake,
            };
            REFUSED.set(Some(explain(error, &case).of_the_peer()));
        })
    }
}

impl Say for Explains {
    fn of_chain<T>(&self, judged: Result<T, Error>, shown: &Shown<'_>, _: UnixTime) -> Result<T, Error> {
        self.note(judged, shown, false)
    }

    fn of_key<T>(&self, judged: Result<T, Error>, shown: &Shown<'_>) -> Result<T, Error> {
        self.note(judged, shown, true)
    }
}

/// What both traits of rustls have. As trait objects, because there may be several verifiers in one another.
macro_rules! pass_on {
    ($role:expr) => {
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
            let (role, rest) = ($role, &[][..]);
            self.say.of_key(judged, &Shown { role, own, rest })
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.inner.supported_verify_schemes()
        }
    };
}

impl<S: Say> ServerCertVerifier for Verifier<dyn ServerCertVerifier, S> {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.inner.verify_server_cert(own, rest, name, ocsp, now);
        let role = Role::Service;
        self.say.of_chain(judged, &Shown { role, own, rest }, now)
    }

    pass_on!(Role::Service);
}

impl<S: Say> ClientCertVerifier for Verifier<dyn ClientCertVerifier, S> {
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
        let role = Role::Client;
        self.say.of_chain(judged, &Shown { role, own, rest }, now)
    }

    pass_on!(Role::Client);
}
