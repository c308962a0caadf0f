//! Certificates, keys, authorities and revocation lists as the user gives them, read from PEM or DER. Whether they fit together is checked
//! when they are put to use, in `config`.

use core::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::{Origin, TlsError};

/// The certificate chain and the private key of one party.
///
/// The first certificate is the party's own, the intermediates follow; the authority itself may be left out. Cheap to clone. The key never
/// shows in `Debug`.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_origin: Origin,
    key_origin: Origin,
}

impl Certificate {
    /// The SHA-256 of its public key, by which a service knows who it is; `None` when it cannot be read.
    pub(crate) fn public_key_sha256(&self) -> Option<[u8; 32]> {
        super::credentials::public_key_sha256(self.0.chain.first()?)
    }

    /// Reads the chain and the key from two PEM files, which may be the same file.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file: not readable, no PEM, no certificate, no key, or a key with a pass phrase.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (chain_text, chain_origin) = read("certificate chain", chain.as_ref())?;
        let (key_text, key_origin) = read("private key", key.as_ref())?;
        Self::parse(&chain_text, &key_text, chain_origin, key_origin)
    }

    /// Takes the chain and the key from PEM text; both may be the same text.
    ///
    /// # Errors
    /// As [`Certificate::from_pem_files`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::parse(chain, key, Origin::Memory, Origin::Memory)
    }

    /// Takes the chain and the key in DER.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`] when the chain is empty.
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        Self::assemble(chain, key, Origin::Memory, Origin::Memory)
    }

    /// The chain in DER, the party's own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    pub(crate) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.key
    }

    pub(super) fn chain_origin(&self) -> &Origin {
        &self.0.chain_origin
    }

    pub(super) fn key_origin(&self) -> &Origin {
        &self.0.key_origin
    }

    /// Whether it is the same certificate with the same key, from wherever.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.chain == other.0.chain && self.0.key == other.0.key
    }

    fn parse(chain: &[u8], key: &[u8], chain_origin: Origin, key_origin: Origin) -> Result<Self, TlsError> {
        let chain = sections("certificate chain", chain, &chain_origin)?;
        let key = private_key(key, &key_origin)?;
        Self::assemble(chain, key, chain_origin, key_origin)
    }

    fn assemble(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        chain_origin: Origin,
        key_origin: Origin,
    ) -> Result<Self, TlsError> {
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { origin: chain_origin });
        }
        Ok(Self(Arc::new(Parts {
            chain,
            key,
            chain_origin,
            key_origin,
        })))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field(
                "chain",
                &format_args!("{} from {}", self.0.chain.len(), self.0.chain_origin),
            )
            .field("key", &format_args!("(secret) from {}", self.0.key_origin))
            .finish()
    }
}

/// The certificate authorities whose certificates a peer may show. Cheap to clone.
#[derive(Clone)]
pub struct Authorities {
    list: Arc<[CertificateDer<'static>]>,
    origin: Origin,
}

impl Authorities {
    /// Reads the authorities from a PEM file.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file: not readable, no PEM, or no certificate in it.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (text, origin) = read("certificate authorities", path.as_ref())?;
        Self::parse(&text, origin)
    }

    /// Takes the authorities from PEM text.
    ///
    /// # Errors
    /// As [`Authorities::from_pem_file`].
    pub fn from_pem(text: &[u8]) -> Result<Self, TlsError> {
        Self::parse(text, Origin::Memory)
    }

    /// Takes the authorities in DER.
    ///
    /// # Errors
    /// [`TlsError::NoAuthorities`] when there is none.
    pub fn from_der(list: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        Self::assemble(list, Origin::Memory)
    }

    #[cfg(all(feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
    pub(super) fn of_one(authority: CertificateDer<'static>) -> Self {
        Self {
            list: Arc::new([authority]),
            origin: Origin::Memory,
        }
    }

    /// The authorities in DER.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.list
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    fn parse(text: &[u8], origin: Origin) -> Result<Self, TlsError> {
        Self::assemble(sections("certificate authorities", text, &origin)?, origin)
    }

    fn assemble(list: Vec<CertificateDer<'static>>, origin: Origin) -> Result<Self, TlsError> {
        if list.is_empty() {
            return Err(TlsError::NoAuthorities { origin });
        }
        Ok(Self {
            list: list.into(),
            origin,
        })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({} from {})", self.list.len(), self.origin)
    }
}

/// Certificate revocation lists. Cheap to clone.
///
/// Once lists are given, every certificate of a peer's chain must be covered by one of them: a certificate whose authority gave no list is
/// refused. The date until which a list claims to be fresh is not enforced unless you ask for it:
/// [`TlsBuilder::require_fresh_revocations`](super::TlsBuilder::require_fresh_revocations).
#[derive(Clone)]
pub struct Revocations {
    list: Arc<[CertificateRevocationListDer<'static>]>,
    origin: Origin,
}

impl Revocations {
    /// Reads the lists from a PEM file.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file: not readable, no PEM, or no list in it.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (text, origin) = read("revocation lists", path.as_ref())?;
        Self::parse(&text, origin)
    }

    /// Takes the lists from PEM text.
    ///
    /// # Errors
    /// As [`Revocations::from_pem_file`].
    pub fn from_pem(text: &[u8]) -> Result<Self, TlsError> {
        Self::parse(text, Origin::Memory)
    }

    /// Takes the lists in DER.
    ///
    /// # Errors
    /// [`TlsError::NoRevocations`] when there is none.
    pub fn from_der(list: Vec<CertificateRevocationListDer<'static>>) -> Result<Self, TlsError> {
        Self::assemble(list, Origin::Memory)
    }

    pub(super) fn lists(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.list
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    fn parse(text: &[u8], origin: Origin) -> Result<Self, TlsError> {
        Self::assemble(sections("revocation lists", text, &origin)?, origin)
    }

    fn assemble(list: Vec<CertificateRevocationListDer<'static>>, origin: Origin) -> Result<Self, TlsError> {
        if list.is_empty() {
            return Err(TlsError::NoRevocations { origin });
        }
        Ok(Self {
            list: list.into(),
            origin,
        })
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({} from {})", self.list.len(), self.origin)
    }
}

fn read(what: &'static str, path: &Path) -> Result<(Vec<u8>, Origin), TlsError> {
    match std::fs::read(path) {
        Ok(text) => Ok((text, Origin::File(path.to_owned()))),
        Err(source) => Err(TlsError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        }),
    }
}

fn sections<T: PemObject>(what: &'static str, text: &[u8], origin: &Origin) -> Result<Vec<T>, TlsError> {
    T::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| bad_pem(what, origin, &error))
}

fn private_key(text: &[u8], origin: &Origin) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(text) => Err(TlsError::EncryptedKey { origin: origin.clone() }),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoPrivateKey { origin: origin.clone() }),
        Err(error) => Err(bad_pem("private key", origin, &error)),
    }
}

/// Both forms of a protected key say so: `BEGIN ENCRYPTED PRIVATE KEY` and `Proc-Type: 4,ENCRYPTED`.
fn is_encrypted(text: &[u8]) -> bool {
    let word = b"ENCRYPTED";
    text.windows(word.len()).any(|window| window == word)
}

// The text of the library's errors is not passed on: it quotes lines of the file, and the file may hold a key.
fn bad_pem(what: &'static str, origin: &Origin, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no matching END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "the base64 text of a block is damaged",
        pem::Error::SectionTooLarge => "a block is too long",
        _ => "it cannot be read",
    };
    TlsError::BadPem {
        what,
        origin: origin.clone(),
        reason,
    }
}
