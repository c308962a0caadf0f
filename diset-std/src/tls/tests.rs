//! Tests of what people give: files, keys and lists that do not fit, and what is read from certificates.

use core::error::Error;
use std::fs;
use std::path::PathBuf;

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;

use super::throwaway::{ThrowawayCa, expired, lists_to_pem, not_yet_valid, to_pem};
use super::*;

type TestResult = Result<(), Box<dyn Error>>;

/// A directory that goes away with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, std::io::Error> {
        let path = std::env::temp_dir().join(format!("diset-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf, std::io::Error> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The message names the file and holds these words.
fn says<T>(result: Result<T, TlsError>, words: &[&str]) {
    let message = result.err().map(|error| error.to_string()).unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

#[test]
fn files_written_can_be_read_and_used() -> TestResult {
    let dir = Scratch::new("round-trip")?;
    let ca = ThrowawayCa::new()?;
    let (chain, key) = to_pem(&ca.client("alice")?);
    let certificate = Certificate::from_pem_files(dir.file("chain.pem", &chain)?, dir.file("key.pem", &key)?)?;
    let both = dir.file("both.pem", &format!("{key}\n{chain}"))?;
    Certificate::from_pem_files(&both, &both)?;
    let authorities = Authorities::from_pem_file(dir.file("ca.pem", &ca.pem())?)?;
    ClientTls::new(certificate, authorities.clone())?;
    let (chain, key) = to_pem(&ca.server(&["localhost"])?);
    let both = dir.file("service.pem", &format!("{chain}{key}"))?;
    ServerTls::new(Certificate::from_pem_files(&both, &both)?, authorities)?;
    Ok(())
}

#[test]
fn early_data_is_neither_offered_nor_taken() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let client = ClientTls::new(ca.client("alice")?, ca.authorities())?;
    let server = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
    assert!(!client.now().config.enable_early_data, "PROTOCOL X-3");
    assert_eq!(server.now().config.max_early_data_size, 0, "PROTOCOL X-3");
    Ok(())
}

#[test]
fn wrong_files_are_named_with_what_to_do() -> TestResult {
    let dir = Scratch::new("wrong")?;
    let ca = ThrowawayCa::new()?;
    let (chain, key) = to_pem(&ca.client("alice")?);
    let chain_file = dir.file("chain.pem", &chain)?;
    let key_file = dir.file("key.pem", &key)?;
    let empty = dir.file("empty.pem", "")?;

    says(
        Certificate::from_pem_files(dir.0.join("none.pem"), &key_file),
        &["certificate chain", "none.pem", "check the path"],
    );
    says(
        Certificate::from_pem_files(&chain_file, dir.0.join("none.pem")),
        &["private key", "none.pem"],
    );
    says(
        Certificate::from_pem_files(&key_file, &key_file),
        &["no certificate in file", "key.pem", "BEGIN CERTIFICATE"],
    );
    says(
        Certificate::from_pem_files(&chain_file, &chain_file),
        &["no private key in file", "chain.pem", "BEGIN PRIVATE KEY"],
    );
    says(
        Authorities::from_pem_file(&empty),
        &["no certificate authority", "empty.pem"],
    );
    says(
        Revocations::from_pem_file(&empty),
        &["no revocation list", "empty.pem", "X509 CRL"],
    );

    let cut = dir.file("cut.pem", &chain[..chain.len() / 2])?;
    says(
        Certificate::from_pem_files(&cut, &key_file),
        &["cut.pem", "no matching END line"],
    );
    let damaged = dir.file("damaged.pem", &key.replace('M', "§"))?;
    says(
        Certificate::from_pem_files(&chain_file, &damaged),
        &["damaged.pem", "private key"],
    );
    let locked = dir.file("locked.pem", &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))?;
    says(
        Certificate::from_pem_files(&chain_file, &locked),
        &["locked.pem", "pass phrase", "openssl pkey"],
    );
    Ok(())
}

#[test]
fn pairs_that_do_not_fit_are_refused_when_built() -> TestResult {
    let dir = Scratch::new("pairs")?;
    let ca = ThrowawayCa::new()?;
    let (chain, _) = to_pem(&ca.client("alice")?);
    let (_, key) = to_pem(&ca.client("bob")?);
    let pair = Certificate::from_pem_files(dir.file("alice.pem", &chain)?, dir.file("bob.pem", &key)?)?;
    says(
        ClientTls::new(pair, ca.authorities()),
        &["alice.pem", "bob.pem", "does not belong"],
    );

    let chain = ca.client("alice")?.chain().to_vec();
    let junk = Certificate::from_der(chain.clone(), PrivateKeyDer::Pkcs8(vec![1, 2, 3].into()))?;
    says(
        ServerTls::new(junk, ca.authorities()),
        &["private key in the data given by the program", "cannot be used"],
    );
    says(
        Certificate::from_der(Vec::new(), PrivateKeyDer::Pkcs8(Vec::new().into())),
        &["no certificate"],
    );

    let junk = Authorities::from_der(vec![vec![0x30, 0].into()])?;
    says(
        ServerTls::new(ca.server(&["localhost"])?, junk),
        &["certificate authority 1", "cannot be used"],
    );
    let junk = Revocations::from_der(vec![vec![0x30, 0].into()])?;
    let builder = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
    says(
        builder.revocations(junk).build(),
        &["revocation lists", "fetch them anew"],
    );
    Ok(())
}

#[test]
fn own_certificates_out_of_date_are_refused_when_built() -> TestResult {
    let ca = ThrowawayCa::new()?;
    says(
        ClientTls::new(ca.client_valid("old", expired())?, ca.authorities()),
        &["certificate 1", "ended on", "renew"],
    );
    let young = ca.server_valid(&["localhost"], not_yet_valid())?;
    says(
        ServerTls::new(young.clone(), ca.authorities()),
        &["valid only from", "clock"],
    );
    ServerTls::builder(young, ca.authorities())
        .without_validity_check()
        .build()?;
    Ok(())
}

#[test]
fn lists_out_of_date_are_refused_when_fresh_ones_are_wanted() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let old = ca.revoke_valid(&[], expired())?;
    let build = |fresh| {
        ServerTls::builder(ca.server(&["localhost"])?, ca.authorities())
            .revocations(old.clone())
            .require_fresh_revocations(fresh)
            .build()
            .map_err(Box::<dyn Error>::from)
    };
    let tls = build(false)?;
    says(
        build(true).map_err(|error| *error.downcast().expect("one of TLS")),
        &["revocation list 1", "was to be replaced by", "fetch it anew"],
    );
    // A change keeps what was chosen before; one that asks for too much changes nothing.
    says(
        tls.change(|now| now.require_fresh_revocations(true)),
        &["revocation list 1"],
    );
    tls.change(|now| now.authorities(ca.authorities()))?;
    tls.change(|now| now.revocations(None).require_fresh_revocations(true))?;
    says(tls.change(|now| now.revocations(old)), &["revocation list 1"]);
    Ok(())
}

