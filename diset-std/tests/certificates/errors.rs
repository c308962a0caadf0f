//! What is said of a certificate that will not do: by the side that was given it, before anything else; by the peer that refuses it; and by the side
//! that showed it, when it learns. What is wrong, whose it is, what to do; never what a library calls it.

use core::error::Error;
use std::sync::Arc;

use diset_std::rustls::client::ResolvesClientCert;
use diset_std::rustls::crypto::aws_lc_rs::default_provider;
use diset_std::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use diset_std::rustls::pki_types::pem::PemObject;
use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use diset_std::rustls::sign::{CertifiedKey, SingleCertAndKey};
use diset_std::rustls::{self, ClientConfig, ServerConfig};
use diset_std::tls::{Authorities, Certificate, ClientTls, Revocations, ServerTls};
use diset_std::{Client, Ended};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyIdMethod, NameConstraints, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::Level;

use super::made::{
    Authority, EXTENSIONS, Made, PUBLIC_KEY, VERSION, authority_params, der, edited, ended, named, valid,
};
use crate::common::lines::lines;
use crate::common::*;

type Result<T> = core::result::Result<T, Box<dyn Error>>;

/// Debug text of a library has one of these in it.
const FOREIGN: [&str; 12] = [
    "Error",
    "Context",
    "Other(",
    "InvalidC",
    "Unsupported",
    "CaUsed",
    "UnknownIssuer",
    "BadDer",
    " { ",
    "Some(",
    "DnsName(",
    "Err(",
];

#[track_caller]
fn says(what: &str, told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "{what}: `{word}` is missing in: {told}");
    }
    for foreign in FOREIGN {
        assert!(!told.contains(foreign), "{what}: `{foreign}` is of a library: {told}");
    }
}

/// For which side a certificate is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum For {
    Service,
    Client,
}

struct Site {
    root: Authority,
    sub: Authority,
}

impl Site {
    fn new() -> Result<Self> {
        let root = Authority::root("Site CA")?;
        let sub = root.authority("Sub CA", |_| {})?;
        Ok(Self { root, sub })
    }

    fn made(&self, side: For, change: impl FnOnce(&mut CertificateParams)) -> Result<Made> {
        by(&self.root, side, change)
    }
}

fn by(authority: &Authority, side: For, change: impl FnOnce(&mut CertificateParams)) -> Result<Made> {
    match side {
        For::Service => authority.service(change),
        For::Client => authority.client(change),
    }
}

/// What one side shows.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn shown(made: &Made, others: &[&CertificateDer<'static>]) -> Shown {
    let chain = core::iter::once(&made.der).chain(others.iter().copied());
    Shown {
        chain: chain.cloned().collect(),
        key: made.private_key(),
    }
}

/// With its certificate edited.
fn changed(site: &Site, side: For, claimed: Option<Vec<u8>>, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<Shown> {
    let made = site.made(side, |_| {})?;
    Ok(Shown {
        chain: vec![edited(&made.der, &site.root, claimed, edit)?],
        key: made.private_key(),
    })
}

/// With a key that claims to be of this kind.
fn with_key(site: &Site, side: For, algorithm: &[u8], bits: &[u8]) -> Result<Shown> {
    let key = [algorithm, &der::around(3, &[&[0], bits].concat())].concat();
    changed(site, side, None, |parts| parts[PUBLIC_KEY] = der::around(0x30, &key))
}

/// An RSA key with a modulus of so many bytes, as it stands in a certificate.
fn rsa(bytes: usize) -> Vec<u8> {
    let modulus = [&[0, 0xc1][..], &vec![0x55; bytes - 1]].concat();
    der::around(0x30, &[der::around(2, &modulus), vec![2, 3, 1, 0, 1]].concat())
}

const RSA: &[u8] = &[0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const RSA_PSS: &[u8] = &[0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const ED448: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x71];
const SECP256K1: &[u8] = &[
    0x30, 0x10, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 10,
];
/// The parameters are a sequence, whatever is in it.
const EXPLICIT: &[u8] = &[0x30, 0x0e, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x30, 3, 2, 1, 1];
const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];

/// One kind of certificate that will not do.
struct Row {
    what: &'static str,
    make: fn(&Site, For) -> Result<Shown>,
    /// Of the peer, by the side that refuses it.
    refused: &'static [&'static str],
    /// By the side it was given to; a warning, when it begins with `~`; empty when it cannot know.
    at_start: &'static [&'static str],
}

