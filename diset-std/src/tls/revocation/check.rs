//! Which lists count for whom, and whether they revoke a peer's chain.
//!
//! `webpki` takes the first list of a name that it finds, whoever signed it and however old it is. So it only builds the path here; the keys on that
//! path tell which lists are meant.

use core::cell::Cell;
use core::cmp::Reverse;
use core::fmt;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertRevocationListError, CertificateError, Error, RootCertStore};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, spki_for_anchor};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::list::{List, Unfit, name, points_of, show};
use super::{Given, Revocations, TlsError};
use crate::tls::case::Role;
use crate::tls::verifier::{Say, Shown};
use crate::tls::{Authorities, Certificate};

/// So many of a kind are named in one line of the log, or in an error.
const SHOWN: usize = 5;
/// Authorities of peers that are remembered.
const MOST_MET: usize = 64;

/// Lists by the name of their authority, in DER without its header.
type ByName = HashMap<Box<[u8]>, Vec<Arc<List>>>;
/// By its name and its `SubjectPublicKeyInfo`.
type ByKey = HashMap<(Box<[u8]>, Box<[u8]>), Vec<Arc<List>>>;

/// The lists in force.
pub(in crate::tls) struct Lists {
    /// By the name of the authority, the newest first.
    all: ByName,
    /// Those that count, by name and key, of the authorities that are trusted themselves.
    known: ByKey,
    /// The same, of authorities that peers have shown.
    met: Mutex<ByKey>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    fresh: bool,
}

impl Lists {
    /// Finds out which lists count. What people should know of the others is written in the log.
    ///
    /// # Errors
    /// A list is damaged, none can be used, or none is of an authority that is given; when fresh ones are wanted, one that counts is out of date.
    pub(in crate::tls) fn new(
        revocations: &Revocations,
        own: &Certificate,
        authorities: &Authorities,
        roots: &Arc<RootCertStore>,
        provider: &CryptoProvider,
        fresh: bool,
    ) -> Result<Arc<Self>, TlsError> {
        let mut lists = Self {
            all: usable(revocations)?,
            known: ByKey::new(),
            met: Mutex::default(),
            roots: Arc::clone(roots),
            algorithms: provider.signature_verification_algorithms,
            fresh,
        };
        for anchor in &roots.roots {
            let (issuer, key) = (anchor.subject.as_ref(), spki_for_anchor(anchor));
            let count = lists.newest(issuer, &key);
            warn_of_contradictions(&count);
            lists.known.insert((issuer.into(), key.as_ref().into()), count);
        }
        if let (true, Some(first)) = (lists.known.values().all(Vec::is_empty), revocations.0.first()) {
            let names: BTreeSet<_> = lists
                .all
                .values()
                .flatten()
                .map(|list| format!("`{}`", list.issuer_name))
                .collect();
            let names: Vec<_> = names.into_iter().collect();
            let reason = format!(
                "none was signed by an authority that is given, so everybody would be refused: they are of {}",
                shorten(&names)
            );
            return Err(TlsError::BadRevocations {
                origin: first.place.origin.clone(),
                reason,
            });
        }
        if fresh {
            lists.check_fresh()?;
        }
        lists.warn_of_strangers(own);
        lists.warn_of_the_uncovered(authorities);
        Ok(Arc::new(lists))
    }

    /// Those of an authority's name that this key has signed, without those that newer ones replace.
    fn newest(&self, issuer: &[u8], key: &[u8]) -> Vec<Arc<List>> {
        let mut count: Vec<Arc<List>> = Vec::new();
        for list in self.all.get(issuer).into_iter().flatten() {
            // In this order nothing older comes before what replaces it.
            let is_replaced = count.iter().any(|newer| list.is_replaced_by(newer));
            if !is_replaced && list.signed.is_signed_by(key, &self.algorithms) {
                count.push(Arc::clone(list));
            }
        }
        count
    }

    /// As [`newest`](Self::newest), remembered: it takes as long as the lists are long, and a peer could ask for it again and again.
    fn newest_met(&self, issuer: &[u8], key: &[u8]) -> Vec<Arc<List>> {
        let met = || self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (issuer.into(), key.into());
        if let Some(lists) = met().get(&place) {
            return lists.clone();
        }
        let lists = self.newest(issuer, key);
        let mut met = met();
        if met.len() < MOST_MET {
            met.insert(place, lists.clone());
        }
        lists
    }

