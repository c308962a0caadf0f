//! The TLS settings of a service and of a client: what is fixed for every diset connection, checked when it is built. How they change while they
//! are in use is in `shared`, how certificates are read in `material`, what a connection does with the settings in `channel`.

use core::fmt;
use core::marker::PhantomData;
use std::sync::{Arc, Weak};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::case::Role;
use super::files::Reload;
use super::own::{Judged, certified_key};
use super::revocation::Lists;
use super::shared::{Settings, Shared};
use super::small::{self, SmallRecords};
use super::verifier::{Explains, Verifier};
use super::{ALPN, Authorities, Certificate, FileWatch, Revocations, TlsChange, TlsError, TlsFiles, provider};

/// Tickets for each full or resumed handshake. A stable connection is resumed by one client at a time, and each resumption brings a new ticket.
const TICKETS: usize = 1;
/// Servers whose sessions a client remembers.
const REMEMBERED_SERVERS: usize = 32;
/// Most bytes of names of authorities that a client is told, in DER. TLS has room for 64 KiB of them, and peers hold a message of 32.
const MAX_HINTS: usize = 8 * 1024;

/// The TLS settings of a service. Cheap to clone; clones share the settings, also when they are changed, two values built apart never do.
///
/// They can change while the service runs: by [`change`](Self::change), or from files by [`reload`](Self::reload) and [`watch`](Self::watch).
/// Handshakes that end after a change are judged by the new settings. Live connections stay; see
/// [`ServiceHandle::recheck_credentials`](crate::ServiceHandle::recheck_credentials). With every change the keys of the tickets are new, so the
/// next connection of each client is a full handshake.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared<ServerSettings>>);

/// What a [`ServerTls`] holds at a time.
#[derive(Clone)]
pub(crate) struct ServerSettings {
    pub(crate) config: Arc<ServerConfig>,
    /// For clients that hold small records only, where they are served.
    pub(crate) small: Option<Arc<ServerConfig>>,
    /// Kept beside the configuration, because the chain that a ticket brings back must be verified by hand.
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    parts: Parts,
}

impl ServerSettings {
    /// What clients are shown, those that hold `small` records only or all others.
    pub(crate) const fn certificate(&self, small: bool) -> &Certificate {
        match &self.parts.small {
            SmallRecords::With(certificate) if small => certificate,
            _ => &self.parts.certificate,
        }
    }
}

/// The TLS settings of a client. Cheap to clone; clones share the settings, also when they are changed, and the sessions that make a reconnect
/// cheap.
///
/// They can change while the client runs: by [`change`](Self::change), or from files by [`reload`](Self::reload) and [`watch`](Self::watch). The
/// next connection uses the new ones, in a full handshake; a live one stays.
#[derive(Clone)]
pub struct ClientTls(Arc<Shared<ClientSettings>>);

/// What a [`ClientTls`] holds at a time.
#[derive(Clone)]
pub(crate) struct ClientSettings {
    pub(crate) config: Arc<ClientConfig>,
    /// As for the server: the chain of a resumed session is verified by hand.
    pub(crate) verifier: Arc<dyn ServerCertVerifier>,
    /// Kept so that a resumption that led nowhere can be forgotten. Never that of former settings: a session brings back the certificate that
    /// was shown when it began.
    pub(crate) sessions: Arc<dyn ClientSessionStore>,
    parts: Parts,
}

impl ClientSettings {
    /// What the service is shown.
    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.parts.certificate
    }
}

