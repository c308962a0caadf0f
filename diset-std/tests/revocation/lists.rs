//! Authorities that make lists of every kind, also such as nobody should make. The lists are written by hand, in DER.

use core::error::Error;

use diset_std::tls::throwaway::lists_to_pem;
use diset_std::tls::{Authorities, Certificate, Revocations};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

type Made<T> = Result<T, Box<dyn Error>>;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    /// What its peers show with their own certificates.
    above: Vec<CertificateDer<'static>>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Made<Self> {
        let (params, key) = (ca_params(name), KeyPair::generate()?);
        let own = params.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            der: own.der().clone(),
            pem: own.pem(),
            above: Vec::new(),
        })
    }

    /// An authority below this one.
    pub(crate) fn below(&self, name: &str) -> Made<Self> {
        let (params, key) = (ca_params(name), KeyPair::generate()?);
        let own = params.signed_by(&key, &self.issuer)?;
        let der = own.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem: own.pem(),
            above: [core::slice::from_ref(&der), &self.above].concat(),
            der,
        })
    }

    pub(crate) fn client(&self, name: &str) -> Made<Certificate> {
        self.client_at(name, &[])
    }

    /// A client whose certificate says where its list is found.
    pub(crate) fn client_at(&self, name: &str, points: &[&str]) -> Made<Certificate> {
        let mut params = named(name);
        params.crl_distribution_points = points
            .iter()
            .map(|point| CrlDistributionPoint {
                uris: vec![(*point).to_owned()],
            })
            .collect();
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn server(&self) -> Made<Certificate> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name = named("service").distinguished_name;
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Made<Certificate> {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let own = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = [&[own], self.above.as_slice()].concat();
        Ok(Certificate::from_der(
            chain,
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )?)
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A complete list with this number, made on that day of January 2026.
    pub(crate) fn list(&self, number: u8, day: u8) -> ListMaker<'_> {
        ListMaker {
            authority: self,
            version: Some(1),
            number: Some(number),
            day,
            next: Some("490101000000Z"),
            extensions: Vec::new(),
            revoked: Vec::new(),
            of_entries: Vec::new(),
        }
    }
}

pub(crate) fn trusting(authorities: &[&Authority]) -> Made<Authorities> {
    Ok(Authorities::from_der(
        authorities.iter().map(|one| one.der()).collect(),
    )?)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Site");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[derive(Clone)]
pub(crate) struct ListMaker<'a> {
    authority: &'a Authority,
    version: Option<u8>,
    number: Option<u8>,
    day: u8,
    next: Option<&'static str>,
    extensions: Vec<Vec<u8>>,
    revoked: Vec<Vec<u8>>,
    of_entries: Vec<u8>,
}

impl ListMaker<'_> {
    pub(crate) fn revoking(mut self, certificate: &Certificate) -> Self {
        self.revoked.push(serial(&certificate.chain()[0]));
        self
    }

    /// An authority below this one.
    pub(crate) fn revoking_authority(mut self, authority: &Authority) -> Self {
        self.revoked.push(serial(&authority.der));
        self
    }

    pub(crate) fn of_version_1(mut self) -> Self {
        (self.version, self.number) = (None, None);
        self
    }

    pub(crate) fn without_number(mut self) -> Self {
        self.number = None;
        // A list of version 2 has some extension.
        self.extension(&[0x55, 0x1d, 0x2e], false, &[0x30, 0])
    }

    pub(crate) fn without_next(mut self) -> Self {
        self.next = None;
        self
    }

    /// Another time by which it is to be replaced.
    pub(crate) fn until(mut self, time: &'static str) -> Self {
        self.next = Some(time);
        self
    }

    pub(crate) fn delta(self) -> Self {
        self.extension(&[0x55, 0x1d, 0x1b], true, &[2, 1, 1])
    }

    /// With an issuing distribution point of these fields.
    pub(crate) fn scoped(self, fields: &[&[u8]]) -> Self {
        let point = der(0x30, fields);
        self.extension(&[0x55, 0x1d, 0x1c], true, &point)
    }

    pub(crate) fn with_entry_extension(mut self) -> Self {
        let extension = der(0x30, &[&[6, 3, 0x2a, 3, 4], &[1, 1, 0xff], &[4, 2, 5, 0]]);
        self.of_entries = der(0x30, &[&extension]);
        self
    }

    pub(crate) fn extension(mut self, name: &[u8], is_critical: bool, value: &[u8]) -> Self {
        let critical: &[u8] = if is_critical { &[1, 1, 0xff] } else { &[] };
        self.extensions
            .push(der(0x30, &[&der(6, &[name]), critical, &der(4, &[value])]));
        self
    }

    pub(crate) fn der(&self) -> Made<Vec<u8>> {
        const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let (_, authority) = X509Certificate::from_der(&self.authority.der)?;
        let time = |text: String| der(0x17, &[text.as_bytes()]);
        let entries = self.revoked.iter().map(|serial| {
            let when = time("260101000000Z".to_owned());
            der(0x30, &[&der(2, &[serial]), &when, &self.of_entries])
        });
        let entries: Vec<_> = entries.collect();
        let entries: Vec<_> = entries.iter().map(Vec::as_slice).collect();
        let mut extensions = self.extensions.clone();
        if let Some(number) = self.number {
            let value = der(4, &[&[2, 1, number]]);
            extensions.push(der(0x30, &[&[6, 3, 0x55, 0x1d, 0x14], &value]));
        }
        let extensions: Vec<_> = extensions.iter().map(Vec::as_slice).collect();
        let some = |full: bool, part: Vec<u8>| if full { part } else { Vec::new() };
        let list = der(
            0x30,
            &[
                &self.version.map_or(Vec::new(), |version| vec![2, 1, version]),
                ECDSA_SHA256,
                authority.subject().as_raw(),
                &time(format!("2601{:02}000000Z", self.day)),
                &self.next.map_or(Vec::new(), |next| time(next.to_owned())),
                &some(!entries.is_empty(), der(0x30, &entries)),
                &some(!extensions.is_empty(), der(0xa0, &[&der(0x30, &extensions)])),
            ],
        );
        let signature = self.authority.issuer.key().sign(&list)?;
        Ok(der(0x30, &[&list, ECDSA_SHA256, &der(3, &[&[0], &signature])]))
    }

    pub(crate) fn pem(&self) -> Made<String> {
        Ok(lists_to_pem(&Revocations::from_der(vec![self.der()?.into()])?))
    }
}

/// The point of an issuing distribution point that has this URI.
pub(crate) fn at(uri: &str) -> Vec<u8> {
    der(0xa0, &[&der(0xa0, &[&der(0x86, &[uri.as_bytes()])])])
}

pub(crate) const USERS_ONLY: &[u8] = &[0x81, 1, 0xff];
pub(crate) const AUTHORITIES_ONLY: &[u8] = &[0x82, 1, 0xff];
pub(crate) const SOME_REASONS: &[u8] = &[0x83, 2, 1, 0x40];
pub(crate) const INDIRECT: &[u8] = &[0x84, 1, 0xff];
pub(crate) const ATTRIBUTES_ONLY: &[u8] = &[0x85, 1, 0xff];

fn serial(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate of ours");
    parsed.raw_serial().to_vec()
}

pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        medium @ 0x80..0x100 => out.extend([0x81, medium as u8]),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(content);
    out
}
