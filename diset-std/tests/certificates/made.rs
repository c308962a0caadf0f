//! Authorities and certificates, made to measure.

use core::error::Error;
use core::ops::Range;
use core::time::Duration;
use std::time::SystemTime;

use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use diset_std::tls::{Authorities, Certificate};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, whoever has signed its certificate.
pub(crate) struct Authority {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) name: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// Its key in PKCS#8, to make another certificate of the same authority.
    key: Vec<u8>,
}

/// What the certificate of an authority starts from.
pub(crate) fn authority_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Valid since yesterday, for a month.
pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    valid(&mut params, now - DAY..now + 30 * DAY);
    params
}

pub(crate) fn valid(params: &mut CertificateParams, when: Range<SystemTime>) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(when.start);
    params.not_after = epoch + since(when.end);
}

/// Ended yesterday.
pub(crate) fn ended(params: &mut CertificateParams) {
    let now = SystemTime::now();
    valid(params, now - 30 * DAY..now - DAY);
}

impl Authority {
    pub(crate) fn root(name: &str) -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let params = authority_params(name);
        let der = params.self_signed(&key)?.der().clone();
        Ok(Self::of(name, der, params, key))
    }

    fn of(name: &str, der: CertificateDer<'static>, params: CertificateParams, key: KeyPair) -> Self {
        Self {
            der,
            name: name.to_owned(),
            key: key.serialize_der(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority below this one.
    pub(crate) fn authority(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(name);
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer)?.der().clone();
        Ok(Self::of(name, der, params, key))
    }

    /// A certificate of another authority, signed by this one as well.
    pub(crate) fn cross(
        &self,
        other: &Self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<CertificateDer<'static>, Box<dyn Error>> {
        let key = KeyPair::try_from(other.key.as_slice())?;
        let mut params = authority_params(&other.name);
        change(&mut params);
        Ok(params.signed_by(&key, &self.issuer)?.der().clone())
    }

    pub(crate) fn authorities(&self) -> Result<Authorities, Box<dyn Error>> {
        Ok(Authorities::from_der(vec![self.der.clone()])?)
    }

    /// Signs a certificate for a service called `localhost`, as changed.
    pub(crate) fn service(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Made, Box<dyn Error>> {
        let mut params = named("localhost");
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        self.sign(&params)
    }

    /// Signs a certificate for a client, as changed.
    pub(crate) fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Made, Box<dyn Error>> {
        let mut params = named("alice");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        self.sign(&params)
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Result<Made, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let der = params.signed_by(&key, &self.issuer)?.der().clone();
        Ok(Made { der, key })
    }
}

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl Made {
    pub(crate) fn self_signed(params: &CertificateParams) -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let der = params.self_signed(&key)?.der().clone();
        Ok(Self { der, key })
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    /// With these behind it.
    pub(crate) fn with(&self, others: &[&CertificateDer<'static>]) -> Result<Certificate, Box<dyn Error>> {
        let chain = core::iter::once(&self.der).chain(others.iter().copied());
        self.chain(chain.cloned().collect())
    }

    /// In a chain like this.
    pub(crate) fn chain(&self, chain: Vec<CertificateDer<'static>>) -> Result<Certificate, Box<dyn Error>> {
        Ok(Certificate::from_der(chain, self.private_key())?)
    }
}

/// The elements of DER within others.
pub(crate) mod der {
    /// The elements one behind the other, with their headers.
    pub(crate) fn elements(mut input: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while input.len() >= 2 {
            let (header, length) = header(input);
            all.push(input[..header + length].to_vec());
            input = &input[header + length..];
        }
        all
    }

    /// What stands in an element.
    pub(crate) fn content(element: &[u8]) -> &[u8] {
        let (header, length) = header(element);
        &element[header..header + length]
    }

    fn header(input: &[u8]) -> (usize, usize) {
        match input[1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            long => {
                let digits = usize::from(long & 0x7f);
                let length = input[2..2 + digits]
                    .iter()
                    .fold(0, |length, digit| length << 8 | usize::from(*digit));
                (2 + digits, length)
            }
        }
    }

    /// An element with this tag around others.
    pub(crate) fn around(tag: u8, inner: &[u8]) -> Vec<u8> {
        let length = inner.len();
        let mut all = match length {
            0..=0x7f => vec![tag, length as u8],
            0x80..=0xff => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        all.extend_from_slice(inner);
        all
    }

    pub(crate) fn oid(parts: &[u8]) -> Vec<u8> {
        around(6, parts)
    }

    /// An algorithm without parameters.
    pub(crate) fn algorithm(parts: &[u8]) -> Vec<u8> {
        around(0x30, &oid(parts))
    }
}

/// Places in what an authority signs.
pub(crate) const VERSION: usize = 0;
pub(crate) const SIGNED_WITH: usize = 2;
pub(crate) const PUBLIC_KEY: usize = 6;
pub(crate) const EXTENSIONS: usize = 7;

/// Another certificate, of what this one says, edited, and signed anew; the signature may claim to be of another kind.
pub(crate) fn edited(
    certificate: &CertificateDer<'_>,
    signer: &Authority,
    claimed: Option<Vec<u8>>,
    edit: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Result<CertificateDer<'static>, Box<dyn Error>> {
    use rcgen::SigningKey;
    let outer = der::elements(der::content(certificate));
    let mut parts = der::elements(der::content(&outer[0]));
    if let Some(claimed) = &claimed {
        parts[SIGNED_WITH].clone_from(claimed);
    }
    edit(&mut parts);
    let signed = der::around(0x30, &parts.concat());
    let mut signature = vec![0];
    signature.extend(signer.issuer.key().sign(&signed)?);
    let all = [
        signed,
        claimed.unwrap_or_else(|| outer[1].clone()),
        der::around(3, &signature),
    ];
    Ok(der::around(0x30, &all.concat()).into())
}