/// What both sides offer alike.
macro_rules! settings {
    ($($name:ident of $settings:ident with $config:ident: $trusts:literal;)*) => {$(
        impl $name {
            #[doc = concat!("Settings with this certificate; ", $trusts)]
            ///
            /// # Errors
            /// A [`TlsError`] that says what does not fit and where it stands.
            pub fn new(certificate: Certificate, authorities: Authorities) -> Result<Self, TlsError> {
                Self::builder(certificate, authorities).build()
            }

            #[doc = concat!("As [`", stringify!($name), "::new`], with more to choose.")]
            pub fn builder(certificate: Certificate, authorities: Authorities) -> TlsBuilder<Self> {
                TlsBuilder::new(Parts::new(certificate, authorities))
            }

            /// Settings with what stands in these files now. [`reload`](Self::reload) and [`watch`](Self::watch) take what stands there later.
            ///
            /// # Errors
            /// A [`TlsError`] that says what does not fit and in which file.
            pub fn from_files(files: &TlsFiles) -> Result<Self, TlsError> {
                Self::builder_from_files(files)?.build()
            }

            #[doc = concat!("As [`", stringify!($name), "::from_files`], with more to choose.")]
            ///
            /// # Errors
            /// A [`TlsError`]: a file cannot be read.
            pub fn builder_from_files(files: &TlsFiles) -> Result<TlsBuilder<Self>, TlsError> {
                let read = files.read(None)?;
                let mut parts = Parts::new(read.certificate, read.authorities);
                parts.revocations = read.revocations;
                Ok(TlsBuilder::new(parts))
            }

            /// Changes the settings, for all clones: `change` gets a builder that holds the settings of now. What it does not touch stays.
            ///
            /// # Errors
            /// A [`TlsError`] that says what does not fit; then everything stays as it was.
            pub fn change(&self, change: impl FnOnce(TlsBuilder<Self>) -> TlsBuilder<Self>) -> Result<(), TlsError> {
                self.0.change(|parts| change(TlsBuilder::new(parts)).parts)
            }

            /// Reads the files and takes what stands in them, for all clones; the certificate, the authorities and the revocation lists all at
            /// once. When nothing differs from the settings of now nothing happens. What else was chosen with a builder stays. Reads in place:
            /// it blocks as long as the files do. A [`watch`](Self::watch) of the same files does not tell what was taken here.
            ///
            /// # Errors
            /// A [`TlsError`] that says what does not fit and in which file; then everything stays as it was.
            pub fn reload(&self, files: &TlsFiles) -> Result<TlsChange, TlsError> {
                self.0.reload(files)
            }

            /// Looks at the files again and again, and takes what stands in them when it has changed; see [`FileWatch`]. Does nothing before it
            /// is awaited. It does not keep the settings alive.
            pub fn watch(&self, files: TlsFiles) -> FileWatch {
                let settings: Weak<Shared<$settings>> = Arc::downgrade(&self.0);
                FileWatch::new(files, settings)
            }

            /// The settings of now.
            pub(crate) fn now(&self) -> Arc<$settings> {
                self.0.now()
            }

            /// Other settings for rustls, for tests of peers that misbehave.
            #[cfg(test)]
            pub(crate) fn with_config(&self, edit: impl FnOnce(&mut $config)) -> Self {
                let mut settings = (*self.now()).clone();
                edit(Arc::make_mut(&mut settings.config));
                Self(Shared::of(settings))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl TlsBuilder<$name> {
            /// Checks that everything fits together, and makes the settings.
            ///
            /// # Errors
            /// A [`TlsError`] that says what does not fit and where it stands.
            pub fn build(self) -> Result<$name, TlsError> {
                Shared::new(self.parts).map($name)
            }
        }
    )*};
}

settings! {
    ServerTls of ServerSettings with ServerConfig: "clients must show one of these authorities.";
    ClientTls of ClientSettings with ClientConfig: "the service must show one of these authorities and the name it is called by.";
}

/// Builds a [`ServerTls`] or a [`ClientTls`], or changes one.
#[must_use = "nothing happens before `build`"]
pub struct TlsBuilder<T> {
    pub(super) parts: Parts,
    builds: PhantomData<fn() -> T>,
}

/// What settings are made of.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) certificate: Certificate,
    pub(super) authorities: Authorities,
    pub(super) revocations: Option<Revocations>,
    fresh: bool,
    provider: Option<Arc<CryptoProvider>>,
    pub(super) time: Arc<dyn TimeProvider>,
    pub(super) check_validity: bool,
    /// Of a service only.
    pub(super) small: SmallRecords,
}

impl<T> TlsBuilder<T> {
    fn new(parts: Parts) -> Self {
        Self {
            parts,
            builds: PhantomData,
        }
    }

    /// Shows this certificate.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.parts.certificate = certificate;
        self
    }

    /// Trusts these authorities, and no others.
    pub fn authorities(mut self, authorities: Authorities) -> Self {
        self.parts.authorities = authorities;
        self
    }

    /// Refuses peers whose certificates are on these lists, or on none of them (see [`Revocations`]). None by default.
    pub fn revocations(mut self, revocations: impl Into<Option<Revocations>>) -> Self {
        self.parts.revocations = revocations.into();
        self
    }

    /// Whether a revocation list that says it is out of date (its `nextUpdate` has passed) is as good as none: then whoever it tells of is
    /// refused, and settings with such a list are not built. By default it counts on, because an old list is better than a service that refuses
    /// everybody on the day the lists do not come.
    pub fn require_fresh_revocations(mut self, require: bool) -> Self {
        self.parts.fresh = require;
        self
    }

    /// Uses this cryptography. Otherwise it is the default of the process ([`CryptoProvider::install_default`]) or, if there is none, that of the
    /// feature `aws-lc-rs`, else `ring`.
    pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.parts.provider = Some(provider);
        self
    }

    /// Builds even when the own certificate is one that peers refuse, as it has ended or has not begun, is that of an authority, is made for
    /// something else, or proves no name: for tests of that refusal, for machines whose clock is known to be wrong, and for peers that ask for less.
    pub fn without_validity_check(mut self) -> Self {
        self.parts.check_validity = false;
        self
    }

    /// Another clock, so that tests can let certificates end.
    #[cfg(test)]
    pub(crate) fn time_provider(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.parts.time = time;
        self
    }
}

