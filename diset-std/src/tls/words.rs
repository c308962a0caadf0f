//! Why a chain of certificates is refused, for people: what is wrong and with which certificate, and what to do about it, on which side. The
//! judgement itself is rustls'; what a peer says of our certificate is in `alerts`.

use rustls::{CertRevocationListError, CertificateError, Error};
use webpki::Error as Path;
use x509_parser::prelude::X509Certificate;

use super::case::{Case, Explained, way};
use super::facts::{self, KeyKind};

/// What a TLS peer can verify, whatever its cryptography.
pub(super) const KEYS: &str = "P-256, P-384, Ed25519 or RSA with 2048 bits or more";

/// Why TLS refused it.
pub(super) fn explain(error: &Error, case: &Case<'_>) -> Explained {
    match error {
        Error::InvalidCertificate(error) => certificate(error, case),
        Error::InvalidCertRevocationList(error) => list(error),
        _ => unreadable(),
    }
}

fn unreadable() -> Explained {
    Explained::holder(
        "it cannot be read: its DER is damaged, or of a form that is not allowed",
        "get a new one",
    )
}

fn certificate(error: &CertificateError, case: &Case<'_>) -> Explained {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => untrusted(case),
        E::BadSignature => bad_signature(case),
        E::Expired => {
            let which = case.which(|one| one.validity().not_before > one.validity().not_after);
            Explained::holder(format!("{which} has expired, or ends before it begins"), "renew it")
        }
        E::ExpiredContext { time, not_after } => {
            let which = case.which(|one| one.validity().not_after.timestamp() == seconds(not_after.as_secs()));
            let (end, now) = (facts::time(not_after.as_secs()), facts::time(time.as_secs()));
            Explained::either(
                format!("{which} has expired: it ended on {end}, and here it is {now}"),
                "on the peer's side, renew it, or check the clock of this machine",
            )
        }
        E::NotValidYet => Explained::either("it is not valid yet", "check the clocks of both machines"),
        E::NotValidYetContext { time, not_before } => {
            let which = case.which(|one| one.validity().not_before.timestamp() == seconds(not_before.as_secs()));
            let (begin, now) = (facts::time(not_before.as_secs()), facts::time(time.as_secs()));
            Explained::either(
                format!("{which} is not valid yet, but from {begin} on, and here it is {now}"),
                "check the clocks of both machines",
            )
        }
        E::Revoked => {
            let above = if case.rest.is_empty() {
                ""
            } else {
                ", or an authority in its chain"
            };
            Explained::holder(format!("its authority has revoked it{above}"), "get a new one")
        }
        E::UnknownRevocationStatus => {
            let chain = case.chain();
            let issuers: Vec<_> = chain.iter().map(|(_, one)| facts::name(one.issuer())).collect();
            let issuers = facts::list(&issuers);
            Explained::judge(
                format!("no revocation list tells of it, which was issued by {issuers}"),
                "give a list of each authority, or none at all",
            )
        }
        E::ExpiredRevocationList => Explained::either("the revocation list of this side has expired", "fetch it anew"),
        E::ExpiredRevocationListContext { next_update, .. } => {
            let end = facts::time(next_update.as_secs());
            Explained::either(
                format!("the revocation list of this side, to be replaced by {end}, has expired"),
                "fetch it anew, or check the clock of this machine",
            )
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => purpose(case),
        E::NotValidForName => Explained::either(
            "it does not prove the name that was connected to",
            "connect to a name it proves, or set `server_name`",
        ),
        E::NotValidForNameContext { expected, presented } => name(&expected.to_str(), presented, case),
        E::UnhandledCriticalExtension => critical(case),
        #[allow(deprecated, reason = "other verifiers may still say so")]
        E::UnsupportedSignatureAlgorithm => algorithm(None, case),
        E::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id, ..
        } => algorithm(facts::algorithm_oid(signature_algorithm_id), case),
        E::UnsupportedSignatureAlgorithmForPublicKeyContext {
            public_key_algorithm_id,
            ..
        } => key(KeyKind::of_der(public_key_algorithm_id), case),
        E::Other(other) => match (*other.0).downcast_ref::<Path>() {
            Some(error) => path(error, case),
            None => unreadable(),
        },
        _ => unreadable(),
    }
}

fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// Nothing that this side trusts has signed it.
fn untrusted(case: &Case<'_>) -> Explained {
    const SAME: &str = "do both sides have the ca.pem of the same authority?";
    const WHAT: &str = "this side does not trust its authority";
    let origin = case.authorities.origin();
    let chain = case.chain();
    let Some((number, top)) = way(&chain, i64::MAX).last().copied() else {
        return Explained::either(WHAT, SAME);
    };
    let (subject, issuer) = (facts::subject(top), facts::name(top.issuer()));
    let is_known = !case.authorities_named(top.issuer()).is_empty();
    let (why, more) = match (is_known, facts::is_self_signed(top), number) {
        (true, ..) => (
            format!("it comes from another {issuer} than the one in {origin}"),
            String::from("The authority may have been made anew"),
        ),
        (_, true, 1) => (
            format!("it has signed itself, {subject}, and is not in {origin}"),
            String::from("To trust this one certificate, add it there"),
        ),
        (_, true, _) => (
            format!("its chain ends with {subject}, which is not in {origin}"),
            String::from("To trust that authority, add it there"),
        ),
        _ => (
            format!("it was issued by {issuer}, which is neither in {origin} nor in the chain that came with it"),
            format!(
                "If {issuer} is an intermediate authority, its certificate is missing in the chain on the peer's side"
            ),
        ),
    };
    Explained::either(format!("{WHAT}: {why}"), format!("{SAME} {more}"))
}