#[test]
fn clones_share_a_change() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let tls = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
    let (clone, before) = (tls.clone(), tls.now());
    tls.change(|now| now)?;
    assert!(!std::sync::Arc::ptr_eq(&before, &clone.now()));
    assert!(std::sync::Arc::ptr_eq(&tls.now(), &clone.now()));
    Ok(())
}

#[test]
fn files_are_taken_when_they_say_something_else() -> TestResult {
    let dir = Scratch::new("files")?;
    let ca = ThrowawayCa::new()?;
    let write = |certificate: &Certificate| -> TestResult {
        let (chain, key) = to_pem(certificate);
        dir.file("chain.pem", &chain)?;
        dir.file("key.pem", &key)?;
        Ok(())
    };
    write(&ca.client("alice")?)?;
    dir.file("ca.pem", &ca.pem())?;
    let file = |name| dir.0.join(name);
    let files = TlsFiles::new(file("chain.pem"), file("key.pem"), file("ca.pem"));
    let tls = ClientTls::from_files(&files)?;
    let before = tls.now();
    let change = tls.reload(&files)?;
    assert_eq!(change.to_string(), "nothing");
    assert!(
        change.is_nothing() && std::sync::Arc::ptr_eq(&before, &tls.now()),
        "sessions are kept"
    );
    write(&ca.client("alice")?)?;
    dir.file("ca.pem", &format!("{}{}", ca.pem(), ThrowawayCa::new()?.pem()))?;
    assert_eq!(tls.reload(&files)?.to_string(), "certificate, authorities");
    says(tls.reload(&files.clone().revocations(file("none.pem"))), &["none.pem"]);
    dir.file("crl.pem", &lists_to_pem(&ca.revoke(&[])?))?;
    let listed = files.clone().revocations(file("crl.pem"));
    assert_eq!(tls.reload(&listed)?.to_string(), "revocation lists");
    assert_eq!(
        tls.reload(&files)?.to_string(),
        "revocation lists",
        "there are none now"
    );
    Ok(())
}

