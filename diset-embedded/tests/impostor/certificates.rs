//! Throw-away certificates: an authority, a service and a device, and what others make to pass for the service.

use embedded_tls::Sha256;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::digest::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
};

/// The name of the service.
pub(crate) const NAME: &str = "gateway.test";
/// 2026-07-01, when the certificates are valid.
pub(crate) const NOW: u64 = 1_782_864_000;

/// A certificate with its key.
pub(crate) struct Credentials {
    /// In DER.
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: SigningKey,
    /// The key in PKCS #8.
    pub(crate) pkcs8: Vec<u8>,
}

impl Credentials {
    /// The key alone.
    pub(crate) fn scalar(&self) -> [u8; 32] {
        self.key.to_bytes().into()
    }

    /// The SHA-256 of the public key, with what says in DER that it is one on P-256: what a client pins.
    pub(crate) fn pin(&self) -> [u8; 32] {
        const START: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let point = self.key.verifying_key().to_encoded_point(false);
        Sha256::digest([&START[..], point.as_bytes()].concat()).into()
    }
}

/// What is not for the service.
pub(crate) struct Crooked {
    pub(crate) device_signed: Credentials,
    pub(crate) client_only: Credentials,
    pub(crate) wrong_name: Credentials,
    pub(crate) name_in_subject: Credentials,
    pub(crate) expired: Credentials,
    pub(crate) not_yet_valid: Credentials,
    pub(crate) other_authority: Credentials,
    pub(crate) self_signed: Credentials,
    pub(crate) no_purpose: Credentials,
    pub(crate) authority_as_leaf: Credentials,
    pub(crate) no_signing: Credentials,
    pub(crate) critical: Credentials,
    /// On P-384.
    pub(crate) other_curve: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) authority: Credentials,
    pub(crate) service: Credentials,
    /// A client's.
    pub(crate) device: Credentials,
    pub(crate) crooked: Crooked,
}

fn key() -> (KeyPair, SigningKey) {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let pkcs8 = pair.serialize_der();
    // ECPrivateKey: version 1, then 32 bytes.
    let at = pkcs8
        .windows(5)
        .position(|bytes| bytes == [2, 1, 1, 4, 32])
        .expect("a scalar")
        + 5;
    let key = SigningKey::from_slice(&pkcs8[at..at + 32]).expect("a scalar");
    (pair, key)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = service_params();
    params.subject_alt_names.clear();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages.clear();
    params
}

pub(crate) fn service_params() -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, "gateway");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2036, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: Credentials,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (pair, key) = key();
        let params = authority_params(name);
        let certificate = params.self_signed(&pair).expect("a certificate").der().to_vec();
        Self {
            own: Credentials {
                certificate,
                key,
                pkcs8: pair.serialize_der(),
            },
            issuer: Issuer::new(params, pair),
        }
    }

    pub(crate) fn issue(&self, change: impl Fn(&mut CertificateParams)) -> Credentials {
        issue(&self.issuer, change)
    }
}

fn issue(issuer: &Issuer<'_, KeyPair>, change: impl Fn(&mut CertificateParams)) -> Credentials {
    let (pair, key) = key();
    let mut params = service_params();
    change(&mut params);
    Credentials {
        certificate: params.signed_by(&pair, issuer).expect("a certificate").der().to_vec(),
        key,
        pkcs8: pair.serialize_der(),
    }
}

pub(crate) fn client_params(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn device_params(params: &mut CertificateParams) {
    client_params(params);
    params.subject_alt_names.clear();
    params.distinguished_name.push(DnType::CommonName, "device 17");
    // An issuer's usages are asked for when it signs.
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Authority::new("Devices and gateways");
        let device = root.issue(device_params);
        Self {
            service: root.issue(|_| {}),
            crooked: crooked(&root, &device),
            authority: root.own,
            device,
        }
    }
}

fn crooked(root: &Authority, device: &Credentials) -> Crooked {
    // The device does as if it were an authority, with the key and the certificate that it has.
    let pair = KeyPair::try_from(device.pkcs8.clone()).expect("a key");
    let mut params = service_params();
    device_params(&mut params);
    let device_issuer = Issuer::new(params, pair);
    let critical = || {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(true);
        extension
    };
    Crooked {
        device_signed: issue(&device_issuer, |_| {}),
        client_only: root.issue(client_params),
        wrong_name: root.issue(|params| params.subject_alt_names = vec![name("gateway.test.evil")]),
        name_in_subject: root.issue(|params| {
            params.subject_alt_names = vec![name("*.test")];
            params.distinguished_name.push(DnType::CommonName, NAME);
        }),
        expired: root.issue(|params| params.not_after = rcgen::date_time_ymd(2026, 6, 30)),
        not_yet_valid: root.issue(|params| params.not_before = rcgen::date_time_ymd(2026, 7, 2)),
        other_authority: Authority::new("Devices and gateways").issue(|_| {}),
        self_signed: {
            let (pair, key) = key();
            Credentials {
                certificate: service_params()
                    .self_signed(&pair)
                    .expect("a certificate")
                    .der()
                    .to_vec(),
                key,
                pkcs8: pair.serialize_der(),
            }
        },
        no_purpose: root.issue(|params| params.extended_key_usages.clear()),
        authority_as_leaf: root.issue(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        no_signing: root.issue(|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        critical: root.issue(|params| params.custom_extensions = vec![critical()]),
        other_curve: {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
            service_params()
                .signed_by(&pair, &root.issuer)
                .expect("a certificate")
                .der()
                .to_vec()
        },
    }
}

fn name(name: &str) -> rcgen::SanType {
    rcgen::SanType::DnsName(name.try_into().expect("ASCII"))
}