const fn row(
    what: &'static str,
    make: fn(&Site, For) -> Result<Shown>,
    refused: &'static [&'static str],
    at_start: &'static [&'static str],
) -> Row {
    Row {
        what,
        make,
        refused,
        at_start,
    }
}

const PEER: &str = "on the peer's side, ";

fn rows() -> Vec<Row> {
    vec![
        row(
            "ended",
            |site, side| Ok(shown(&site.made(side, ended)?, &[])),
            &[
                "it has expired: it ended on",
                "and here it is",
                "on the peer's side, renew it, or check the clock",
            ],
            &[
                "certificate 1 in the data given by the program ended on",
                "renew it, or check the clock",
            ],
        ),
        row(
            "not yet valid",
            |site, side| {
                let day = core::time::Duration::from_secs(86_400);
                let now = std::time::SystemTime::now();
                Ok(shown(
                    &site.made(side, |params| valid(params, now + day..now + 9 * day))?,
                    &[],
                ))
            },
            &["it is not valid yet, but from", "check the clocks of both machines"],
            &["certificate 1 in the data", "is valid only from", "check the clock"],
        ),
        row(
            "that of an authority",
            |site, side| {
                let ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                Ok(shown(&site.made(side, ca)?, &[]))
            },
            &["it is the certificate of an authority (CA:TRUE)", PEER, "CA:FALSE"],
            &[
                "the certificate in the data",
                "it is the certificate of an authority (CA:TRUE)",
                "CA:FALSE",
            ],
        ),
        row(
            "for the other side",
            |site, side| {
                let other = match side {
                    For::Service => ExtendedKeyUsagePurpose::ClientAuth,
                    For::Client => ExtendedKeyUsagePurpose::ServerAuth,
                };
                Ok(shown(
                    &site.made(side, |params| params.extended_key_usages = vec![other])?,
                    &[],
                ))
            },
            &[
                "not made for this side",
                "but for",
                "authentication",
                PEER,
                "extendedKeyUsage = ",
            ],
            &["not made for this side", "extendedKeyUsage = "],
        ),
        row(
            "for something else",
            |site, side| {
                let usage = vec![ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::Any];
                Ok(shown(
                    &site.made(side, |params| params.extended_key_usages = usage)?,
                    &[],
                ))
            },
            &[
                "not made for this side of a connection, but for any purpose, code signing",
                PEER,
            ],
            &["but for any purpose, code signing", "extendedKeyUsage = "],
        ),
        row(
            "version 1",
            |site, side| {
                changed(site, side, None, |parts| {
                    parts.remove(EXTENSIONS);
                    parts.remove(VERSION);
                })
            },
            &["it is not of version 3 of X.509", PEER, "-extfile"],
            &[
                "the certificate in the data",
                "it is not of version 3 of X.509",
                "-extfile",
            ],
        ),
        row(
            "a key on a curve by its parameters",
            |site, side| with_key(site, side, EXPLICIT, &[4; 65]),
            &["its key is on a curve that is given by explicit parameters", PEER],
            &[
                "its key is on a curve that is given by explicit parameters",
                "make a new key",
            ],
        ),
        row(
            "a key for PSS only",
            |site, side| with_key(site, side, RSA_PSS, &rsa(256)),
            &["its key is RSA for PSS only", PEER, "P-256"],
            &["does not belong to the first certificate"],
        ),
        row(
            "a key of Ed448",
            |site, side| with_key(site, side, ED448, &[7; 57]),
            &["its key is on the curve Ed448", PEER, "P-256"],
            &["does not belong to the first certificate"],
        ),
        row(
            "a key of another curve",
            |site, side| with_key(site, side, SECP256K1, &[4; 65]),
            &["its key is on the curve secp256k1", PEER, "P-256"],
            &["does not belong to the first certificate"],
        ),
        row(
            "signed with SHA-1",
            |site, side| changed(site, side, Some(der::algorithm(SHA1_ECDSA)), |_| {}),
            &[
                "it is signed with SHA-1 and ECDSA, which proves nothing any more",
                PEER,
                "SHA-256",
            ],
            &["it is signed with SHA-1 and ECDSA", "have it signed with SHA-256"],
        ),
        row(
            "signed with MD5",
            |site, side| changed(site, side, Some(der::algorithm(MD5_RSA)), |_| {}),
            &["it is signed with MD5 and RSA, which proves nothing any more", PEER],
            &["it is signed with MD5 and RSA"],
        ),
        row(
            "signed in an unknown way",
            |site, side| changed(site, side, Some(ED448.to_vec()), |_| {}),
            &[
                "it is signed with Ed448, which the TLS cryptography of this side does not know",
                PEER,
            ],
            &["~it is signed with Ed448"],
        ),
        row(
            "an unknown critical extension",
            |site, side| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                Ok(shown(
                    &site.made(side, |params| params.custom_extensions = vec![extension])?,
                    &[],
                ))
            },
            &["it has a critical extension that TLS here cannot judge (1.2.3.4)", PEER],
            &[
                "a critical extension that TLS here cannot judge (1.2.3.4)",
                "get one without it",
            ],
        ),
        row(
            "signed by one that is no authority",
            |site, side| {
                let none = site
                    .root
                    .authority("no authority", |params| params.is_ca = IsCa::ExplicitNoCa)?;
                Ok(shown(&by(&none, side, |_| {})?, &[&none.der]))
            },
            &[
                "certificate 2 of its chain, `CN=no authority`, is no authority",
                PEER,
                "signed by an authority",
            ],
            // Who trusts that one itself would take it.
            &["~peers may refuse", "`CN=no authority`, is no authority"],
        ),
        row(
            "more authorities than allowed",
            |site, side| {
                let no_more =
                    |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                let upper = site.root.authority("Upper", no_more)?;
                let lower = upper.authority("Lower", |_| {})?;
                Ok(shown(&by(&lower, side, |_| {})?, &[&lower.der, &upper.der]))
            },
            &[
                "certificate 3 of its chain, `CN=Upper`, allows fewer authorities below it",
                PEER,
            ],
            &[
                "~peers may refuse",
                "certificate 3 of its chain, `CN=Upper`, allows fewer authorities",
            ],
        ),
        row(
            "names that its authority may not sign",
            |site, side| {
                let narrow = site.root.authority("Narrow", |params| {
                    params.name_constraints = Some(NameConstraints {
                        permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".into())],
                        excluded_subtrees: Vec::new(),
                    });
                })?;
                let names = |params: &mut CertificateParams| {
                    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().expect("a name"))];
                };
                Ok(shown(&by(&narrow, side, names)?, &[&narrow.der]))
            },
            &[
                "certificate 2 of its chain, `CN=Narrow`, may not sign for such names",
                "localhost",
                PEER,
            ],
            &["~peers may refuse", "`CN=Narrow`, may not sign for such names"],
        ),
        row(
            "an intermediate that is missing",
            |site, side| Ok(shown(&by(&site.sub, side, |_| {})?, &[])),
            &[
                "this side does not trust its authority",
                "issued by `CN=Sub CA`",
                "nor in the chain",
                "its certificate is missing in the chain on the peer's side",
            ],
            &[],
        ),
        row(
            "an intermediate that has ended",
            |site, side| {
                let late = site.root.authority("Late CA", ended)?;
                Ok(shown(&by(&late, side, |_| {})?, &[&late.der]))
            },
            &["certificate 2 of its chain, `CN=Late CA`, has expired", "renew it"],
            &["~certificate 2 in", "`CN=Late CA`, has ended on"],
        ),
        row(
            "an unknown authority",
            |_, side| Ok(shown(&by(&Authority::root("Elsewhere")?, side, |_| {})?, &[])),
            &[
                "this side does not trust its authority",
                "issued by `CN=Elsewhere`",
                "do both sides have the ca.pem of the same authority?",
            ],
            &[],
        ),
        row(
            "an unknown root in the chain",
            |_, side| {
                let other = Authority::root("Elsewhere")?;
                Ok(shown(&by(&other, side, |_| {})?, &[&other.der]))
            },
            &[
                "its chain ends with `CN=Elsewhere`, which is not in",
                "ca.pem of the same authority?",
            ],
            &[],
        ),
        row(
            "another authority of the same name",
            |_, side| Ok(shown(&by(&Authority::root("Site CA")?, side, |_| {})?, &[])),
            &[
                "it comes from another `CN=Site CA` than the one in the data",
                "made anew",
                "ca.pem of the same authority?",
            ],
            &[
                "~was not signed with the key of the authority of that name",
                "made anew?",
            ],
        ),
        row(
            "signed by itself",
            |_, side| {
                let mut params = named("lonely");
                params.subject_alt_names = vec![SanType::DnsName("localhost".try_into()?)];
                params.extended_key_usages = vec![match side {
                    For::Service => ExtendedKeyUsagePurpose::ServerAuth,
                    For::Client => ExtendedKeyUsagePurpose::ClientAuth,
                }];
                Ok(shown(&Made::self_signed(&params)?, &[]))
            },
            &[
                "it has signed itself, `CN=lonely`, and is not in the data",
                "To trust this one certificate, add it there",
            ],
            &[],
        ),
        row(
            "far too many intermediates",
            |site, side| {
                let mut all = vec![site.root.authority("Level 0", |_| {})?];
                for level in 1..8 {
                    all.push(all[level - 1].authority(&format!("Level {level}"), |_| {})?);
                }
                let others: Vec<_> = all.iter().rev().map(|authority| &authority.der).collect();
                Ok(shown(&by(&all[7], side, |_| {})?, &others))
            },
            &["more than six intermediates", PEER],
            &["~peers may refuse", "more than six intermediates"],
        ),
        row(
            "damaged",
            |site, side| {
                let made = site.made(side, |_| {})?;
                let mut damaged = made.der.to_vec();
                damaged[5] ^= 0x40;
                Ok(Shown {
                    chain: vec![damaged.into()],
                    key: made.private_key(),
                })
            },
            &["it cannot be read", PEER, "get a new one"],
            &[
                "certificate 1 in the data",
                "cannot be read",
                "ask your authority for a new one",
            ],
        ),
    ]
}