    fn check_fresh(&self) -> Result<(), TlsError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        match self.known.values().flatten().find(|list| list.next_update < now) {
            Some(old) => Err(TlsError::OldRevocations {
                origin: old.place.origin.clone(),
                number: old.place.number,
                next_update: old.next_update_text.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Lists that none of the authorities given has signed: they may be of one that peers show, or simply the wrong ones.
    fn warn_of_strangers(&self, own: &Certificate) {
        let roots = self.roots.roots.iter();
        let mut keys: Vec<_> = roots
            .map(|anchor| {
                (
                    anchor.subject.as_ref().to_vec(),
                    spki_for_anchor(anchor).as_ref().to_vec(),
                )
            })
            .collect();
        // The intermediates of one's own chain are known, too.
        for der in own.chain() {
            if let Ok((_, certificate)) = X509Certificate::from_der(der)
                && let Some(subject) = name(certificate.subject())
            {
                keys.push((subject.to_vec(), certificate.public_key().raw.to_vec()));
            }
        }
        for list in self.all.values().flatten() {
            let of_name: Vec<_> = keys.iter().filter(|(name, _)| **name == *list.signed.issuer).collect();
            if of_name.is_empty() {
                tracing::warn!(
                    "revocation {} is of an authority that is not among those given, `{}`: it counts only for peers that show a certificate of it, \
                     signed by one of these",
                    list.place,
                    list.issuer_name
                );
            } else if !of_name
                .iter()
                .any(|(_, key)| list.signed.is_signed_by(key, &self.algorithms))
            {
                tracing::warn!(
                    "revocation {} bears the name of the authority `{}` but was not signed with its key: it does not count for it; give the list \
                     that belongs to this key, or the authority's other certificate, too",
                    list.place,
                    list.issuer_name
                );
            }
        }
    }

    /// Authorities without a list.
    fn warn_of_the_uncovered(&self, authorities: &Authorities) {
        let parsed = authorities
            .certificates()
            .iter()
            .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1));
        let bare: Vec<_> = parsed
            .filter(|certificate| {
                let (Some(subject), key) = (name(certificate.subject()), certificate.public_key().raw) else {
                    return false;
                };
                self.known.get(&(subject.into(), key.into())).is_none_or(Vec::is_empty)
            })
            .map(|certificate| format!("`{}`", show(certificate.subject())))
            .collect();
        if !bare.is_empty() {
            tracing::warn!(
                "no revocation list that can be used for {}: whoever shows a certificate of theirs is refused",
                shorten(&bare)
            );
        }
    }

    /// Whether a chain that was found to be good otherwise is covered by lists, and on none of them.
    fn check(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let own = EndEntityCert::try_from(own).map_err(|_| CertificateError::BadEncoding)?;
        let verdict = Cell::new(Verdict::Unknown);
        let judge = |path: &VerifiedPath<'_>| match self.judge(path, now) {
            Ok(()) => Ok(()),
            Err(worse) => {
                verdict.set(verdict.get().max(worse));
                Err(webpki::Error::CertRevoked)
            }
        };
        let algorithms = self.algorithms.all;
        let found = own.verify_for_usage(algorithms, &self.roots.roots, others, now, usage, None, Some(&judge));
        found.map(drop).map_err(|_| verdict.get().into())
    }

    /// Judges each certificate of a path by the lists of the key that signed it.
    fn judge(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), Verdict> {
        let mut chain = vec![path.end_entity().der()];
        chain.extend(path.intermediate_certificates().map(|certificate| certificate.der()));
        let read = chain.iter().map(|der| X509Certificate::from_der(der));
        let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|_| Verdict::Unknown)?;
        for (place, (_, certificate)) in read.iter().enumerate() {
            let issuer = read.get(place + 1).map(|(_, issuer)| issuer);
            self.judge_one(certificate, place > 0, issuer, path, now)?;
        }
        Ok(())
    }

    fn judge_one(
        &self,
        certificate: &X509Certificate<'_>,
        is_authority: bool,
        issuer: Option<&X509Certificate<'_>>,
        path: &VerifiedPath<'_>,
        now: UnixTime,
    ) -> Result<(), Verdict> {
        let name = name(certificate.issuer()).ok_or(Verdict::Unknown)?;
        let found;
        let lists = match issuer {
            Some(issuer) => {
                let usage = issuer.key_usage().map_err(|_| Verdict::Unknown)?;
                if usage.is_some_and(|usage| !usage.value.crl_sign()) {
                    return Err(Verdict::NoSigner);
                }
                found = self.newest_met(name, issuer.public_key().raw);
                &found
            }
            None => {
                let key = spki_for_anchor(path.anchor());
                self.known
                    .get(&(name.into(), key.as_ref().into()))
                    .ok_or(Verdict::Unknown)?
            }
        };
        let points = points_of(certificate);
        let (mut is_covered, mut newest) = (false, None);
        for list in lists
            .iter()
            .filter(|list| list.scope.covers(is_authority, points.as_ref()))
        {
            if list.names(certificate.raw_serial()) {
                return Err(Verdict::Revoked);
            }
            let until = u64::try_from(list.next_update).unwrap_or(0);
            newest = newest.max(Some(until));
            is_covered |= !self.fresh || now.as_secs() < until;
        }
        match newest {
            _ if is_covered => Ok(()),
            None => Err(Verdict::Unknown),
            Some(until) => Err(Verdict::Old {
                now: now.as_secs(),
                until,
            }),
        }
    }
}

