//! Who takes part in a story: certificates made for it alone, and the pages of flash of its stations.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use credentials::{Credentials, PAGE};
use diset_std::tls::Certificate;
use diset_std::tls::throwaway::to_pem;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::impostor::World;
use crate::impostor::certificates::{Credentials as Pair, NAME, service_params};

/// What the image takes for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Authority,
    Key,
    /// Whatever is at the end of the line.
    Line,
}

pub(crate) struct Cast {
    pub(crate) world: Arc<World>,
    folder: PathBuf,
    trust: Trust,
}

impl Cast {
    /// A new authority, with the certificates of the service and of an agent on the host in a folder.
    pub(crate) fn new(folder: PathBuf, trust: Trust) -> Self {
        // What an earlier run has left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let cast = Self {
            world: Arc::new(World::new()),
            folder,
            trust,
        };
        cast.write_pem("service", &cast.world.service.certificate, &cast.world.service.pkcs8);
        cast.write_pem("ca", &cast.world.authority.certificate, &cast.world.authority.pkcs8);
        let (certificate, key) = cast.client("host");
        cast.write_pem("host", &certificate, &key.serialize_der());
        cast
    }

    pub(crate) const fn trust(&self) -> Trust {
        self.trust
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn write_pem(&self, name: &str, certificate: &[u8], pkcs8: &[u8]) {
        let key = pkcs8.to_vec().try_into().expect("a key");
        let pair = Certificate::from_der(vec![certificate.to_vec().into()], key).expect("a certificate");
        let (chain, key) = to_pem(&pair);
        fs::write(self.folder.join(format!("{name}.pem")), chain).expect("written");
        fs::write(self.folder.join(format!("{name}.key")), key).expect("written");
    }

    /// A certificate for a client, by the authority of this world.
    fn client(&self, name: &str) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = service_params();
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = self.issuer();
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (certificate.der().to_vec(), key)
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let (_, own) = X509Certificate::from_der(&self.world.authority.certificate).expect("a certificate");
        let name = own.subject().iter_common_name().next().expect("a name").as_str();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.expect("text"));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::try_from(self.world.authority.pkcs8.clone()).expect("a key");
        Issuer::new(params, key)
    }

    /// The page of flash of a station. What its image does not need is not in it.
    pub(crate) fn page(&self, station: &str) -> (PathBuf, String) {
        let (certificate, key) = self.client(station);
        let pkcs8 = key.serialize_der();
        let scalar = scalar(&pkcs8);
        let identity: [u8; 16] = Sha256::digest(station)[..16].try_into().expect("16 bytes");
        let pins = [[0; 32], pin(&self.world.service)];
        let only = |trust: Trust| self.trust == trust;
        let with_tls = !only(Trust::Line);
        let credentials = Credentials {
            identity: Some(&identity),
            certificate: with_tls.then_some(&certificate),
            key: with_tls.then_some(&scalar),
            server_name: only(Trust::Authority).then_some(NAME),
            authority: only(Trust::Authority).then_some(&self.world.authority.certificate),
            next_authority: None,
            pins: only(Trust::Key).then_some(&pins),
        };
        let mut page = [0; PAGE];
        credentials.write(&mut page).expect("it fits");
        let path = self.folder.join(format!("{station}.page"));
        fs::write(&path, page).expect("written");
        (path, identity.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The private key itself.
fn scalar(pkcs8: &[u8]) -> [u8; 32] {
    use p256::pkcs8::DecodePrivateKey as _;
    let key = p256::SecretKey::from_pkcs8_der(pkcs8).expect("a key");
    key.to_bytes().into()
}

fn pin(pair: &Pair) -> [u8; 32] {
    let (_, parsed) = X509Certificate::from_der(&pair.certificate).expect("a certificate");
    Sha256::digest(parsed.public_key().raw).into()
}