#[test]
fn revocation_lists_may_come_later_but_do_not_go_with_their_file() -> TestResult {
    let dir = Scratch::new("later")?;
    let ca = ThrowawayCa::new()?;
    let (chain, key) = to_pem(&ca.server(&["localhost"])?);
    for (name, text) in [("chain.pem", &chain), ("key.pem", &key), ("ca.pem", &ca.pem())] {
        dir.file(name, text)?;
    }
    let file = |name| dir.0.join(name);
    let files = TlsFiles::new(file("chain.pem"), file("key.pem"), file("ca.pem")).revocations_if_there(file("crl.pem"));
    let tls = ServerTls::from_files(&files)?;
    assert!(tls.reload(&files)?.is_nothing(), "there is no file yet");
    // A file that is no list is an error from the start.
    dir.file("crl.pem", "")?;
    says(tls.reload(&files), &["crl.pem"]);
    says(ServerTls::from_files(&files), &["crl.pem"]);
    dir.file("crl.pem", &lists_to_pem(&ca.revoke(&[])?))?;
    assert_eq!(tls.reload(&files)?.to_string(), "revocation lists");
    let before = tls.now();
    fs::remove_file(file("crl.pem"))?;
    says(tls.reload(&files), &["crl.pem"]);
    assert!(std::sync::Arc::ptr_eq(&before, &tls.now()), "the lists stay");
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_only_what_a_reload_has_not_taken() -> TestResult {
    let dir = Scratch::new("beside")?;
    let ca = ThrowawayCa::new()?;
    let file = |name| dir.0.join(name);
    let write = |name: &str| -> TestResult {
        let (chain, key) = to_pem(&ca.client(name)?);
        dir.file("own.pem", &(chain + &key))?;
        Ok(())
    };
    write("alice")?;
    dir.file("ca.pem", &ca.pem())?;
    let files = TlsFiles::new(file("own.pem"), file("own.pem"), file("ca.pem"))
        .revocations_if_there(file("crl.pem"))
        .every(core::time::Duration::from_millis(10));
    let tls = ClientTls::from_files(&files)?;
    let mut watch = tls.watch(files.clone());
    dir.file("crl.pem", &lists_to_pem(&ca.revoke(&[])?))?;
    assert_eq!(tls.reload(&files)?.to_string(), "revocation lists");
    write("alice")?;
    let change = tokio::time::timeout(core::time::Duration::from_secs(10), watch.changed()).await?;
    assert_eq!(change.ok_or("in use")?.to_string(), "certificate");
    // The other way round as well.
    assert!(tls.reload(&files)?.is_nothing());
    Ok(())
}

#[test]
fn nothing_secret_shows() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let certificate = ca.client("alice")?;
    let (_, key) = to_pem(&certificate);
    let key_line = key.lines().nth(1).ok_or("a key has lines")?;
    let server = ServerTls::builder(certificate.clone(), ca.authorities());
    let shown = format!(
        "{certificate:?} {ca:?} {server:?} {:?}",
        ClientTls::new(certificate.clone(), ca.authorities())?
    );
    assert!(!shown.contains(key_line));
    assert!(!shown.contains(&format!("{:?}", certificate.key().secret_der())));
    assert!(shown.contains("(secret)"));
    let principal = Credentials::Certificate(read(&certificate)?).principal();
    assert_eq!(
        format!("{principal:?}").len(),
        "Principal(01234567…)".chars().count() + 2
    );
    Ok(())
}

fn read(certificate: &Certificate) -> Result<CertificateCredentials, CredentialsError> {
    CertificateCredentials::from_der(&certificate.chain()[0])
}

/// What is read from a self-signed certificate with this subject and these names.
fn read_made(
    subject: impl FnOnce(&mut DistinguishedName),
    names: Vec<SanType>,
) -> Result<Result<CertificateCredentials, CredentialsError>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    subject(&mut params.distinguished_name);
    params.subject_alt_names = names;
    let made = params.self_signed(&KeyPair::generate()?)?;
    Ok(CertificateCredentials::from_der(made.der()))
}

