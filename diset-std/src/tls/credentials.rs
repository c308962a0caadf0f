//! Who the peer of a connection proved to be. Whether that is enough for anything is for the service to decide.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::distinguished;

/// Longest subject, in DER. Of what people are called in real certificates it takes the longest several times, in any script.
const MAX_SUBJECT: usize = 4 * 1024;
/// Longest list of alternative names, in DER: hundreds of host names.
const MAX_NAMES: usize = 16 * 1024;
/// Most alternative names, as many take more memory than bytes.
const MOST_NAMES: usize = 1024;

/// Who the peer proved to be, and by what.
///
/// Cheap to clone: what was read from a certificate is read once for each connection, and shared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// A certificate, verified in the TLS handshake.
    Certificate(CertificateCredentials),
    /// The user at the other end of a Unix socket, told by the kernel.
    Unix {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Process, where the kernel tells it.
        pid: Option<i32>,
    },
    /// Nothing: plain TCP.
    None,
}

impl Credentials {
    /// The key under which a session of this peer is kept (PROTOCOL D-1).
    ///
    /// For a certificate it is the SHA-256 of its public key, so it outlives a renewal with the same key; for a Unix socket it is derived from the user
    /// alone; without credentials it is all zero, and proves nothing.
    #[must_use]
    pub fn principal(&self) -> Principal {
        match self {
            Self::Certificate(certificate) => Principal(*certificate.public_key_sha256()),
            Self::Unix { uid, .. } => {
                let hash = Sha256::new_with_prefix(b"diset principal: unix uid\0").chain_update(uid.to_be_bytes());
                Principal(hash.finalize().into())
            }
            Self::None => Principal([0; 32]),
        }
    }

    /// Whether it proved anything: not on plain TCP.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        match self {
            Self::Certificate(_) | Self::Unix { .. } => true,
            Self::None => false,
        }
    }

    /// What the certificate said, if there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateCredentials> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            _ => None,
        }
    }
}

/// Names a peer by what it proved, in 32 bytes; see [`Credentials::principal`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal([u8; 32]);

impl Principal {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Principal {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Principal({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// What a verified certificate says about its holder. Cheap to clone.
///
/// A certificate whose subject takes more than 4 KiB in DER, or that has more than 1024 alternative names or 16 KiB of them in DER, is refused
/// rather than cut: a cut name could be taken for another. The peer is told so. An alternative name that is malformed, or of a kind not listed in [`AlternativeName`], is left out.
#[derive(Clone)]
pub struct CertificateCredentials(Arc<Facts>);

struct Facts {
    public_key_sha256: [u8; 32],
    /// Since 1970.
    last_second: u64,
    subject: Box<str>,
    subject_dirac: Box<str>,
    names: Box<[AlternativeName]>,
}

impl CertificateCredentials {
    /// The subject as RFC 4514 writes it: `CN=alice,O=some`. Equal text means equal names.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The subject as DIRAC writes it: `/O=some/CN=alice`, in the certificate's order.
    ///
    /// This form does not escape a slash within a value, so the authority must not sign values that imitate another name. Prefer
    /// [`subject`](Self::subject) or [`public_key_sha256`](Self::public_key_sha256) where you have the choice.
    #[must_use]
    pub fn subject_dirac(&self) -> &str {
        &self.0.subject_dirac
    }

    /// The subject's alternative names, in the certificate's order.
    #[must_use]
    pub fn alternative_names(&self) -> &[AlternativeName] {
        &self.0.names
    }

    /// SHA-256 of the public key (its `SubjectPublicKeyInfo` in DER).
    #[must_use]
    pub fn public_key_sha256(&self) -> &[u8; 32] {
        &self.0.public_key_sha256
    }

    /// When the certificate ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.last_second)
    }

    pub(crate) fn last_second(&self) -> u64 {
        self.0.last_second
    }

    /// Reads a certificate that was verified before.
    pub(crate) fn from_der(der: &CertificateDer<'_>) -> Result<Self, CredentialsError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CredentialsError::Unreadable)?;
        let subject = certificate.subject();
        let length = subject.as_raw().len();
        if length > MAX_SUBJECT {
            return Err(CredentialsError::SubjectTooLong(length));
        }
        Ok(Self(Arc::new(Facts {
            public_key_sha256: key_hash(&certificate),
            last_second: last_second(&certificate),
            subject: distinguished::rfc4514(subject).into(),
            subject_dirac: distinguished::dirac(subject).into(),
            names: alternative_names(&certificate)?,
        })))
    }
}

impl fmt::Debug for CertificateCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateCredentials")
            .field("subject", &self.subject())
            .field("alternative_names", &self.alternative_names())
            .field("public_key", &Principal(self.0.public_key_sha256))
            .finish_non_exhaustive()
    }
}

/// SHA-256 of the public key of a certificate; `None` when it cannot be read.
pub(crate) fn public_key_sha256(der: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(key_hash(&certificate))
}

fn key_hash(certificate: &X509Certificate<'_>) -> [u8; 32] {
    Sha256::digest(certificate.public_key().raw).into()
}

/// The last second of a certificate, since 1970; `None` when it cannot be read.
pub(crate) fn not_after(der: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(last_second(&certificate))
}

fn last_second(certificate: &X509Certificate<'_>) -> u64 {
    u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0)
}

/// Another name of a certificate's holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlternativeName {
    /// A host, perhaps with a `*` as its first label.
    Dns(Box<str>),
    /// An address.
    Ip(IpAddr),
    /// A mail address.
    Email(Box<str>),
    /// A URI.
    Uri(Box<str>),
}

impl AlternativeName {
    /// The name, unless it is malformed or of another kind.
    pub(super) fn read(name: &GeneralName<'_>) -> Option<Self> {
        Some(match name {
            GeneralName::DNSName(text) => Self::Dns(plain(text)?),
            GeneralName::RFC822Name(text) => Self::Email(plain(text)?),
            GeneralName::URI(text) => Self::Uri(plain(text)?),
            GeneralName::IPAddress(bytes) => Self::Ip(match <[u8; 4]>::try_from(*bytes) {
                Ok(bytes) => Ipv4Addr::from(bytes).into(),
                Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).into(),
            }),
            _ => return None,
        })
    }
}

/// Names are printable ASCII without spaces; anything else is malformed.
fn plain(text: &str) -> Option<Box<str>> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.into())
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Result<Box<[AlternativeName]>, CredentialsError> {
    let mut names = Vec::new();
    for extension in certificate.iter_extensions() {
        let ParsedExtension::SubjectAlternativeName(list) = extension.parsed_extension() else {
            continue;
        };
        let length = extension.value.len();
        if length > MAX_NAMES {
            return Err(CredentialsError::NamesTooLong(length));
        }
        names.extend(list.general_names.iter().filter_map(AlternativeName::read));
        if names.len() > MOST_NAMES {
            return Err(CredentialsError::TooManyNames(names.len()));
        }
    }
    Ok(names.into())
}

/// Why a verified certificate was refused all the same. The texts fit what a peer is told (PROTOCOL E-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CredentialsError {
    /// It cannot be parsed.
    #[error("a certificate that cannot be read here")]
    Unreadable,
    /// The subject is longer than the bound.
    #[error("a certificate's subject of {0} bytes, at most {MAX_SUBJECT}")]
    SubjectTooLong(usize),
    /// The alternative names are longer than the bound.
    #[error("names of {0} bytes in a certificate, at most {MAX_NAMES}")]
    NamesTooLong(usize),
    /// There are more of them than the bound.
    #[error("{0} names in a certificate, at most {MOST_NAMES}")]
    TooManyNames(usize),
}
