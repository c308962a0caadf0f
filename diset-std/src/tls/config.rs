//! The TLS settings of a service and of a client: what is fixed for every diset connection, checked when it is built. How certificates are
//! read is in `material`, what a connection does with the settings in `channel`.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::{ALPN, Authorities, Certificate, Origin, Revocations, TlsError, provider};

/// Tickets for each full or resumed handshake. A stable connection is resumed by one client at a time, and each resumption brings a new ticket.
const TICKETS: usize = 1;
/// Servers whose sessions a client remembers.
const REMEMBERED_SERVERS: usize = 32;

/// The TLS settings of a service. Cheap to clone; clones share the ticket key, two values built apart never do.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    /// Kept beside the configuration, because the chain that a ticket brings back must be verified by hand.
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
}

impl ServerTls {
    /// Settings with this certificate; clients must show one of these authorities.
    ///
    /// # Errors
    /// A [`TlsError`] that says what does not fit and where it stands.
    pub fn new(certificate: Certificate, authorities: Authorities) -> Result<Self, TlsError> {
        Self::builder(certificate, authorities).build()
    }

    /// As [`ServerTls::new`], with more to choose.
    pub fn builder(certificate: Certificate, authorities: Authorities) -> TlsBuilder<Self> {
        TlsBuilder::new(certificate, authorities)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// The TLS settings of a client. Cheap to clone; clones share the sessions that make a reconnect cheap.
#[derive(Clone)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    /// As for the server: the chain of a resumed session is verified by hand.
    pub(crate) verifier: Arc<dyn ServerCertVerifier>,
    /// Kept so that a resumption that led nowhere can be forgotten.
    pub(crate) sessions: Arc<dyn ClientSessionStore>,
}

impl ClientTls {
    /// Settings with this certificate; the service must show one of these authorities and the name it is called by.
    ///
    /// # Errors
    /// A [`TlsError`] that says what does not fit and where it stands.
    pub fn new(certificate: Certificate, authorities: Authorities) -> Result<Self, TlsError> {
        Self::builder(certificate, authorities).build()
    }