#[test]
fn subjects_read_in_both_forms() -> TestResult {
    let read = read_made(
        |subject| {
            subject.push(DnType::CountryName, "CH");
            subject.push(DnType::OrganizationName, "Acme, Inc. + \"Sons\"");
            subject.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), "a1");
            subject.push(DnType::CustomDnType(vec![1, 2, 3]), " #lead\ning ");
            subject.push(DnType::CommonName, "host/é.example");
        },
        Vec::new(),
    )??;
    assert_eq!(
        read.subject(),
        "CN=host/é.example,1.2.3=\\ #lead\\0Aing\\ ,UID=a1,O=Acme\\, Inc. \\+ \\\"Sons\\\",C=CH"
    );
    assert_eq!(
        read.subject_dirac(),
        "/C=CH/O=Acme, Inc. + \"Sons\"/UID=a1/1.2.3= #lead\\x0Aing /CN=host/\\xC3\\xA9.example"
    );
    let bmp = rcgen::string::BmpString::try_from("Z")?;
    let read = read_made(
        |subject| subject.push(DnType::CommonName, DnValue::BmpString(bmp)),
        Vec::new(),
    )??;
    assert_eq!(read.subject(), "CN=#1e02005a");
    assert_eq!(read.subject_dirac(), "/CN=\\x00Z");
    Ok(())
}

#[test]
fn names_and_end_are_read() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let read = read(&ca.server(&["localhost", "127.0.0.1", "::1"])?)?;
    let expected = [
        AlternativeName::Dns("localhost".into()),
        AlternativeName::Ip([127, 0, 0, 1].into()),
        AlternativeName::Ip(core::net::Ipv6Addr::LOCALHOST.into()),
    ];
    assert_eq!(read.alternative_names(), expected);
    let left = read.not_after().duration_since(std::time::SystemTime::now())?.as_secs();
    assert!((29 * 86_400..31 * 86_400).contains(&left));
    let names = vec![
        SanType::Rfc822Name("a@example.org".try_into()?),
        SanType::Rfc822Name("no\nname".try_into()?),
        SanType::URI("urn:x:y".try_into()?),
    ];
    let read = read_made(|_| {}, names)??;
    assert_eq!(
        read.alternative_names(),
        [
            AlternativeName::Email("a@example.org".into()),
            AlternativeName::Uri("urn:x:y".into())
        ]
    );
    assert_eq!((read.subject(), read.subject_dirac()), ("", ""));
    Ok(())
}

#[test]
fn names_are_bounded_by_their_der_and_refused_not_cut() -> TestResult {
    use CredentialsError::{NamesTooLong, SubjectTooLong, TooManyNames};
    // As text both are three times as long: what is escaped costs nothing.
    for letters in [",\u{7}".repeat(2000), "\u{44f}".repeat(2000)] {
        let read = read_made(|subject| subject.push(DnType::CommonName, letters.as_str()), Vec::new())??;
        assert!(read.subject().len() >= 4000 && read.subject_dirac().starts_with("/CN="));
    }
    let long = "x".repeat(4097);
    let read = read_made(|subject| subject.push(DnType::CommonName, long.as_str()), Vec::new())?;
    let why = read.err().ok_or("it is too long")?;
    assert!(matches!(why, SubjectTooLong(4097..4130)), "{why}");
    let hosts = |count: usize, length: usize| {
        (0..count)
            .map(|i| Ok(SanType::DnsName(format!("{i:0length$}.example").try_into()?)))
            .collect::<Result<Vec<_>, rcgen::Error>>()
    };
    assert_eq!(read_made(|_| {}, hosts(200, 60)?)??.alternative_names().len(), 200);
    assert_eq!(read_made(|_| {}, hosts(1024, 4)?)??.alternative_names().len(), 1024);
    let why = read_made(|_| {}, hosts(300, 60)?)?.err().ok_or("they are too long")?;
    assert!(matches!(why, NamesTooLong(16_385..)), "{why}");
    let tiny = (0..1025).map(|i: u16| SanType::IpAddress(core::net::Ipv4Addr::from(u32::from(i)).into()));
    assert_eq!(read_made(|_| {}, tiny.collect())?.err(), Some(TooManyNames(1025)));
    for why in [
        SubjectTooLong(99_999),
        NamesTooLong(99_999),
        TooManyNames(99_999),
        CredentialsError::Unreadable,
    ] {
        assert!(
            why.to_string().len() <= diset_proto::limits::MAX_TEXT,
            "PROTOCOL E-2: {why}"
        );
    }
    Ok(())
}

#[test]
fn principals_tell_peers_apart() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let of = |name: &str| -> Result<Principal, Box<dyn Error>> {
        Ok(Credentials::Certificate(read(&ca.client(name)?)?).principal())
    };
    assert_ne!(of("alice")?, of("alice")?, "the key counts, not the name");
    let unix = |uid, gid| Credentials::Unix { uid, gid, pid: None }.principal();
    assert_eq!(unix(7, 1), unix(7, 2));
    assert_ne!(unix(7, 1), unix(8, 1));
    assert_eq!(Credentials::None.principal(), Principal::from([0; 32]));
    assert_ne!(unix(0, 0), Credentials::None.principal());
    Ok(())
}