/// The authority has the name of one that is trusted, or its key cannot be used.
fn bad_signature(case: &Case<'_>) -> Explained {
    let chain = case.chain();
    if case.in_handshake {
        let kind = chain.first().and_then(|(_, own)| KeyKind::of(own.public_key()));
        return match kind {
            Some(KeyKind::Rsa(bits)) if bits < 2048 => weak("its key is", bits),
            _ => Explained::holder(
                "it has not signed the handshake with the key of its certificate",
                "give the certificate and the key that were issued together",
            ),
        };
    }
    let way = way(&chain, i64::MAX);
    let above = way
        .last()
        .map(|(_, top)| case.authorities_named(top.issuer()))
        .unwrap_or_default();
    for issuer in way.iter().skip(1).map(|(_, one)| one).chain(&above) {
        if let Some(KeyKind::Rsa(bits)) = KeyKind::of(issuer.public_key())
            && bits < 2048
        {
            return weak(
                &format!("it, or its chain, was signed by {} with", facts::subject(issuer)),
                bits,
            );
        }
    }
    untrusted(case)
}

fn weak(what: &str, bits: usize) -> Explained {
    Explained::holder(
        format!("{what} an RSA key of {bits} bits, and less than 2048 prove nothing"),
        format!("use a key of {KEYS}"),
    )
}

/// It is made for something else.
fn purpose(case: &Case<'_>) -> Explained {
    let (needed, written) = case.role.purpose();
    let role = case.role.name();
    let purposes = facts::parse(case.own)
        .map(|own| facts::purposes(&own))
        .unwrap_or_default();
    let purposes = facts::list(&purposes);
    Explained::holder(
        format!("it is not made for this side of a connection, but for {purposes}, and a {role} needs {needed}"),
        format!("get one with extendedKeyUsage = {written}"),
    )
}

/// The name that was asked for is not in it.
fn name(expected: &str, presented: &[String], case: &Case<'_>) -> Explained {
    let own = facts::parse(case.own);
    let is_address = expected.parse::<core::net::IpAddr>().is_ok();
    let (kind, written) = if is_address { ("address", "IP") } else { ("name", "DNS") };
    let names = own.as_ref().map(facts::host_names).unwrap_or_default();
    let what = format!("it does not prove the {kind} {}", bare(expected));
    if let Some(own) = &own {
        if is_address
            && facts::misplaced_addresses(own)
                .iter()
                .any(|address| address == expected)
        {
            let todo = format!("get one with subjectAltName = IP:{expected}");
            return Explained::holder(
                format!("{what}: it has it as a DNS name, and an address counts only as an IP address"),
                todo,
            );
        }
        if names.is_empty() {
            let common = facts::common_name(own);
            let common = common.map(|common| format!(", and its common name {common} does not count"));
            return Explained::holder(
                format!(
                    "{what}, nor any other: it has no subjectAltName{}",
                    common.unwrap_or_default()
                ),
                format!("get one with subjectAltName = {written}:{}", bare(expected)),
            );
        }
    }
    let proved = if names.is_empty() {
        facts::list(presented)
    } else {
        facts::list(&names)
    };
    Explained::either(
        format!("it does not prove the name {}, but {proved}", bare(expected)),
        "connect to a name it proves, or set `server_name`",
    )
}

/// As `facts::quoted`, without the quotes: names of hosts are plain.
fn bare(name: &str) -> String {
    facts::quoted(name).trim_matches('`').to_owned()
}

/// An extension that must be understood, and is not.
fn critical(case: &Case<'_>) -> Explained {
    let which = case.which(|one| !facts::unknown_critical(one).is_empty());
    let oids: Vec<_> = case
        .chain()
        .iter()
        .flat_map(|(_, one)| facts::unknown_critical(one))
        .collect();
    let oids = facts::list(&oids);
    Explained::holder(
        format!("{which} has a critical extension that TLS here cannot judge ({oids})"),
        "get one without it, or where it is not critical",
    )
}

/// It is signed in a way that is not taken.
pub(super) fn algorithm(oid: Option<String>, case: &Case<'_>) -> Explained {
    let Some(oid) = oid else {
        return Explained::holder(
            "it is signed with an algorithm that is unknown here",
            format!("use a key of {KEYS}"),
        );
    };
    let signed = |one: &X509Certificate<'_>| one.signature_algorithm.algorithm.to_id_string() == oid;
    let (which, name) = (case.which(signed), facts::signature_name(&oid));
    if facts::is_broken_signature(&oid) {
        return Explained::holder(
            format!("{which} is signed with {name}, which proves nothing any more"),
            "have it signed with SHA-256 or better",
        );
    }
    Explained::holder(
        format!("{which} is signed with {name}, which the TLS cryptography of this side does not know"),
        format!("have it signed with SHA-256 or better by a key of {KEYS}"),
    )
}