/// What rustls shows, whatever it is.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn key_of(shown: &Shown) -> Result<CertifiedKey> {
    Ok(CertifiedKey::new(shown.chain.clone(), any_supported_type(&shown.key)?))
}

/// What a client that trusts these says of a service that shows this and is no diset service otherwise, called by this name.
async fn of_service(shown: &Shown, tls: ClientTls, host: &str) -> Result<String> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key_of(shown)?)));
    config.alpn_protocols = vec![b"diset/1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let serving = tokio::spawn(async move {
        let (socket, _) = listener.accept().await?;
        TlsAcceptor::from(Arc::new(config)).accept(socket).await.map(drop)
    });
    let client = Client::builder(PingPong, &format!("{host}:{port}")).tls(tls);
    let ended = within("refused", client.connect())
        .await
        .err()
        .ok_or("it was believed")?;
    serving.abort();
    match ended {
        Ended::Tls { reason, .. } => Ok(reason),
        other => Err(format!("not in TLS: {other}").into()),
    }
}

/// What a service says of a client that shows this and is no diset client otherwise.
async fn of_client(shown: &Shown, running: &Running<PingPong>, lines: &mut Seen<String>) -> Result<String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_client_cert_resolver(Arc::new(Always(Arc::new(key_of(shown)?))));
    config.alpn_protocols = vec![b"diset/1".to_vec()];
    let socket = TcpStream::connect(("127.0.0.1", running.port())).await?;
    let connector = TlsConnector::from(Arc::new(config));
    if let Ok(mut stream) = connector.connect(ServerName::try_from("localhost")?, socket).await {
        let mut told = Vec::new();
        // It ends with an alert.
        within("refused", stream.read_to_end(&mut told)).await.ok();
    }
    Ok(lines.next().await)
}

