//! Certificates, keys and authorities as the user gives them, read from PEM or DER, and what of a PEM text is taken for what. Whether they fit
//! together is checked when they are put to use, in `config`; revocation lists are in `revocation`, how a PEM text is taken apart in `pem`.

use core::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::asn1_rs::{Any, Class, FromDer};

use super::pem::{self, Block, Fault, Kind, Sort};
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
        let text = Text::new("certificate chain", chain, &chain_origin, Sort::Certificates)?;
        let chain = text.certificates()?;
        if chain.is_empty() {
            let found = text.found();
            return Err(TlsError::NoCertificate {
                origin: chain_origin,
                found,
            });
        }
        let key = Text::new("private key", key, &key_origin, Sort::Keys)?.private_key()?;
        Self::assemble(chain, key, chain_origin, key_origin)
    }

    fn assemble(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        chain_origin: Origin,
        key_origin: Origin,
    ) -> Result<Self, TlsError> {
        if chain.is_empty() {
            let found = String::new();
            return Err(TlsError::NoCertificate {
                origin: chain_origin,
                found,
            });
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
        let text = Text::new("certificate authorities", text, &origin, Sort::Certificates)?;
        let list = text.certificates()?;
        if list.is_empty() {
            let found = text.found();
            return Err(TlsError::NoAuthorities { origin, found });
        }
        text.warn_of_strangers();
        Self::assemble(list, origin)
    }

    fn assemble(list: Vec<CertificateDer<'static>>, origin: Origin) -> Result<Self, TlsError> {
        if list.is_empty() {
            let found = String::new();
            return Err(TlsError::NoAuthorities { origin, found });
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

pub(super) fn read(what: &'static str, path: &Path) -> Result<(Vec<u8>, Origin), TlsError> {
    let origin = Origin::File(path.to_owned());
    let mut text = Vec::new();
    let all = std::fs::File::open(path).and_then(|file| {
        // One byte more shows that there is more. A device may have no end.
        file.take(pem::MAX_TEXT as u64 + 1).read_to_end(&mut text)
    });
    match all {
        Ok(length) if length > pem::MAX_TEXT => Err(TlsError::TooLong { what, origin }),
        Ok(_) => Ok((text, origin)),
        Err(source) => Err(TlsError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        }),
    }
}

/// A PEM text that is whole, and what is looked for in it.
pub(super) struct Text<'a> {
    what: &'static str,
    origin: &'a Origin,
    blocks: Vec<Block<'a>>,
}

impl<'a> Text<'a> {
    /// # Errors
    /// It is no PEM text, or a block is damaged, whatever it holds: what was meant to stand there nobody knows.
    pub(super) fn new(what: &'static str, text: &'a [u8], origin: &'a Origin, sort: Sort) -> Result<Self, TlsError> {
        if let Some(reason) = pem::foreign(text, sort, &quoted(origin)) {
            let origin = origin.clone();
            return Err(TlsError::NotPem { what, origin, reason });
        }
        let blocks = pem::blocks(text).into_iter().collect::<Result<_, _>>();
        let empty = Self {
            what,
            origin,
            blocks: Vec::new(),
        };
        match blocks {
            Ok(blocks) => Ok(Self { blocks, ..empty }),
            Err(fault) => Err(empty.bad(fault)),
        }
    }

    fn bad(&self, fault: Fault) -> TlsError {
        TlsError::BadPem {
            what: self.what,
            origin: self.origin.clone(),
            line: fault.line,
            reason: fault.reason,
        }
    }

    /// Decodes what `take` wants, with the lines where it begins.
    fn decode<T>(&self, take: impl Fn(&Block<'_>) -> Result<Option<T>, Fault>) -> Result<Vec<(usize, T)>, TlsError> {
        let taken = self.blocks.iter().filter_map(|block| match take(block) {
            Ok(item) => item.map(|item| Ok((block.line, item))),
            Err(fault) => Some(Err(self.bad(fault))),
        });
        taken.collect()
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let file = quoted(self.origin);
        let certificates = self.decode(|block| match block.kind() {
            Kind::Certificate => block.decode("CERTIFICATE").map(Some),
            Kind::TrustedCertificate => trusted(block, &file).map(Some),
            Kind::Pkcs7 => Err(pkcs7(block, &file)),
            Kind::RelatedTo(Sort::Certificates) => Err(unknown(block, "CERTIFICATE")),
            _ => Ok(None),
        })?;
        Ok(certificates.into_iter().map(|(_, certificate)| certificate).collect())
    }

    /// The lists, with the lines where they begin.
    pub(super) fn lists(&self) -> Result<Vec<(usize, CertificateRevocationListDer<'static>)>, TlsError> {
        let file = quoted(self.origin);
        self.decode(|block| match block.kind() {
            Kind::List => block.decode("X509 CRL").map(Some),
            Kind::Pkcs7 => Err(pkcs7(block, &file)),
            Kind::RelatedTo(Sort::Lists) => Err(unknown(block, "X509 CRL")),
            _ => Ok(None),
        })
    }

    /// The first key, as OpenSSL takes it.
    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let origin = || self.origin.clone();
        let is_encrypted = |block: &Block<'_>| block.kind() == Kind::EncryptedKey || block.has_encrypted_text();
        let mut keys = self.decode(|block| match block.kind() {
            Kind::Key(label) if !is_encrypted(block) => block.decode(label).map(Some),
            _ => Ok(None),
        })?;
        if let [_, (line, _), ..] = keys.as_slice() {
            tracing::warn!(origin = %self.origin, line, "more than one private key: only the first is used");
        }
        if !keys.is_empty() {
            return Ok(keys.swap_remove(0).1);
        }
        if self.blocks.iter().any(is_encrypted) {
            return Err(TlsError::EncryptedKey { origin: origin() });
        }
        for block in &self.blocks {
            match block.kind() {
                Kind::OpenSshKey => {
                    let file = quoted(self.origin);
                    let reason = format!(
                        "a key in the format of OpenSSH: write it in PKCS#8, `cp {file} new.key && ssh-keygen -p -m PKCS8 -N '' -f new.key`"
                    );
                    return Err(self.bad(Fault::new(block.line, reason)));
                }
                Kind::RelatedTo(Sort::Keys) => return Err(self.bad(unknown(block, "PRIVATE KEY"))),
                _ => {}
            }
        }
        Err(TlsError::NoPrivateKey {
            origin: origin(),
            found: self.found(),
        })
    }

    /// Says in the log what stands there in vain, and should not, or may be meant to count.
    fn warn_of_strangers(&self) {
        for block in &self.blocks {
            let (origin, line) = (self.origin, block.line);
            match block.kind() {
                Kind::Key(_) | Kind::EncryptedKey => {
                    tracing::warn!(%origin, line, "a private key among certificate authorities: it is not used, and should not stand there");
                }
                Kind::List => {
                    tracing::warn!(
                        %origin, line,
                        "a revocation list among certificate authorities: it counts only if this file is given for revocation lists, too"
                    );
                }
                _ => {}
            }
        }
    }

    /// What stands there, for somebody who did not find what he looked for.
    pub(super) fn found(&self) -> String {
        const SHOWN: usize = 3;
        let mut all: Vec<_> = self
            .blocks
            .iter()
            .take(SHOWN)
            .map(|block| format!("{} (line {})", block.shown(), block.line))
            .collect();
        let more = self.blocks.len().saturating_sub(SHOWN);
        if more > 0 {
            all.push(format!("and {more} more blocks"));
        }
        if all.is_empty() {
            String::new()
        } else {
            format!(", which holds {}", all.join(", "))
        }
    }
}

/// A certificate without what OpenSSL says behind it of what it is trusted for; unless that takes something away.
fn trusted(block: &Block<'_>, file: &str) -> Result<CertificateDer<'static>, Fault> {
    // anyExtendedKeyUsage; id-kp serverAuth and clientAuth; with their tags. An authority is one for services and clients.
    const ANY: &[u8] = b"\x06\x04\x55\x1d\x25\x00";
    const BOTH: [&[u8]; 2] = [
        b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01",
        b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02",
    ];
    let both: CertificateDer<'static> = block.decode("CERTIFICATE")?;
    // What cannot be read may be what takes trust away.
    let damaged = || {
        Fault::new(
            block.line,
            "the certificate in the block that begins here, or its settings of trust, are damaged: write it anew",
        )
    };
    let part = |der| Any::from_der(der).map_err(|_| damaged());
    let (settings, _) = part(&both)?;
    let mut rest: &[u8] = &[];
    if !settings.is_empty() {
        let (behind, all) = part(settings)?;
        if !behind.is_empty() {
            return Err(damaged());
        }
        rest = all.data;
    }
    let mut is_restricted = false;
    while !rest.is_empty() {
        let (next, part) = part(rest)?;
        rest = next;
        let class = part.class();
        let names = |purpose: &[u8]| part.data.windows(purpose.len()).any(|oid| oid == purpose);
        // SEQUENCE OF purposes that it is trusted for; [0] those for which it is not.
        is_restricted |= match part.tag().0 {
            16 if class == Class::Universal => !names(ANY) && !BOTH.into_iter().all(names),
            0 => class == Class::ContextSpecific && !part.data.is_empty(),
            _ => false,
        };
    }
    if is_restricted {
        let reason = format!(
            "a certificate that OpenSSL is told not to trust for some purposes, which is not kept here: leave it out, or trust it for all with \
             `openssl x509 -in {file} -out new.pem`"
        );
        return Err(Fault::new(block.line, reason));
    }
    let own = both.len() - settings.len();
    Ok(CertificateDer::from(both.get(..own).unwrap_or_default().to_vec()))
}

fn pkcs7(block: &Block<'_>, file: &str) -> Fault {
    let reason = format!(
        "a PKCS#7 bundle: take the certificates and lists out of it with `openssl pkcs7 -print_certs -in {file} -out new.pem`"
    );
    Fault::new(block.line, reason)
}

fn unknown(block: &Block<'_>, label: &str) -> Fault {
    let reason = format!(
        "{} is of no kind that is read here: if it holds what BEGIN {label} says, name it so",
        block.shown()
    );
    Fault::new(block.line, reason)
}

/// How a shell is told of it.
fn quoted(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => {
            let path = path.display().to_string();
            if path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte))
            {
                path
            } else {
                format!("'{}'", path.replace('\'', "'\\''"))
            }
        }
        Origin::Memory => "FILE".to_owned(),
    }
}
