//! What one revocation list says (RFC 5280, section 5), and whether it can be used at all.

use core::ops::Range;
use std::collections::{BTreeSet, HashSet};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::prelude::{X509Certificate, X509Extension, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Name;

use super::Place;

/// Longest name of an authority that is shown, in characters.
const MAX_SHOWN: usize = 200;
/// Longest number of a list, in bytes (RFC 5280, 5.2.3).
const NUMBER: usize = 20;

// What follows 2.5.29 in the names of extensions.
const CRL_NUMBER: &[u8] = b"\x55\x1d\x14";
const REASON: &[u8] = b"\x55\x1d\x15";
const INVALIDITY_DATE: &[u8] = b"\x55\x1d\x18";
const DELTA_INDICATOR: &[u8] = b"\x55\x1d\x1b";
const ISSUING_DISTRIBUTION_POINT: &[u8] = b"\x55\x1d\x1c";
const DISTRIBUTION_POINTS: &[u8] = b"\x55\x1d\x1f";
const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";

/// A list that can be used.
pub(super) struct List {
    pub(super) place: Place,
    /// For people.
    pub(super) issuer_name: String,
    /// Big endian.
    pub(super) number: [u8; NUMBER],
    /// Since 1970, in seconds.
    pub(super) this_update: i64,
    pub(super) next_update: i64,
    pub(super) next_update_text: String,
    pub(super) scope: Scope,
    /// Serial numbers without leading zeros.
    revoked: HashSet<Box<[u8]>>,
    pub(super) signed: Signed,
}

/// What an authority has signed, and how.
#[derive(Clone)]
pub(super) struct Signed {
    /// The name of the authority, in DER without the header.
    pub(super) issuer: Box<[u8]>,
    der: CertificateRevocationListDer<'static>,
    part: Range<usize>,
    algorithm: Box<[u8]>,
    signature: Box<[u8]>,
}

/// Why a list does not count.
#[derive(Clone)]
pub(super) enum Unfit {
    Damaged(String),
    /// It is sound.
    Unusable(Box<Unusable>),
}

#[derive(Clone)]
pub(super) struct Unusable {
    pub(super) signed: Signed,
    /// As far as it can be told.
    pub(super) scope: Option<Scope>,
    pub(super) issuer_name: String,
    /// Begins with `it`.
    pub(super) reason: String,
}

/// Which certificates of its authority a list covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// Those that name one of these points, in DER, or none at all.
    points: Option<BTreeSet<Box<[u8]>>>,
    only: Only,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    All,
    Users,
    Authorities,
}

impl Scope {
    const ALL: Self = Self {
        points: None,
        only: Only::All,
    };

    /// Whether it takes in all certificates that another one covers.
    pub(super) fn takes_in(&self, other: &Self) -> bool {
        *self == Self::ALL || self == other
    }

    /// Whether it covers a certificate: `points` is what [`points_of`] says of it.
    pub(super) fn covers(&self, is_authority: bool, points: Option<&BTreeSet<Box<[u8]>>>) -> bool {
        let by_kind = match self.only {
            Only::All => true,
            Only::Users => !is_authority,
            Only::Authorities => is_authority,
        };
        by_kind
            && match (&self.points, points) {
                (Some(own), Some(named)) => !own.is_disjoint(named),
                _ => true,
            }
    }
}

impl List {
    pub(super) fn read(der: &CertificateRevocationListDer<'static>, place: &Place) -> Result<Self, Unfit> {
        let damaged = |what: &str| Unfit::Damaged(what.to_owned());
        let Ok((rest, parsed)) = CertificateRevocationList::from_der(der) else {
            return Err(damaged(if X509Certificate::from_der(der).is_ok() {
                "it is a certificate"
            } else {
                "it is damaged"
            }));
        };
        // What is signed, with its header; how; and the signature.
        let parts = part(der).and_then(|(behind, outer)| {
            let (tail, _) = part(outer)?;
            let (tail_of_algorithm, algorithm) = part(tail)?;
            let (end, signature) = part(tail_of_algorithm)?;
            let start = der.len() - behind.len() - outer.len();
            let signed = start..start + outer.len() - tail.len();
            end.is_empty().then_some((signed, algorithm, signature))
        });
        let is_whole = rest.is_empty() && parsed.signature_algorithm == parsed.tbs_cert_list.signature;
        let (Some((signed, algorithm, signature)), true) = (parts, is_whole) else {
            return Err(damaged("it is damaged"));
        };
        let signed = Signed {
            issuer: name(parsed.issuer()).ok_or_else(|| damaged("it is damaged"))?.into(),
            der: der.clone(),
            part: signed,
            algorithm: algorithm.into(),
            // Of a bit string the first byte says how many bits of the last are none.
            signature: signature.get(1..).unwrap_or_default().into(),
        };
        let issuer_name = show(parsed.issuer());
        let terms = match Terms::read(&parsed) {
            Ok(terms) => terms,
            Err(reason) => {
                return Err(Unfit::Unusable(Box::new(Unusable {
                    signed,
                    scope: scope_of(&parsed),
                    issuer_name,
                    reason,
                })));
            }
        };
        let revoked = parsed
            .iter_revoked_certificates()
            .map(|entry| without_zeros(entry.raw_serial()).into());
        Ok(Self {
            place: place.clone(),
            issuer_name,
            number: terms.number,
            this_update: parsed.last_update().timestamp(),
            next_update: terms.next_update,
            next_update_text: terms.next_update_text,
            scope: terms.scope,
            revoked: revoked.collect(),
            signed,
        })
    }