/// Believes every service.
#[derive(Debug)]
struct Credulous;

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> core::result::Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> core::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> core::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn each_certificate_that_will_not_do_is_named_by_whoever_meets_it() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let site = Site::new()?;
    let good = ServerTls::new(site.made(For::Service, |_| {})?.with(&[])?, site.root.authorities()?)?;
    for row in rows() {
        // Each with lines of its own: they are few.
        let running = run(answering().bind("127.0.0.1:0", good.clone()).await?);
        let what = row.what;
        // A client about a service.
        let service = (row.make)(&site, For::Service)?;
        let alice = ClientTls::new(site.made(For::Client, |_| {})?.with(&[])?, site.root.authorities()?)?;
        let told = of_service(&service, alice, "localhost").await?;
        says(what, &told, &["the peer's certificate was refused: "]);
        says(what, &told, row.refused);
        // A service about a client, in its log.
        let client = (row.make)(&site, For::Client)?;
        let line = of_client(&client, &running, &mut lines).await?;
        says(
            what,
            &line,
            &[
                "a TLS handshake failed",
                "peer=\"127.0.0.1:",
                "the peer's certificate was refused: ",
            ],
        );
        says(what, &line, row.refused);
        // Whoever is given it.
        for (side, given) in [(For::Service, service), (For::Client, client)] {
            let certificate = Certificate::from_der(given.chain, given.key)?;
            let built = match side {
                For::Service => ServerTls::new(certificate, site.root.authorities()?).map(drop),
                For::Client => ClientTls::new(certificate, site.root.authorities()?).map(drop),
            };
            let warned = lines.now();
            match (row.at_start.first().map(|first| first.strip_prefix('~')), built) {
                (None, Ok(())) => assert_eq!(warned, None, "{what} {side:?}"),
                (Some(None), Err(error)) => {
                    assert_eq!(warned, None, "{what} {side:?}");
                    says(what, &error.to_string(), row.at_start);
                }
                (Some(Some(first)), Ok(())) => {
                    let warned = warned.ok_or_else(|| format!("{what}: no warning"))?;
                    says(what, &warned, &[first]);
                    says(what, &warned, &row.at_start[1..]);
                }
                (_, built) => return Err(format!("{what} {side:?}: {built:?}, {warned:?}").into()),
            }
            assert_eq!(lines.now(), None, "{what} {side:?}");
        }
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn names_that_prove_nothing_are_told_with_those_that_would() -> TestResult {
    let site = Site::new()?;
    let dns = |name: &str| -> Result<SanType> { Ok(SanType::DnsName(name.try_into()?)) };
    let many = (0..9)
        .map(|i| dns(&format!("h{i}.example")))
        .collect::<Result<Vec<_>>>()?;
    // The name that is called, the names it proves, what the client says, what is said at the start.
    type Row<'a> = (&'a str, Vec<SanType>, &'a [&'a str], Option<&'a [&'a str]>);
    let rows: [Row<'_>; 5] = [
        (
            "localhost",
            Vec::new(),
            &[
                "does not prove the name localhost, nor any other",
                "no subjectAltName",
                "common name `localhost` does not count",
                PEER,
                "DNS:localhost",
            ],
            Some(&[
                "it proves no name of a host: its common name `localhost` does not count",
                "subjectAltName = ",
            ]),
        ),
        (
            "127.0.0.1",
            vec![dns("127.0.0.1")?],
            &[
                "does not prove the address 127.0.0.1",
                "as a DNS name",
                PEER,
                "IP:127.0.0.1",
            ],
            Some(&["has the address 127.0.0.1 as a DNS name", "IP:127.0.0.1"]),
        ),
        (
            "127.0.0.1",
            vec![dns("localhost")?, dns("127.0.0.1")?],
            &["does not prove the address 127.0.0.1", "as a DNS name", "IP:127.0.0.1"],
            None,
        ),
        (
            "localhost",
            many,
            &[
                "does not prove the name localhost, but h0.example, h1.example, h2.example, h3.example and 5 more",
                "set `server_name`",
            ],
            None,
        ),
        (
            "localhost",
            vec![SanType::IpAddress([127, 0, 0, 1].into())],
            &[
                "does not prove the name localhost, but 127.0.0.1",
                "connect to a name it proves",
            ],
            None,
        ),
    ];
    for (host, names, refused, at_start) in rows {
        let made = site.made(For::Service, |params| params.subject_alt_names = names)?;
        let alice = ClientTls::new(site.made(For::Client, |_| {})?.with(&[])?, site.root.authorities()?)?;
        let told = of_service(&shown(&made, &[]), alice, host).await?;
        says(host, &told, refused);
        let built = ServerTls::new(made.with(&[])?, site.root.authorities()?);
        match at_start {
            Some(words) => says(host, &built.err().ok_or("nobody can call it")?.to_string(), words),
            None => drop(built?),
        }
    }
    Ok(())
}