/// Those that can be used, by authority; the newest first.
fn usable(revocations: &Revocations) -> Result<ByName, TlsError> {
    let mut all = ByName::new();
    let mut unusable = Vec::new();
    let bad = |given: &Given, reason| TlsError::BadRevocations {
        origin: given.place.origin.clone(),
        reason,
    };
    for given in revocations.0.iter() {
        match &given.read {
            Ok(list) => all
                .entry(list.signed.issuer.clone())
                .or_default()
                .push(Arc::clone(list)),
            Err(Unfit::Damaged(reason)) => return Err(bad(given, format!("{}: {reason}", given.place))),
            Err(Unfit::Unusable(list)) => {
                unusable.push(format!("{} of `{}`: {}", given.place, list.issuer_name, list.reason));
            }
        }
    }
    let is_any_new = revocations.given().any(|given| given.read.is_ok());
    if let (false, Some(first)) = (is_any_new, revocations.0.first()) {
        return Err(bad(first, shorten(&unusable)));
    }
    for reason in unusable {
        tracing::warn!("a revocation list cannot be used, the others count: {reason}");
    }
    for kept in revocations.0.iter().filter(|given| given.is_kept) {
        tracing::warn!(
            "revocation {} stays in force: what its authority gives in its place cannot be used",
            kept.place
        );
    }
    for lists in all.values_mut() {
        lists.sort_by_key(|list| Reverse((list.number, list.this_update)));
    }
    Ok(all)
}

/// Of the lists that count, those for the same certificates: the newest could not be told.
fn warn_of_contradictions(count: &[Arc<List>]) {
    for (at, list) in count.iter().enumerate() {
        if let Some(other) = count.iter().skip(at + 1).find(|other| other.scope == list.scope) {
            tracing::warn!(
                "revocation {} and {} of `{}`: which is newer, their numbers and dates do not agree on; a certificate on either is refused",
                list.place,
                other.place,
                list.issuer_name
            );
        }
    }
}

fn shorten(all: &[String]) -> String {
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lists({})", self.all.values().map(Vec::len).sum::<usize>())
    }
}

/// Why a path is no good. Of several paths the last of these tells most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// No list covers it.
    Unknown,
    /// The authority may not sign lists.
    NoSigner,
    /// The lists that cover it are out of date.
    Old {
        now: u64,
        until: u64,
    },
    Revoked,
}

impl From<Verdict> for Error {
    fn from(verdict: Verdict) -> Self {
        let time = |secs| UnixTime::since_unix_epoch(core::time::Duration::from_secs(secs));
        match verdict {
            Verdict::Unknown => CertificateError::UnknownRevocationStatus.into(),
            Verdict::NoSigner => CertRevocationListError::IssuerInvalidForCrl.into(),
            Verdict::Old { now, until } => CertificateError::ExpiredRevocationListContext {
                time: time(now),
                next_update: time(until),
            }
            .into(),
            Verdict::Revoked => CertificateError::Revoked.into(),
        }
    }
}

/// They are asked after a verifier of rustls.
impl Say for Arc<Lists> {
    fn of_chain<T>(&self, judged: Result<T, Error>, shown: &Shown<'_>, now: UnixTime) -> Result<T, Error> {
        let verified = judged?;
        let usage = match shown.role {
            Role::Service => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        self.check(shown.own, shown.rest, now, usage)?;
        Ok(verified)
    }
}
