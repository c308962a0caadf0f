//! Certificate authorities and certificates to throw away, for demonstrations and tests (feature `throwaway`). Nothing here is fit to protect anything:
//! keys live in memory and in files without protection, and nobody checks who asks.
//!
//! ```
//! use diset_std::tls::throwaway::{ThrowawayCa, ThrowawayError};
//! use diset_std::tls::{ClientTls, ServerTls};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ca = ThrowawayCa::new()?;
//! let server = ServerTls::new(ca.server(&["localhost", "127.0.0.1"])?, ca.authorities())?;
//! let client = ClientTls::new(ca.client("alice")?, ca.authorities())?;
//! # Ok(())
//! # }
//! ```

use core::hash::BuildHasher;
use core::ops::Range;
use core::time::Duration;
use std::fmt;
use std::hash::RandomState;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authorities, Certificate, Revocations, TlsError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate authority that exists as long as this value. Its keys, and those it signs, are on the curve P-256.
pub struct ThrowawayCa {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl ThrowawayCa {
    /// A new authority with a new key and a name of its own, so that peers of another authority
    /// are told what is wrong.
    ///
    /// # Errors
    /// The cryptography failed.
    pub fn new() -> Result<Self, ThrowawayError> {
        let chance = RandomState::new().hash_one(SystemTime::now());
        let mut params = params(&format!("authority {chance:016x}"), valid());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate for a service reachable by these host names and addresses.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn server(&self, names: &[&str]) -> Result<Certificate, ThrowawayError> {
        self.server_valid(names, valid())
    }

    /// As [`server`](Self::server), valid at other times: see [`expired`] and [`not_yet_valid`].
    ///
    /// # Errors
    /// As [`server`](Self::server).
    pub fn server_valid(&self, names: &[&str], when: Range<SystemTime>) -> Result<Certificate, ThrowawayError> {
        for &name in names {
            // The first label may be a star.
            ServerName::try_from(name.strip_prefix("*.").unwrap_or(name))
                .map_err(|_| ThrowawayError::Name(name.to_owned()))?;
        }
        let mut params = params(names.first().copied().unwrap_or("service"), when);
        let list: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(list)?.subject_alt_names;
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client with the subject `CN=name`.
    ///
    /// # Errors
    /// The cryptography failed.
    pub fn client(&self, name: &str) -> Result<Certificate, ThrowawayError> {
        self.client_valid(name, valid())
    }

    /// As [`client`](Self::client), valid at other times: see [`expired`] and [`not_yet_valid`].
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub fn client_valid(&self, name: &str, when: Range<SystemTime>) -> Result<Certificate, ThrowawayError> {
        self.issue(params(name, when), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// This authority, as the other side trusts it.
    #[must_use]
    pub fn authorities(&self) -> Authorities {
        Authorities::of_one(self.certificate.clone())
    }

    /// A revocation list of this authority that names these certificates, perhaps none.
    ///
    /// # Errors
    /// One of them cannot be read, or the cryptography failed.
    pub fn revoke(&self, certificates: &[&Certificate]) -> Result<Revocations, ThrowawayError> {
        self.revoke_valid(certificates, valid())
    }

    /// As [`revoke`](Self::revoke), with the time from which the list counts and that by which it is to be replaced.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    pub fn revoke_valid(
        &self,
        certificates: &[&Certificate],
        when: Range<SystemTime>,
    ) -> Result<Revocations, ThrowawayError> {
        let revoked_certs = certificates
            .iter()
            .map(|certificate| revoked(certificate))
            .collect::<Result<_, _>>()?;
        let epoch = date_time_ymd(1970, 1, 1);
        let list = CertificateRevocationListParams {
            this_update: epoch + since_epoch(when.start),
            next_update: epoch + since_epoch(when.end),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(Revocations::from_der(vec![list.signed_by(&self.issuer)?.into()])?)
    }

    /// The authority's certificate in PEM, for a file that others read with [`Authorities::from_pem_file`].
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Certificate, ThrowawayError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Certificate::from_der(vec![certificate.der().clone()], key)?)
    }
}

impl fmt::Debug for ThrowawayCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrowawayCa").finish_non_exhaustive()
    }
}

/// A chain and its private key in PEM, for the two files of [`Certificate::from_pem_files`]. The key is not protected.
#[must_use]
pub fn to_pem(certificate: &Certificate) -> (String, String) {
    let chain = certificate.chain().iter().map(|der| pem("CERTIFICATE", der)).collect();
    let label = match certificate.key() {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    (chain, pem(label, certificate.key().secret_der()))
}

/// Revocation lists in PEM, for a file that others read with [`Revocations::from_pem_file`].
#[must_use]
pub fn lists_to_pem(revocations: &Revocations) -> String {
    revocations.lists().iter().map(|der| pem("X509 CRL", der)).collect()
}

/// A validity that ended yesterday.
#[must_use]
pub fn expired() -> Range<SystemTime> {
    let now = SystemTime::now();
    now - 30 * DAY..now - DAY
}

/// A validity that begins tomorrow.
#[must_use]
pub fn not_yet_valid() -> Range<SystemTime> {
    let now = SystemTime::now();
    now + DAY..now + 30 * DAY
}

/// From yesterday on, for a month.
fn valid() -> Range<SystemTime> {
    let now = SystemTime::now();
    now - DAY..now + 30 * DAY
}

/// Why something to throw away could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThrowawayError {
    /// The certificate or list could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Neither a DNS name nor an IP address.
    #[error("`{0}` is neither a DNS name nor an IP address: a certificate cannot prove it")]
    Name(String),
    /// The certificate cannot be read.
    #[error("cannot read the certificate: {0}")]
    Read(#[from] TlsError),
    /// The certificate to revoke is not one.
    #[error("cannot read the certificate to revoke")]
    Revoke,
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn params(name: &str, when: Range<SystemTime>) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + since_epoch(when.start);
    params.not_after = epoch + since_epoch(when.end);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "diset throwaway");
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn revoked(certificate: &Certificate) -> Result<RevokedCertParams, ThrowawayError> {
    let own = certificate.chain().first().ok_or(ThrowawayError::Revoke)?;
    let (_, parsed) = X509Certificate::from_der(own).map_err(|_| ThrowawayError::Revoke)?;
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(parsed.raw_serial()),
        revocation_time: date_time_ymd(2000, 1, 1),
        reason_code: None,
        invalidity_date: None,
    })
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
            for place in 0..4 {
                let sextet = (bits >> (18 - 6 * place)) & 63;
                let filled = place <= group.len();
                text.push(if filled {
                    char::from(ALPHABET[sextet as usize])
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