/// An authority whose key is too weak; nobody can sign with it here, so what it signed says so only.
#[tokio::test]
async fn a_key_that_is_too_short_is_told_with_its_length() -> TestResult {
    let site = Site::new()?;
    let short = der::around(0x30, &[RSA, &der::around(3, &[&[0], &rsa(128)[..]].concat())].concat());
    let weak = edited(&site.root.der, &site.root, None, |parts| parts[PUBLIC_KEY] = short)?;
    // SHA-256 and RSA, with null parameters.
    let claimed = vec![0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0];
    let signed = changed(&site, For::Service, Some(claimed), |_| {})?;
    let alice = ClientTls::new(
        site.made(For::Client, |_| {})?.with(&[])?,
        Authorities::from_der(vec![weak])?,
    )?;
    let told = of_service(&signed, alice, "localhost").await?;
    says(
        "signed with a short key",
        &told,
        &["RSA key of 1024 bits", "2048", PEER],
    );
    let own = with_key(&site, For::Service, RSA, &rsa(128))?;
    let alice = ClientTls::new(site.made(For::Client, |_| {})?.with(&[])?, site.root.authorities()?)?;
    let told = of_service(&own, alice, "localhost").await?;
    says("a short key", &told, &["its key is RSA of 1024 bits", PEER, "2048"]);
    Ok(())
}