    /// As [`ClientTls::new`], with more to choose.
    pub fn builder(certificate: Certificate, authorities: Authorities) -> TlsBuilder<Self> {
        TlsBuilder::new(certificate, authorities)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// Builds a [`ServerTls`] or a [`ClientTls`].
#[must_use = "nothing happens before `build`"]
pub struct TlsBuilder<T> {
    certificate: Certificate,
    authorities: Authorities,
    revocations: Option<Revocations>,
    provider: Option<Arc<CryptoProvider>>,
    time: Arc<dyn TimeProvider>,
    check_validity: bool,
    builds: PhantomData<fn() -> T>,
}

impl<T> TlsBuilder<T> {
    fn new(certificate: Certificate, authorities: Authorities) -> Self {
        Self {
            certificate,
            authorities,
            revocations: None,
            provider: None,
            time: Arc::new(DefaultTimeProvider),
            check_validity: true,
            builds: PhantomData,
        }
    }

    /// Refuses peers whose certificates are on these lists, or on none of them (see [`Revocations`]).
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Uses this cryptography. Otherwise it is the default of the process ([`CryptoProvider::install_default`]) or, if there is none, that of the
    /// feature `aws-lc-rs`, else `ring`.
    pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Builds even when the own certificate has ended or has not begun, which every peer will refuse: for tests of that refusal, and for machines
    /// whose clock is known to be wrong.
    pub fn without_validity_check(mut self) -> Self {
        self.check_validity = false;
        self
    }

    /// Another clock, so that tests can let certificates end.
    #[cfg(test)]
    pub(crate) fn time_provider(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.time = time;
        self
    }

    fn prepare(&self) -> Result<Prepared, TlsError> {
        let provider = provider::choose(self.provider.clone())?;
        if self.check_validity {
            check_validity(&self.certificate)?;
        }
        Ok(Prepared {
            key: certified_key(&self.certificate, &provider)?,
            roots: root_store(&self.authorities)?,
            provider,
        })
    }

    /// Why a verifier could not be made; only the revocation lists can be at fault, the authorities were checked.
    fn verifier_error(&self, error: &VerifierBuilderError) -> TlsError {
        match (error, &self.revocations) {
            (VerifierBuilderError::InvalidCrl(_), Some(revocations)) => TlsError::BadRevocations {
                origin: revocations.origin().clone(),
                reason: error.to_string(),
            },
            _ => TlsError::NoAuthorities {
                origin: self.authorities.origin().clone(),
            },
        }
    }

    fn lists(&self) -> impl Iterator<Item = rustls::pki_types::CertificateRevocationListDer<'static>> {
        self.revocations
            .iter()
            .flat_map(|revocations| revocations.lists().iter().cloned())
    }
}

impl TlsBuilder<ServerTls> {
    /// Checks that everything fits together, and makes the settings.
    ///
    /// # Errors
    /// A [`TlsError`] that says what does not fit and where it stands.
    pub fn build(self) -> Result<ServerTls, TlsError> {
        let Prepared { provider, key, roots } = self.prepare()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .with_crls(self.lists())
            .build()
            .map_err(|error| self.verifier_error(&error))?;
        let mut config = ServerConfig::builder_with_details(provider, self.time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Crypto)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_cert_resolver(key);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = TICKETS;
        config.max_early_data_size = 0; // PROTOCOL X-3
        if let Some(ticketer) = provider::ticketer()? {
            config.ticketer = ticketer;
        }
        Ok(ServerTls {
            config: Arc::new(config),
            verifier,
        })
    }
}

impl TlsBuilder<ClientTls> {
    /// Checks that everything fits together, and makes the settings.
    ///
    /// # Errors
    /// A [`TlsError`] that says what does not fit and where it stands.
    pub fn build(self) -> Result<ClientTls, TlsError> {
        let Prepared { provider, key, roots } = self.prepare()?;
        let verifier: Arc<dyn ServerCertVerifier> =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .with_crls(self.lists())
                .build()
                .map_err(|error| self.verifier_error(&error))?;
        let sessions: Arc<dyn ClientSessionStore> = Arc::new(ClientSessionMemoryCache::new(REMEMBERED_SERVERS));
        let mut config = ClientConfig::builder_with_details(provider, self.time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Crypto)?
            .dangerous() // The verifier is rustls' own; the name only warns of others.
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_client_cert_resolver(key);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::store(Arc::clone(&sessions));
        config.enable_early_data = false; // PROTOCOL X-3
        config.enable_sni = true;
        Ok(ClientTls {
            config: Arc::new(config),
            verifier,
            sessions,
        })
    }
}

impl<T> fmt::Debug for TlsBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder")
            .field("certificate", &self.certificate)
            .field("authorities", &self.authorities)
            .field("revocations", &self.revocations)
            .finish_non_exhaustive()
    }
}

/// What both sides need, checked.
struct Prepared {
    provider: Arc<CryptoProvider>,
    key: Arc<SingleCertAndKey>,
    roots: RootCertStore,
}

fn certified_key(certificate: &Certificate, provider: &CryptoProvider) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let chain_origin = certificate.chain_origin();
    let key = provider
        .key_provider
        .load_private_key(certificate.key().clone_key())
        .map_err(|error| TlsError::UnsupportedKey {
            origin: certificate.key_origin().clone(),
            reason: error.to_string(),
        })?;
    let certified = CertifiedKey::new(certificate.chain().to_vec(), key);
    match certified.keys_match() {
        // A key that cannot tell its public half (in hardware, say) is believed.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified.into())),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch {
            chain: chain_origin.clone(),
            key: certificate.key_origin().clone(),
        }),
        Err(error) => Err(TlsError::BadCertificate {
            origin: chain_origin.clone(),
            number: 1,
            reason: error.to_string(),
        }),
    }
}

fn root_store(authorities: &Authorities) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (number, authority) in (1..).zip(authorities.certificates()) {
        roots.add(authority.clone()).map_err(|error| TlsError::BadAuthority {
            origin: authorities.origin().clone(),
            number,
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn check_validity(certificate: &Certificate) -> Result<(), TlsError> {
    let now = ASN1Time::now();
    let origin = || -> Origin { certificate.chain_origin().clone() };
    for (number, der) in (1..).zip(certificate.chain()) {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| TlsError::BadCertificate {
            origin: origin(),
            number,
            reason: error.to_string(),
        })?;
        let validity = parsed.validity();
        if now > validity.not_after {
            return Err(TlsError::Expired {
                origin: origin(),
                number,
                not_after: validity.not_after.to_string(),
            });
        }
        if now < validity.not_before {
            return Err(TlsError::NotYetValid {
                origin: origin(),
                number,
                not_before: validity.not_before.to_string(),
            });
        }
    }
    Ok(())
}