impl Parts {
    fn new(certificate: Certificate, authorities: Authorities) -> Self {
        Self {
            certificate,
            authorities,
            revocations: None,
            fresh: false,
            provider: None,
            time: Arc::new(DefaultTimeProvider),
            check_validity: true,
            small: SmallRecords::Refused,
        }
    }

    fn prepare(&self, role: Role) -> Result<Prepared, TlsError> {
        let provider = provider::choose(self.provider.clone())?;
        let key = Arc::new(certified_key(&self.certificate, role, &self.authorities, &provider)?.into());
        let odd = self.check_own(&self.certificate, role, true, &provider)?;
        let roots = Arc::new(root_store(&self.authorities)?);
        let lists = self.revocations.as_ref().map(|lists| {
            let (own, authorities) = (&self.certificate, &self.authorities);
            Lists::new(lists, own, authorities, &roots, &provider, self.fresh)
        });
        Ok(Prepared {
            key,
            roots,
            lists: lists.transpose()?,
            provider,
            odd,
        })
    }

    /// Refuses a certificate of this side that every peer would refuse; what is odd about it, else. `by_name`: peers ask for a name.
    pub(super) fn check_own(
        &self,
        certificate: &Certificate,
        role: Role,
        by_name: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Vec<String>, TlsError> {
        if !self.check_validity {
            return Ok(Vec::new());
        }
        let judged = Judged {
            certificate,
            role,
            by_name,
            authorities: &self.authorities,
            provider,
            now: self.time.current_time().unwrap_or_else(UnixTime::now),
        };
        judged.check()
    }

    pub(super) fn algorithms(&self) -> Result<WebPkiSupportedAlgorithms, TlsError> {
        Ok(provider::choose(self.provider.clone())?.signature_verification_algorithms)
    }

    /// Judges clients. `hints`: they are told by which authorities they should be signed, unless these are very many.
    pub(super) fn client_verifier(
        &self,
        prepared: &Prepared,
        hints: bool,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (roots, provider) = (Arc::clone(&prepared.roots), Arc::clone(&prepared.provider));
        // PROTOCOL X-9
        let names: usize = roots.roots.iter().map(|root| root.subject.len()).sum();
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if !hints || names > MAX_HINTS {
            verifier = verifier.clear_root_hint_subjects();
        }
        let mut verifier = verifier.build().map_err(|_| self.no_authorities())?;
        if let Some(lists) = &prepared.lists {
            verifier = Verifier::new(verifier, Arc::clone(lists));
        }
        Ok(Verifier::new(verifier, Explains(self.authorities.clone())))
    }

    /// The one reason why a verifier cannot be made.
    fn no_authorities(&self) -> TlsError {
        TlsError::NoAuthorities {
            origin: self.authorities.origin().clone(),
            found: String::new(),
        }
    }
}

impl Settings for ServerSettings {
    fn make(parts: Parts) -> Result<Self, TlsError> {
        let mut prepared = parts.prepare(Role::Service)?;
        let verifier = parts.client_verifier(&prepared, true)?;
        let small = small::config(&parts, &mut prepared)?;
        let Prepared { provider, key, odd, .. } = prepared;
        let mut config = ServerConfig::builder_with_details(provider, Arc::clone(&parts.time))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Crypto)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_cert_resolver(key);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = TICKETS;
        config.max_early_data_size = 0; // PROTOCOL X-3
        // PROTOCOL X-6: new keys with all settings. Where there is no ticket maker the memory that stands in for one is new, too.
        if let Some(ticketer) = provider::ticketer()? {
            config.ticketer = ticketer;
        }
        warn(&odd);
        Ok(Self {
            config: Arc::new(config),
            small,
            verifier,
            parts,
        })
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }
}