#[test]
fn a_private_key_that_cannot_be_used_is_told_by_its_kind() -> TestResult {
    type Key = (&'static str, &'static [u8], &'static [&'static str]);
    let site = Site::new()?;
    let by_any: [Key; 5] = [
        ("RSA, short", include_bytes!("keys/rsa1024.pem"), &["RSA of 1024 bits"]),
        ("Ed448", include_bytes!("keys/ed448.pem"), &["on the curve Ed448"]),
        ("PSS", include_bytes!("keys/rsa_pss.pem"), &["RSA for PSS only"]),
        (
            "secp256k1",
            include_bytes!("keys/secp256k1.pem"),
            &["on the curve secp256k1"],
        ),
        ("DSA", include_bytes!("keys/dsa.pem"), &["it is DSA"]),
    ];
    // aws-lc reads these.
    let by_ring: [Key; 3] = [
        (
            "explicit parameters",
            include_bytes!("keys/explicit.pem"),
            &["explicit parameters", "openssl pkey -in KEY -ec_param_enc named_curve"],
        ),
        (
            "explicit parameters, SEC1",
            include_bytes!("keys/explicit_sec1.pem"),
            &["explicit parameters", "named_curve"],
        ),
        ("P-521", include_bytes!("keys/p521.pem"), &["on the curve P-521"]),
    ];
    let mut rows: Vec<(Key, rustls::crypto::CryptoProvider)> = Vec::new();
    rows.extend(by_any.map(|key| (key, default_provider())));
    #[cfg(feature = "ring")]
    rows.extend(by_ring.map(|key| (key, rustls::crypto::ring::default_provider())));
    #[cfg(not(feature = "ring"))]
    let _ = by_ring;
    for ((what, key, words), provider) in rows {
        let made = site.made(For::Client, |_| {})?;
        let certificate = Certificate::from_der(vec![made.der.clone()], PrivateKeyDer::from_pem_slice(key)?)?;
        let builder = ClientTls::builder(certificate, site.root.authorities()?).crypto_provider(Arc::new(provider));
        let told = builder.build().err().ok_or(what)?.to_string();
        says(
            what,
            &told,
            &[
                "the private key in the data given by the program cannot be used: ",
                "P-256",
            ],
        );
        says(what, &told, words);
    }
    Ok(())
}

