//! What people are told of a certificate: whose it is, who signed it, of what kind its key is, what it proves. All of it is short, and what
//! cannot be printed is escaped, whoever wrote it. Nothing is decided here.

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::asn1_rs::Oid;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::distinguished;

/// Most characters of a name that are told.
const MOST_OF_A_NAME: usize = 80;
/// Most names that are listed.
const MOST_NAMES: usize = 4;

/// A certificate that can be read; rustls reads some that this cannot, and the other way round.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// Whether its subject is this one; nothing else of it is read.
pub(super) fn is_named(der: &CertificateDer<'_>, name: &X509Name<'_>) -> bool {
    let subject = || {
        let (whole, _) = Element::read(der)?;
        // A version may stand before serial number, algorithm, issuer and dates.
        let signed = whole.elements().next()?;
        signed.elements().filter(|part| part.tag != 0xa0).nth(4)
    };
    let wanted = Element::read(name.as_raw());
    wanted.is_some_and(|(wanted, _)| subject().is_some_and(|subject| subject.content == wanted.content))
}

/// Whose certificate it is.
pub(super) fn subject(certificate: &X509Certificate<'_>) -> String {
    name(certificate.subject())
}

/// A name as one quoted piece.
pub(super) fn name(name: &X509Name<'_>) -> String {
    quoted(&distinguished::rfc4514(name))
}

/// The beginning of a text, escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut shown = String::from("`");
    for c in text.chars().take(MOST_OF_A_NAME) {
        if c.is_control() || is_misleading(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(MOST_OF_A_NAME).is_some() {
        shown.push('…');
    }
    shown + "`"
}

/// What cannot be seen, or changes how the text around it is shown.
const fn is_misleading(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '`')
}

/// The first few, and how many more.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let first: Vec<&str> = names.iter().take(MOST_NAMES).map(AsRef::as_ref).collect();
    match names.len() {
        0 => String::from("none"),
        1..=MOST_NAMES => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - MOST_NAMES),
    }
}

/// A time in seconds since 1970.
pub(super) fn time(seconds: u64) -> String {
    let read = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    read.map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}

/// Whether it is signed with the key it is for.
pub(super) fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// The names by which a service with this certificate can be called.
pub(super) fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let usable = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) => {
            let bare = text.strip_prefix("*.").unwrap_or(text);
            let read = ServerName::try_from(bare).ok()?;
            matches!(read, ServerName::DnsName(_)).then(|| (*text).to_owned())
        }
        GeneralName::IPAddress(_) => address(name),
        _ => None,
    };
    general_names(certificate).filter_map(usable).collect()
}

/// The addresses that stand in it as if they were DNS names, where they prove nothing.
pub(super) fn misplaced_addresses(certificate: &X509Certificate<'_>) -> Vec<String> {
    general_names(certificate)
        .filter_map(|name| match name {
            GeneralName::DNSName(text) => text.parse::<core::net::IpAddr>().ok(),
            _ => None,
        })
        .map(|address| address.to_string())
        .collect()
}

fn general_names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let lists = certificate
        .iter_extensions()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(list) => Some(&list.general_names),
            _ => None,
        });
    lists.flatten()
}

fn address(name: &GeneralName<'_>) -> Option<String> {
    match super::AlternativeName::read(name)? {
        super::AlternativeName::Ip(address) => Some(address.to_string()),
        _ => None,
    }
}

/// Its common name, which proves nothing.
pub(super) fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(quoted)
}

/// What a certificate may be used for, where it says so.
pub(super) fn purposes(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(usage)) = certificate.extended_key_usage() else {
        return Vec::new();
    };
    let usage = usage.value;
    let known = [
        (usage.any, "any purpose"),
        (usage.server_auth, "server authentication"),
        (usage.client_auth, "client authentication"),
        (usage.code_signing, "code signing"),
        (usage.email_protection, "mail"),
        (usage.time_stamping, "time stamping"),
        (usage.ocsp_signing, "OCSP"),
    ];
    let named = known
        .iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, name)| (*name).to_owned());
    named.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

/// The critical extensions that nobody here can judge.
pub(super) fn unknown_critical(certificate: &X509Certificate<'_>) -> Vec<String> {
    // Key usage, alternative names, basic constraints, name constraints, distribution points, extended key usage.
    const KNOWN: [&str; 6] = [
        "2.5.29.15",
        "2.5.29.17",
        "2.5.29.19",
        "2.5.29.30",
        "2.5.29.31",
        "2.5.29.37",
    ];
    let critical = certificate.iter_extensions().filter(|extension| extension.critical);
    let oids = critical.map(|extension| extension.oid.to_id_string());
    oids.filter(|oid| !KNOWN.contains(&oid.as_str())).collect()
}

/// Of what kind a key is, when that is why it is of no use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// RSA of so many bits.
    Rsa(usize),
    /// RSA that may sign with PSS only.
    RsaPss,
    /// On a curve.
    Curve(String),
    /// On a curve that is given by its parameters, not by its name.
    ExplicitCurve,
    /// Another one.
    Other(String),
}

