//! A server that an authority has certified.

use core::fmt;

use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::Verifier;

use super::certificate::{Parts, extension, seconds};
use super::der::{BIT_STRING, BOOLEAN, Der, OBJECT, only_sequence};
use super::{Point, VerifyServer};
use crate::tls::error::CertificateError;
use crate::tls::signature::from_der;

// Object identifiers of RFC 5280.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// A name of the DNS among the names of a subject.
const DNS_NAME: u8 = 0x82;

/// Whether the dates of a certificate count. There is no default: a device without a clock must say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a choice of two")]
pub enum Validity {
    /// Now it is so many seconds after 1970-01-01 00:00 UTC.
    At(u64),
    /// The device has no clock: a certificate of the past is as good as a new one. Whoever gets hold of an old key is
    /// the server for ever, unless the authority is replaced.
    NotChecked,
}

/// The server shows one certificate, signed by one of these authorities, for this DNS name and for servers.
///
/// There are no intermediate authorities. The certificate must be an end's (no authority's), of X.509 version 3, with
/// a key on P-256, signed with ECDSA and SHA-256; the name is among its subjectAltNames, letter for letter but for
/// their case, without wildcards; extendedKeyUsage has serverAuth; keyUsage, if there, has digitalSignature; no
/// critical extension is unknown. An authority should certify servers only: what else it certifies cannot be told
/// from a server when that certificate says serverAuth.
///
/// An authority's own dates and extensions do not count; it is trusted because it is pinned. Pin the next one besides
/// the present one in time.
#[derive(Clone, Copy)]
pub struct PinnedAuthority<'a> {
    authorities: &'a [&'a [u8]],
    name: &'a str,
    validity: Validity,
}

impl<'a> PinnedAuthority<'a> {
    /// Certified by one of these, whose certificates are in DER.
    pub const fn new(authorities: &'a [&'a [u8]], name: &'a str, validity: Validity) -> Self {
        Self {
            authorities,
            name,
            validity,
        }
    }

    fn is_signed(&self, leaf: &Parts<'_>) -> Result<(), CertificateError> {
        let signature = leaf.signature.ok_or(CertificateError::Algorithm)?;
        let signature = from_der(signature).ok_or(CertificateError::Authority)?;
        for authority in self.authorities {
            let authority = Parts::of(authority).ok_or(CertificateError::Anchor)?;
            let point = authority.point().ok_or(CertificateError::Anchor)?;
            let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| CertificateError::Anchor)?;
            if authority.subject == leaf.issuer && key.verify(leaf.signed, &signature).is_ok() {
                return Ok(());
            }
        }
        Err(CertificateError::Authority)
    }

    fn is_valid_now(&self, leaf: &Parts<'_>) -> Result<(), CertificateError> {
        let (Some(begin), Some(end)) = (seconds(leaf.not_before), seconds(leaf.not_after)) else {
            return Err(CertificateError::Malformed);
        };
        match self.validity {
            Validity::At(now) if now < begin => Err(CertificateError::NotYetValid),
            Validity::At(now) if now > end => Err(CertificateError::Expired),
            Validity::At(_) | Validity::NotChecked => Ok(()),
        }
    }
}

impl VerifyServer for PinnedAuthority<'_> {
    fn server_name(&self) -> Option<&str> {
        Some(self.name)
    }

    fn verify<'c>(&self, certificate: &'c [u8]) -> Result<&'c Point, CertificateError> {
        let leaf = Parts::of(certificate).ok_or(CertificateError::Malformed)?;
        let point = leaf.point().ok_or(CertificateError::Algorithm)?;
        // Cheap things first: the signature takes most of the time of a handshake.
        is_for_servers(leaf.extensions, self.name)?;
        self.is_valid_now(&leaf)?;
        self.is_signed(&leaf)?;
        Ok(point)
    }
}

/// Goes through the extensions, each of which stands there once at most.
fn is_for_servers(mut extensions: Der<'_>, name: &str) -> Result<(), CertificateError> {
    const MALFORMED: CertificateError = CertificateError::Malformed;
    let (mut constraints, mut usage, mut purposes, mut names) = (None, None, None, None);
    while !extensions.is_empty() {
        let (id, critical, value) = extension(&mut extensions).ok_or(MALFORMED)?;
        let place = match id {
            BASIC_CONSTRAINTS => &mut constraints,
            KEY_USAGE => &mut usage,
            EXTENDED_KEY_USAGE => &mut purposes,
            SUBJECT_ALT_NAME => &mut names,
            _ if critical => return Err(CertificateError::CriticalExtension),
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(MALFORMED);
        }
    }
    if let Some(constraints) = constraints {
        // An end's are empty, as DER leaves out what is the default.
        let mut constraints = only_sequence(constraints).ok_or(MALFORMED)?;
        if constraints.optional(BOOLEAN).ok_or(MALFORMED)?.is_some() {
            return Err(CertificateError::IsAuthority);
        }
        if !constraints.is_empty() {
            return Err(MALFORMED);
        }
    }
    if let Some(usage) = usage {
        let mut usage = Der::new(usage);
        let flags = usage.expect(BIT_STRING).filter(|_| usage.is_empty()).ok_or(MALFORMED)?;
        // The first byte counts the unused bits of the last; digitalSignature is the highest bit of the next.
        if flags.content.get(1).is_none_or(|flags| flags & 0x80 == 0) {
            return Err(CertificateError::KeyUsage);
        }
    }
    let mut purposes = only_sequence(purposes.ok_or(CertificateError::Purpose)?).ok_or(MALFORMED)?;
    find(
        &mut purposes,
        OBJECT,
        |purpose| purpose == SERVER_AUTH,
        CertificateError::Purpose,
    )?;
    let mut names = only_sequence(names.ok_or(CertificateError::Name)?).ok_or(MALFORMED)?;
    let is_named = |bytes: &[u8]| !name.is_empty() && bytes.eq_ignore_ascii_case(name.as_bytes());
    find(&mut names, DNS_NAME, is_named, CertificateError::Name)
}

/// Whether one of the elements, all of which must be well-formed, has this tag and is the right one.
fn find(
    elements: &mut Der<'_>,
    tag: u8,
    is_right: impl Fn(&[u8]) -> bool,
    otherwise: CertificateError,
) -> Result<(), CertificateError> {
    let mut found = false;
    while !elements.is_empty() {
        let element = elements.next().ok_or(CertificateError::Malformed)?;
        found |= element.tag == tag && is_right(element.content);
    }
    if found { Ok(()) } else { Err(otherwise) }
}

impl fmt::Debug for PinnedAuthority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedAuthority({}, {:?})", self.name, self.validity)
    }
}