/// A key with which a signature cannot be verified.
fn key(kind: Option<KeyKind>, case: &Case<'_>) -> Explained {
    // The key of its own is known with its length.
    let own = facts::parse(case.own).filter(|_| case.in_handshake);
    let kind = own.and_then(|own| KeyKind::of(own.public_key())).or(kind);
    let kind = kind.map_or_else(|| String::from("of an unknown kind"), |kind| kind.to_string());
    let what = if case.in_handshake {
        format!("its key is {kind}, and the TLS cryptography of this side cannot verify what it signs")
    } else {
        format!(
            "it, or its chain, was signed with a key that is {kind}, and the TLS cryptography of this side cannot verify that"
        )
    };
    Explained::holder(
        what,
        format!("use a key of {KEYS}, on a curve that is given by its name"),
    )
}

/// What webpki finds on the way to an authority, and rustls does not name.
fn path(error: &Path, case: &Case<'_>) -> Explained {
    match error {
        Path::CaUsedAsEndEntity => {
            let other = case.chain().iter().any(|(number, one)| *number > 1 && !one.is_ca());
            let todo = if other {
                "put the own certificate first, then the intermediates"
            } else {
                "get one with basicConstraints = CA:FALSE"
            };
            Explained::holder(
                "it is the certificate of an authority (CA:TRUE), which nobody can show as its own",
                todo,
            )
        }
        Path::EndEntityUsedAsCa => Explained::holder(
            format!(
                "{}is no authority (it lacks basicConstraints = CA:TRUE), and has signed for others",
                issuer_of(case)
            ),
            "use one that was signed by an authority",
        ),
        Path::PathLenConstraintViolated => {
            let which = case.which(
                |one| matches!(one.basic_constraints(), Ok(Some(basic)) if basic.value.path_len_constraint.is_some()),
            );
            Explained::holder(
                format!("{which} allows fewer authorities below it than there are (pathlen of basicConstraints)"),
                "have the authority above sign one that allows them, or use a shorter chain",
            )
        }
        Path::NameConstraintViolation => {
            let which = case.which(|one| matches!(one.name_constraints(), Ok(Some(_))));
            let which = if which == "it" {
                String::from("an authority of this side")
            } else {
                which
            };
            let names = facts::parse(case.own)
                .map(|own| facts::host_names(&own))
                .unwrap_or_default();
            Explained::holder(
                format!(
                    "{which} may not sign for such names (its nameConstraints): {}",
                    facts::list(&names)
                ),
                "get one with names that it may sign for, or from another authority",
            )
        }
        Path::UnsupportedCertVersion => {
            let which = case.which(|one| one.version().0 != 2);
            Explained::holder(
                format!("{which} is not of version 3 of X.509, but older"),
                "get a new one with extensions (with openssl, `-extfile` or `-copy_extensions`), which makes it version 3",
            )
        }
        Path::UnsupportedCriticalExtension => critical(case),
        Path::EmptyEkuExtension => purpose(case),
        Path::SignatureAlgorithmMismatch => {
            Explained::holder("it names two different algorithms for its signature", "get a new one")
        }
        Path::MaximumPathDepthExceeded => Explained::holder(
            "there are more than six intermediates between it and an authority",
            "use a shorter chain",
        ),
        Path::MaximumPathBuildCallsExceeded
        | Path::MaximumSignatureChecksExceeded
        | Path::MaximumNameConstraintComparisonsExceeded => Explained::holder(
            "its chain takes too much work to verify",
            "leave out what does not belong to it",
        ),
        Path::MalformedDnsIdentifier | Path::MalformedNameConstraint | Path::InvalidNetworkMaskConstraint => {
            Explained::holder("a name in it, or in its chain, is malformed", "get a new one")
        }
        _ => unreadable(),
    }
}

/// Who has signed it, within its chain or among the authorities.
fn issuer_of(case: &Case<'_>) -> String {
    let chain = case.chain();
    let found = way(&chain, i64::MAX)
        .into_iter()
        .find(|(number, one)| *number > 1 && !one.is_ca());
    found.map_or_else(
        || String::from("a certificate of its chain "),
        |(number, one)| format!("certificate {number} of its chain, {}, ", facts::subject(one)),
    )
}

/// A list of this side that cannot be used for this chain.
fn list(error: &CertRevocationListError) -> Explained {
    use CertRevocationListError as E;
    let what = match error {
        E::BadSignature => "the revocation list of this side for its authority is not signed with that authority's key",
        E::IssuerInvalidForCrl => {
            "its authority may not sign revocation lists (its keyUsage lacks cRLSign), and there is one of it on this side"
        }
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the revocation list of this side for its authority is signed in a way that TLS here cannot verify"
        }
        _ => "the revocation list of this side for its authority cannot be used",
    };
    Explained::judge(what, "fetch the list anew from that authority")
}