impl KeyKind {
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let (outer, _) = Element::read(key.raw)?;
        let mut parts = outer.elements();
        match Self::of_der(parts.next()?.content)? {
            Self::Rsa(_) => {
                // A bit string; its first byte says how many bits of the last one are left over.
                let (_, public) = parts.next()?.content.split_first()?;
                Some(Self::Rsa(Element::read(public)?.0.elements().next()?.bits()))
            }
            kind => Some(kind),
        }
    }

    fn of_parts(oid: &str, curve: impl FnOnce() -> Option<String>) -> Self {
        match oid {
            "1.2.840.113549.1.1.1" => Self::Rsa(0),
            "1.2.840.113549.1.1.10" => Self::RsaPss,
            "1.2.840.10045.2.1" => curve().map_or(Self::ExplicitCurve, |curve| Self::Curve(curve_name(&curve))),
            "1.3.101.112" => Self::Curve("Ed25519".into()),
            "1.3.101.113" => Self::Curve("Ed448".into()),
            "1.2.840.10040.4.1" => Self::Other("DSA".into()),
            other => Self::Other(format!("the algorithm {other}")),
        }
    }

    /// Of the DER of an algorithm's identifier, without its outermost header.
    pub(super) fn of_der(content: &[u8]) -> Option<Self> {
        let (oid, parameters) = Element::read(content)?;
        let oid = oid.oid()?;
        Some(Self::of_parts(&oid, || Element::read(parameters)?.0.oid()))
    }

    /// Of a private key in any of the three forms.
    pub(super) fn of_private(key: &rustls::pki_types::PrivateKeyDer<'_>) -> Option<Self> {
        use rustls::pki_types::PrivateKeyDer as Key;
        let (outer, _) = Element::read(key.secret_der())?;
        let mut parts = outer.elements();
        let (version, second) = (parts.next()?, parts.next()?);
        if version.tag != Element::INTEGER {
            return None;
        }
        match key {
            Key::Pkcs1(_) => Some(Self::Rsa(second.bits())),
            // The curve stands behind the key, in a tag of its own.
            Key::Sec1(_) => {
                let curve = parts
                    .find(|part| part.tag == 0xa0)
                    .and_then(|part| part.elements().next());
                Some(
                    curve?
                        .oid()
                        .map_or(Self::ExplicitCurve, |curve| Self::Curve(curve_name(&curve))),
                )
            }
            Key::Pkcs8(_) => match Self::of_der(second.content)? {
                Self::Rsa(_) => {
                    let (inner, _) = Element::read(parts.next()?.content)?;
                    Some(Self::Rsa(inner.elements().nth(1)?.bits()))
                }
                kind => Some(kind),
            },
            _ => None,
        }
    }
}

impl core::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Rsa(0) => f.write_str("RSA"),
            Self::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            Self::RsaPss => f.write_str("RSA for PSS only (id-RSASSA-PSS)"),
            Self::Curve(curve) => write!(f, "on the curve {curve}"),
            Self::ExplicitCurve => f.write_str("on a curve that is given by explicit parameters instead of its name"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

fn curve_name(oid: &str) -> String {
    let known = match oid {
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.132.0.10" => "secp256k1",
        "1.3.132.0.33" => "P-224",
        other => return other.to_owned(),
    };
    known.to_owned()
}

/// With what a certificate is signed.
pub(super) fn signature_name(oid: &str) -> String {
    let known = match oid {
        "1.2.840.113549.1.1.4" => "MD5 and RSA",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "SHA-1 and RSA",
        "1.2.840.113549.1.1.11" => "SHA-256 and RSA",
        "1.2.840.113549.1.1.12" => "SHA-384 and RSA",
        "1.2.840.113549.1.1.13" => "SHA-512 and RSA",
        "1.2.840.113549.1.1.14" => "SHA-224 and RSA",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.10045.4.1" => "SHA-1 and ECDSA",
        "1.2.840.10045.4.3.1" => "SHA-224 and ECDSA",
        "1.2.840.10045.4.3.2" => "SHA-256 and ECDSA",
        "1.2.840.10045.4.3.3" => "SHA-384 and ECDSA",
        "1.2.840.10045.4.3.4" => "SHA-512 and ECDSA",
        "1.2.840.10040.4.3" => "SHA-1 and DSA",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        other => return format!("the algorithm {other}"),
    };
    known.to_owned()
}

/// Whether nobody takes such signatures any more.
pub(super) fn is_broken_signature(oid: &str) -> bool {
    ["MD5", "SHA-1 "]
        .iter()
        .any(|broken| signature_name(oid).starts_with(broken))
}

/// The algorithm in the DER of its identifier, without the outermost header.
pub(super) fn algorithm_oid(content: &[u8]) -> Option<String> {
    Element::read(content)?.0.oid()
}

/// One element of DER.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

impl<'a> Element<'a> {
    const INTEGER: u8 = 0x02;
    const OID: u8 = 0x06;

    /// The first one, and what follows it.
    fn read(input: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[tag, first], rest) = input.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (
                    digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)),
                    rest,
                )
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((Self { tag, content }, rest))
    }

    fn elements(&self) -> impl Iterator<Item = Self> + use<'a> {
        let mut rest = self.content;
        core::iter::from_fn(move || {
            let (element, behind) = Self::read(rest)?;
            rest = behind;
            Some(element)
        })
    }

    fn oid(&self) -> Option<String> {
        (self.tag == Self::OID).then(|| Oid::new(self.content.into()).to_id_string())
    }

    /// How long an integer is.
    fn bits(&self) -> usize {
        let digits = self
            .content
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(self.content.len());
        let digits = self.content.get(digits..).unwrap_or_default();
        digits
            .first()
            .map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
    }
}
