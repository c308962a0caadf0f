//! Writes the page of flash that makes a station out of a board: its identity, its certificate and key, and whom it takes
//! for the service. The firmware in `firmware/` reads it.
//!
//! ```sh
//! cargo run --example make_certificates -- certificates --client station
//! cargo run --example station_page -- --folder certificates --name station
//! ```

use diset_examples::println;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use credentials::{Credentials, PAGE};
use diset_std::rustls::pki_types::pem::PemObject;
use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePrivateKey as _;
use p256::{PublicKey, SecretKey};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

type Failed = Box<dyn core::error::Error>;

/// Writes NAME.page, the credentials of a station, out of a folder of certificates. It holds the private key: keep it as
/// you keep NAME.key, and delete it when it is in the flash.
#[derive(Parser)]
#[command(
    after_help = "`cargo run --example make_certificates -- certificates --client station` writes the files \
    that this and agent_service need."
)]
struct Options {
    /// The folder with NAME.pem, NAME.key, service.pem and ca.pem; the page is written there.
    #[arg(long)]
    folder: PathBuf,
    /// The station.
    #[arg(long, default_value = "station", value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The DNS name of the service, which its certificate must prove.
    #[arg(long, default_value = "localhost", value_parser = service_name)]
    service_name: String,
    /// The identity of the station, 32 hexadecimal digits; without it one that follows from its key.
    #[arg(long, value_parser = identity)]
    identity: Option<[u8; 16]>,
    /// The certificate of the authority that certifies the service, if it is not ca.pem in the folder.
    #[arg(long)]
    authority: Option<PathBuf>,
    /// The certificate of the authority that is to take its place, if stations are to trust it already.
    #[arg(long)]
    next_authority: Option<PathBuf>,
    /// The certificate with the key that the service is to have next, if stations are to trust it already.
    #[arg(long)]
    next_service: Option<PathBuf>,
}

fn identity(text: &str) -> Result<[u8; 16], String> {
    // A sign is a number's, too.
    let is_digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_digits);
    number
        .map(u128::to_be_bytes)
        .ok_or_else(|| "an identity is 32 hexadecimal digits".to_owned())
}

fn service_name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(ServerName::DnsName(_)) if text.len() <= 255 => Ok(text.to_owned()),
        Ok(ServerName::IpAddress(_)) => Err("a station knows the service by a DNS name, not by an address".to_owned()),
        _ => Err("not a DNS name of at most 255 bytes".to_owned()),
    }
}

/// What stations on chips go by: this authority has signed the service's certificate, and it is for this name.
fn check_service(service: &[u8], authority: &[u8], name: &str) -> Result<(), Failed> {
    let (_, service) = X509Certificate::from_der(service)?;
    let (_, authority) = X509Certificate::from_der(authority)?;
    let names = service.subject_alternative_name()?;
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    if !names.any(|known| matches!(known, GeneralName::DNSName(known) if known.eq_ignore_ascii_case(name))) {
        return Err(format!("service.pem is not for the name {name}: --service-name").into());
    }
    if !is_signed(&service, &authority) {
        return Err("service.pem is not signed by the authority that the station is to trust: --authority".into());
    }
    Ok(())
}

/// As a station can check it: ECDSA on P-256 with SHA-256.
fn is_signed(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    let key = VerifyingKey::from_sec1_bytes(&authority.public_key().subject_public_key.data);
    let signature = Signature::from_der(&certificate.signature_value.data);
    let (Ok(key), Ok(signature)) = (key, signature) else {
        return false;
    };
    key.verify(certificate.tbs_certificate.as_ref(), &signature).is_ok()
}

fn main() -> ExitCode {
    match write(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("station_page: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(options: &Options) -> Result<(), Failed> {
    let file = |name: &str| options.folder.join(name);
    let certificate = read_certificate(&file(&format!("{}.pem", options.name)))?;
    let key = read_key(&file(&format!("{}.key", options.name)))?;
    let (own, own_pin) = public_key(&certificate)?;
    if own != key.public_key() {
        return Err(format!("{0}.key is not the key of {0}.pem", options.name).into());
    }
    let authority = options.authority.clone().unwrap_or_else(|| file("ca.pem"));
    let authority = read_certificate(&authority)?;
    let next = options.next_authority.as_deref().map(read_certificate).transpose()?;
    let service = read_certificate(&file("service.pem"))?;
    check_service(&service, &authority, &options.service_name)?;
    let mut pins = vec![public_key(&service)?.1];
    if let Some(path) = &options.next_service {
        pins.push(public_key(&read_certificate(path)?)?.1);
    }
    let identity = match options.identity {
        Some(identity) => identity,
        None => *own_pin.first_chunk().ok_or("no digest")?,
    };
    let scalar: [u8; 32] = key.to_bytes().into();
    let mut page = [0; PAGE];
    let credentials = Credentials {
        identity: Some(&identity),
        certificate: Some(&certificate),
        key: Some(&scalar),
        server_name: Some(&options.service_name),
        authority: Some(&authority),
        next_authority: next.as_deref(),
        pins: Some(&pins),
    };
    let used = credentials.write(&mut page)?;
    let path = file(&format!("{}.page", options.name));
    replace(&path, &page).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let path = path.display();
    let count = match pins.len() {
        1 => "1 pin".to_owned(),
        more => format!("{more} pins"),
    };
    println!("wrote {path}: {used} of {PAGE} bytes are used, {count}");
    println!("identity: {:032x}", u128::from_be_bytes(identity));
    println!("into QEMU:    -device loader,file={path},addr=0x3F000,force-raw=on");
    println!("into a board: probe-rs download --chip CHIP --binary-format bin --base-address 0x3F000 {path}");
    Ok(())
}

/// The one certificate in a file: a station shows one, and trusts one authority directly.
fn read_certificate(path: &Path) -> Result<Vec<u8>, Failed> {
    let unreadable = |error| {
        format!(
            "{}: {error}; `cargo run --example make_certificates -- FOLDER --client station` writes files for a try",
            path.display()
        )
    };
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    match all.as_slice() {
        [one] => Ok(one.to_vec()),
        [] => Err(format!("{}: there is no certificate in it", path.display()).into()),
        _ => Err(format!("{}: there is more than one certificate in it", path.display()).into()),
    }
}

fn read_key(path: &Path) -> Result<SecretKey, Failed> {
    let read = PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let key = match &read {
        PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
        _ => None,
    };
    key.ok_or_else(|| format!("{}: a station needs a key on P-256", path.display()).into())
}

/// The key of a certificate, and its pin: the SHA-256 of its SubjectPublicKeyInfo.
fn public_key(certificate: &[u8]) -> Result<(PublicKey, [u8; 32]), Failed> {
    let (_, parsed) = X509Certificate::from_der(certificate)?;
    let info = parsed.public_key();
    let key = PublicKey::from_sec1_bytes(&info.subject_public_key.data)
        .map_err(|_| "the certificates of station and service must be of P-256")?;
    Ok((key, Sha256::digest(info.raw).into()))
}

/// Readable by its owner only: there is a key in it.
fn replace(path: &Path, page: &[u8]) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(page)
}
