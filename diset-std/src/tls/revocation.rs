//! Revocation lists as the user gives them. What one list says is read in `list`; which of them count, and for whom, is decided in `check`.

mod check;
mod list;

use core::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{FromDer, X509Certificate};

pub(super) use check::Lists;
use list::{List, Scope, Signed, Unfit, name};

use super::material::{Text, read};
use super::pem::Sort;
use super::{Authorities, Origin, TlsError};

const WHAT: &str = "revocation lists";

/// Certificate revocation lists (CRLs). Cheap to clone.
///
/// There may be several of one authority, in any order: of each authority, key and scope (all certificates, or those of an issuing distribution
/// point) the newest counts, which is the one with the highest CRL number, and of the same number the latest. Where number and date contradict each
/// other both lists count: a certificate on either is refused. After an authority has changed its key, under the same name, the lists of either key
/// serve the certificates signed with it.
///
/// Once lists are given, every certificate of a peer's chain must be covered by one of them: a certificate whose authority gave no list is
/// refused. A certificate is revoked when any list that covers it says so. The date until which a list claims to be fresh is not enforced unless you
/// ask for it: [`TlsBuilder::require_fresh_revocations`](super::TlsBuilder::require_fresh_revocations).
///
/// Lists that are sound but cannot be used are named in a warning of the log when settings are made or changed, and the others count: delta lists,
/// indirect lists, lists for some reasons or for attribute certificates only, lists of version 1 or without a number or without a date for the next,
/// and those with a critical extension that diset does not know. A list that is damaged, and lists of which none can be used, or none was
/// signed by an authority that is given, are an error.
#[derive(Clone)]
pub struct Revocations(Arc<[Given]>);

/// A list as it was given.
#[derive(Clone)]
struct Given {
    der: CertificateRevocationListDer<'static>,
    place: Place,
    read: Result<Arc<List>, Unfit>,
    /// Stays in force from before, because what came in its place cannot be used.
    is_kept: bool,
}

/// Where a list stands.
#[derive(Clone)]
struct Place {
    origin: Origin,
    /// From 1.
    number: usize,
    line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list {} in {}", self.number, self.origin)?;
        self.line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

impl Revocations {
    /// Reads the lists from a PEM file.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file: not readable, no PEM, or no list in it.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (text, origin) = read(WHAT, path.as_ref())?;
        Self::parse(&text, &origin)
    }

    /// Takes the lists from PEM text.
    ///
    /// # Errors
    /// As [`Revocations::from_pem_file`].
    pub fn from_pem(text: &[u8]) -> Result<Self, TlsError> {
        Self::parse(text, &Origin::Memory)
    }

    /// Takes the lists in DER.
    ///
    /// # Errors
    /// [`TlsError::NoRevocations`] when there is none.
    pub fn from_der(list: Vec<CertificateRevocationListDer<'static>>) -> Result<Self, TlsError> {
        let lists = list.into_iter().map(|der| (None, der));
        Self::assemble(lists, &Origin::Memory, String::new())
    }

    /// These lists and others, of another file for instance.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(others.0.iter()).cloned().collect())
    }

    /// All of them, in DER.
    #[cfg(any(test, feature = "throwaway"))]
    pub(super) fn lists(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.given().map(|given| given.der.clone()).collect()
    }

    fn given(&self) -> impl Iterator<Item = &Given> {
        self.0.iter().filter(|given| !given.is_kept)
    }

    /// Whether they are the same, from wherever.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.given()
            .map(|given| &given.der)
            .eq(other.given().map(|given| &given.der))
    }

    /// Whether all of them stand in such files.
    pub(super) fn are_in(&self, is_such: impl Fn(&Path) -> bool) -> bool {
        self.0
            .iter()
            .all(|given| matches!(&given.place.origin, Origin::File(file) if is_such(file)))
    }

    /// With those of the former lists that are still needed: what the same authority gives in their place, for the same certificates and
    /// signed with the same key, cannot be used.
    pub(super) fn keeping(
        self,
        former: &Self,
        authorities: &Authorities,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let signers = Signers::new(authorities, algorithms);
        let usable = |given: &Given| {
            given
                .read
                .as_ref()
                .ok()
                .map(|list| (signers.of(&list.signed), Arc::clone(list)))
        };
        let now: Vec<_> = self.0.iter().filter_map(usable).collect();
        let unusable = self.0.iter().filter_map(|given| match &given.read {
            Err(Unfit::Unusable(list)) => Some((signers.of(&list.signed), list.scope.as_ref())),
            _ => None,
        });
        let unusable: Vec<_> = unusable.collect();
        let is_needed = |given: &&Given| {
            let Some((signer, list)) = usable(given) else {
                return false;
            };
            let has_other = now.iter().any(|(by, other)| *by == signer && other.scope == list.scope);
            let is_meant = |scope: Option<&Scope>| scope.is_none_or(|scope| scope.takes_in(&list.scope));
            !has_other && unusable.iter().any(|(by, scope)| *by == signer && is_meant(*scope))
        };
        let kept = former.0.iter().filter(is_needed).cloned();
        let kept = kept.map(|given| Given { is_kept: true, ..given });
        Self(self.0.iter().cloned().chain(kept).collect())
    }

    fn parse(text: &[u8], origin: &Origin) -> Result<Self, TlsError> {
        let text = Text::new(WHAT, text, origin, Sort::Lists)?;
        let lists = text.lists()?.into_iter().map(|(line, der)| (Some(line), der));
        Self::assemble(lists, origin, text.found())
    }

    fn assemble(
        lists: impl Iterator<Item = (Option<usize>, CertificateRevocationListDer<'static>)>,
        origin: &Origin,
        found: String,
    ) -> Result<Self, TlsError> {
        let given = (1..).zip(lists).map(|(number, (line, der))| {
            let origin = origin.clone();
            let place = Place { origin, number, line };
            Given {
                read: List::read(&der, &place).map(Arc::new),
                der,
                place,
                is_kept: false,
            }
        });
        let given: Arc<[_]> = given.collect();
        if given.is_empty() {
            let origin = origin.clone();
            return Err(TlsError::NoRevocations { origin, found });
        }
        Ok(Self(given))
    }
}

/// One authority.
struct Signer {
    /// In DER without the header.
    name: Box<[u8]>,
    key: Box<[u8]>,
}

/// The keys of the authorities that are given, to tell lists of the same name apart.
struct Signers {
    keys: Vec<Signer>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Signers {
    fn new(authorities: &Authorities, algorithms: WebPkiSupportedAlgorithms) -> Self {
        let key = |der: &CertificateDer<'_>| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some(Signer {
                name: name(certificate.subject())?.into(),
                key: certificate.public_key().raw.into(),
            })
        };
        Self {
            keys: authorities.certificates().iter().filter_map(key).collect(),
            algorithms,
        }
    }

    /// The name of a list, and which of the authorities has signed it, if one has.
    fn of(&self, signed: &Signed) -> (Box<[u8]>, Option<&[u8]>) {
        let named = self.keys.iter().filter(|signer| signer.name == signed.issuer);
        let mut keys = named.map(|signer| &*signer.key);
        let key = keys.find(|key| signed.is_signed_by(key, &self.algorithms));
        (signed.issuer.clone(), key)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({}", self.0.len())?;
        if let Some(first) = self.0.first() {
            write!(f, " from {}", first.place.origin)?;
        }
        f.write_str(")")
    }
}