    pub(super) fn names(&self, serial: &[u8]) -> bool {
        self.revoked.contains(without_zeros(serial))
    }

    /// Whether the other one is at least as new, by number and by date, and for the same certificates.
    pub(super) fn is_replaced_by(&self, other: &Self) -> bool {
        let same = (self.number, self.this_update) == (other.number, other.this_update);
        self.scope == other.scope
            && self.number <= other.number
            && self.this_update <= other.this_update
            && (!same || self.signed.der == other.signed.der)
    }
}

impl Signed {
    /// Whether this key has signed it, given as `SubjectPublicKeyInfo` in DER.
    pub(super) fn is_signed_by(&self, key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Some((own, bits)) = Any::from_der(key).ok().and_then(|(_, info)| {
            let (behind, own) = part(info.data)?;
            Some((own, part(behind)?.1.get(1..)?))
        }) else {
            return false;
        };
        let message = self.der.get(self.part.clone()).unwrap_or_default();
        let fits = algorithms
            .all
            .iter()
            .filter(|one| *one.public_key_alg_id() == *own && *one.signature_alg_id() == *self.algorithm);
        let mut results = fits.map(|one| one.verify_signature(bits, message, &self.signature));
        results.any(|result| result.is_ok())
    }
}

/// What a list says of itself.
struct Terms {
    number: [u8; NUMBER],
    next_update: i64,
    next_update_text: String,
    scope: Scope,
}

impl Terms {
    /// # Errors
    /// Why the list cannot be used.
    fn read(list: &CertificateRevocationList<'_>) -> Result<Self, String> {
        match list.version() {
            Some(X509Version(1)) => {}
            None | Some(X509Version(0)) => {
                return Err(
                    "it is of version 1, which has no number: have it made in version 2 (`openssl ca` does with `crl_extensions`)".into(),
                );
            }
            Some(_) => return Err("it is of a version that is not known".into()),
        }
        let (mut number, mut scope) = (None, None);
        for extension in list.extensions() {
            match extension.oid.as_bytes() {
                CRL_NUMBER => {
                    let read = read_number(extension).ok_or("its number is negative, or longer than 20 bytes")?;
                    if number.replace(read).is_some() {
                        return Err("it has two numbers".into());
                    }
                }
                DELTA_INDICATOR => {
                    return Err(
                        "it is a delta list, which holds only what has changed since another: give the complete list"
                            .into(),
                    );
                }
                ISSUING_DISTRIBUTION_POINT => {
                    let former = scope.replace(read_scope(extension.value)?);
                    if former.is_some() {
                        return Err("it says twice which certificates it covers".into());
                    }
                }
                AUTHORITY_KEY_IDENTIFIER => {}
                _ if extension.critical => {
                    return Err(format!(
                        "it has a critical extension that is not known here, {}",
                        extension.oid
                    ));
                }
                _ => {}
            }
        }
        let number = number
            .ok_or("it has no number (CRL number), by which the newest is known: `openssl ca` gives one with `crlnumber` in its configuration")?;
        let next = list
            .next_update()
            .ok_or("it does not say by when the next one comes (nextUpdate), as it must")?;
        let mut of_entries = list.iter_revoked_certificates().flat_map(|entry| entry.extensions());
        if let Some(extension) = of_entries
            .find(|extension| extension.critical && !matches!(extension.oid.as_bytes(), REASON | INVALIDITY_DATE))
        {
            return Err(format!(
                "one of its entries has a critical extension that is not known here, {}",
                extension.oid
            ));
        }
        Ok(Self {
            number,
            next_update: next.timestamp(),
            next_update_text: next.to_string(),
            scope: scope.unwrap_or(Scope::ALL),
        })
    }
}

/// Which certificates a list covers that may not be usable; `None` when that cannot be read.
fn scope_of(list: &CertificateRevocationList<'_>) -> Option<Scope> {
    let is_scope = |extension: &&X509Extension<'_>| extension.oid.as_bytes() == ISSUING_DISTRIBUTION_POINT;
    let extension = list.extensions().iter().find(is_scope);
    extension.map_or(Some(Scope::ALL), |extension| read_scope(extension.value).ok())
}