impl Settings for ClientSettings {
    fn make(parts: Parts) -> Result<Self, TlsError> {
        let Prepared {
            provider,
            key,
            roots,
            lists,
            odd,
        } = parts.prepare(Role::Client)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let mut verifier: Arc<dyn ServerCertVerifier> = verifier.build().map_err(|_| parts.no_authorities())?;
        if let Some(lists) = lists {
            verifier = Verifier::new(verifier, lists);
        }
        let verifier: Arc<dyn ServerCertVerifier> = Verifier::new(verifier, Explains(parts.authorities.clone()));
        let sessions: Arc<dyn ClientSessionStore> = Arc::new(ClientSessionMemoryCache::new(REMEMBERED_SERVERS));
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&parts.time))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Crypto)?
            .dangerous() // It is rustls' own verifier that judges; the name only warns of others.
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_client_cert_resolver(key);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::store(Arc::clone(&sessions));
        config.enable_early_data = false; // PROTOCOL X-3
        config.enable_sni = true;
        warn(&odd);
        Ok(Self {
            config: Arc::new(config),
            verifier,
            sessions,
            parts,
        })
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }
}

impl<T> fmt::Debug for TlsBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder")
            .field("certificate", &self.parts.certificate)
            .field("authorities", &self.parts.authorities)
            .field("revocations", &self.parts.revocations)
            .finish_non_exhaustive()
    }
}

/// What both sides need, checked.
pub(super) struct Prepared {
    pub(super) provider: Arc<CryptoProvider>,
    key: Arc<SingleCertAndKey>,
    roots: Arc<RootCertStore>,
    lists: Option<Arc<Lists>>,
    /// What is to be said of the own certificates once everything else fits, too.
    pub(super) odd: Vec<String>,
}

/// Says it, once for each time that settings are made.
fn warn(odd: &[String]) {
    for reason in odd {
        tracing::warn!(
            reason,
            "something is odd with the certificates of this side, which are used all the same"
        );
    }
}

fn root_store(authorities: &Authorities) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (number, authority) in (1..).zip(authorities.certificates()) {
        roots.add(authority.clone()).map_err(|_| TlsError::BadAuthority {
            origin: authorities.origin().clone(),
            number,
            reason: "it is no certificate, or a damaged one".into(),
        })?;
    }
    Ok(roots)
}