fn list(authority: &Authority, revoked: Option<SerialNumber>, next: i32) -> Result<Revocations> {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(next, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .into_iter()
            .map(|serial_number| RevokedCertParams {
                serial_number,
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(Revocations::from_der(vec![list.signed_by(&authority.issuer)?.into()])?)
}

#[tokio::test]
async fn what_revocation_lists_say_is_told_with_whose_they_are() -> TestResult {
    let site = Site::new()?;
    let serial = SerialNumber::from(4711);
    let other = Authority::root("Elsewhere")?;
    // An authority of the right name with another key, whose list nobody can take for this one's.
    let twin = Authority::root("Site CA")?;
    // Some list must be of use, or the settings are not built.
    let lists_of_other = list(&other, None, 2099)?;
    let trusted = Authorities::from_der(vec![site.root.der.clone(), other.der.clone()])?;
    let rows: [(&str, Revocations, &[&str]); 3] = [
        (
            "revoked",
            list(&site.root, Some(serial.clone()), 2099)?,
            &["has revoked it", PEER, "get a new one"],
        ),
        (
            "no list",
            lists_of_other.clone(),
            &[
                "no revocation list tells of it",
                "issued by `CN=Site CA`",
                "on this side, give a list of each authority",
            ],
        ),
        (
            "not its list",
            lists_of_other.and(&list(&twin, None, 2099)?),
            &["no revocation list tells of it", "on this side"],
        ),
    ];
    for (what, lists, words) in rows {
        let made = site.made(For::Service, |params| params.serial_number = Some(serial.clone()))?;
        let alice = ClientTls::builder(site.made(For::Client, |_| {})?.with(&[])?, trusted.clone());
        let told = of_service(&shown(&made, &[]), alice.revocations(lists).build()?, "localhost").await?;
        says(what, &told, words);
    }
    Ok(())
}

/// A peer says no more than an alert: what this side knows of its own certificate makes an advice of it.
#[tokio::test]
async fn who_is_refused_is_told_what_may_be_wrong_with_its_own_certificate() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let (site, other) = (Site::new()?, Authority::root("Elsewhere")?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("service.pem");
    let own = by(&site.sub, For::Service, |params| {
        params
            .subject_alt_names
            .push(SanType::DnsName("grid.example".try_into().expect("a name")));
    })?;
    let (chain, key) = diset_std::tls::throwaway::to_pem(&own.with(&[])?);
    std::fs::write(&file, chain + &key)?;
    let service = ServerTls::new(Certificate::from_pem_files(&file, &file)?, site.root.authorities()?)?;
    let running = run(answering().bind("127.0.0.1:0", service).await?);
    let connect = |authority: &Authority, client: &Made, address: String| -> Result<_> {
        let tls = ClientTls::new(client.with(&[])?, authority.authorities()?)?;
        Ok(Client::builder(PingPong, &address).tls(tls))
    };
    // The service, of a client that lacks the intermediate, and of one that calls it by another name.
    let alice = site.made(For::Client, |_| {})?;
    let rows: [(&Authority, String, &[&str]); 2] = [
        (
            &site.root,
            running.address.clone(),
            &[
                "it does not trust the authority of this side's certificate",
                "service.pem",
                "issued by `CN=Sub CA`",
                "append its certificate to file",
                "unknown_ca",
            ],
        ),
        (
            &site.sub,
            format!("127.0.0.1:{}", running.port()),
            &[
                "it refuses this side's certificate",
                "service.pem",
                "it proves localhost, grid.example",
                "bad_certificate",
            ],
        ),
    ];
    for (authority, address, words) in rows {
        assert!(connect(authority, &alice, address)?.connect().await.is_err());
        let line = lines.next().await;
        says("a service", &line, &["a TLS handshake failed", "the peer ended TLS: "]);
        says("a service", &line, words);
    }
    // A client, whose chain lacks an intermediate.
    let lonely = by(&site.sub, For::Client, |_| {})?;
    let stranger = other.client(|_| {})?;
    for (client, words) in [
        (
            &lonely,
            &[
                "it does not trust the authority of this side's certificate",
                "issued by `CN=Sub CA`",
                "append its certificate",
            ],
        ),
        (
            &stranger,
            &[
                "it does not trust the authority of this side's certificate",
                "issued by `CN=Elsewhere`",
                "ca.pem of the same authority?",
            ],
        ),
    ] {
        let ended = connect(&site.sub, client, running.address.clone())?.connect().await;
        says("a client", &ended.err().ok_or("it was let in")?.to_string(), words);
        lines.next().await;
    }
    running.stop().await;
    Ok(())
}

/// What an authority is must be read, too.
#[test]
fn an_authority_that_is_damaged_is_told_by_its_place() -> TestResult {
    let site = Site::new()?;
    let own = || site.made(For::Client, |_| {})?.with(&[]);
    let junk = Authorities::from_der(vec![site.root.der.clone(), vec![0x30, 3, 1, 2, 3].into()])?;
    let told = ClientTls::new(own()?, junk).err().ok_or("it is damaged")?.to_string();
    says(
        "authority",
        &told,
        &[
            "certificate authority 2 in the data",
            "cannot be used",
            "remove it or get it anew",
        ],
    );
    // Of a self-signed certificate that is no authority's it is enough that it is trusted.
    let device = Made::self_signed(&authority_params("device"))?;
    ClientTls::new(own()?, Authorities::from_der(vec![device.der])?)?;
    Ok(())
}