fn read_number(extension: &X509Extension<'_>) -> Option<[u8; NUMBER]> {
    let (rest, value) = Any::from_der(extension.value).ok()?;
    let is_sound =
        rest.is_empty() && value.tag() == Tag::Integer && value.data.first().is_some_and(|&first| first < 0x80);
    let digits = without_zeros(value.data);
    let mut number = [0; NUMBER];
    let place = number.get_mut(NUMBER.checked_sub(digits.len())?..)?;
    place.copy_from_slice(digits);
    is_sound.then_some(number)
}

/// Reads an issuing distribution point (RFC 5280, 5.2.5).
fn read_scope(value: &[u8]) -> Result<Scope, String> {
    const MALFORMED: &str = "it says in a malformed way which certificates it covers";
    let (rest, point) = Any::from_der(value).map_err(|_| MALFORMED)?;
    if !rest.is_empty() || point.tag() != Tag::Sequence {
        return Err(MALFORMED.into());
    }
    let (mut points, mut users, mut authorities) = (None, false, false);
    let mut rest = point.data;
    while !rest.is_empty() {
        let (next, field) = Any::from_der(rest).map_err(|_| MALFORMED)?;
        rest = next;
        if field.class() != Class::ContextSpecific {
            return Err(MALFORMED.into());
        }
        let is_set = match field.data {
            [0xff] => Ok(true),
            [0] => Ok(false),
            _ => Err(MALFORMED),
        };
        match field.tag().0 {
            0 => {
                let names = names_of(field.data)
                    .ok_or("it covers a distribution point that it names in relation to its authority, which diset does not know")?;
                points = Some(names.collect::<Option<_>>().ok_or(MALFORMED)?);
            }
            1 => users = is_set?,
            2 => authorities = is_set?,
            3 => return Err("it lists what was revoked for some reasons only: give the one for all reasons".into()),
            4 if is_set? => {
                return Err("it is an indirect list, with certificates of other authorities: give the lists of each authority itself".into());
            }
            5 if is_set? => return Err("it is for attribute certificates only, which nobody shows here".into()),
            4 | 5 => {}
            _ => return Err(MALFORMED.into()),
        }
    }
    let only = match (users, authorities) {
        (false, false) => Only::All,
        (true, false) => Only::Users,
        (false, true) => Only::Authorities,
        (true, true) => {
            return Err("it says that it is for user certificates only and for those of authorities only".into());
        }
    };
    Ok(Scope { points, only })
}

/// The names in a `DistributionPointName`, in DER; `None` when they are none in full, and `None` for one that is malformed.
fn names_of(name: &[u8]) -> Option<impl Iterator<Item = Option<Box<[u8]>>>> {
    let (_, full) = Any::from_der(name).ok()?;
    if full.tag().0 != 0 || full.class() != Class::ContextSpecific {
        return None;
    }
    let mut rest = full.data;
    Some(core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Ok((next, _)) = Any::from_der(rest) else {
            rest = &[];
            return Some(None);
        };
        let one = rest.get(..rest.len() - next.len()).unwrap_or_default();
        rest = next;
        Some(Some(one.into()))
    }))
}

/// The names of the distribution points where a certificate says that its list is found; `None` when it says nothing. Points for some reasons only,
/// or of other issuers' lists, are left out.
pub(super) fn points_of(certificate: &X509Certificate<'_>) -> Option<BTreeSet<Box<[u8]>>> {
    let mut extensions = certificate.iter_extensions();
    let extension = extensions.find(|extension| extension.oid.as_bytes() == DISTRIBUTION_POINTS)?;
    let mut points = BTreeSet::new();
    let mut rest = Any::from_der(extension.value).map_or(&[][..], |(_, all)| all.data);
    while let Ok((next, point)) = Any::from_der(rest) {
        rest = next;
        if let Some((end, field)) = Any::from_der(point.data).ok()
            && end.is_empty()
            && field.tag().0 == 0
            && let Some(names) = names_of(field.data)
        {
            points.extend(names.flatten());
        }
    }
    Some(points)
}

/// What a name holds, in DER without the header: as `webpki` compares names.
pub(super) fn name<'a>(name: &X509Name<'a>) -> Option<&'a [u8]> {
    Any::from_der(name.as_raw()).ok().map(|(_, name)| name.data)
}

pub(super) fn show(name: &X509Name<'_>) -> String {
    let text: String = name.to_string().escape_debug().collect();
    text.chars().take(MAX_SHOWN).collect()
}

/// What follows the next element, and what that holds.
fn part(der: &[u8]) -> Option<(&[u8], &[u8])> {
    Any::from_der(der).ok().map(|(rest, part)| (rest, part.data))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}
