//! The certificate of this side, before anybody sees it: whether its key belongs to it, what every peer would refuse, which is an error, and what
//! some may, or what does no good, which is a warning. The first certificate decides; what stands behind it may be there for peers of another kind.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::X509Certificate;

use super::case::{Case, Explained, Role, way};
use super::facts::{self, KeyKind};
use super::words::{KEYS, algorithm, explain};
use super::{Authorities, Certificate, TlsError};

/// Most bytes of a chain. A peer holds a handshake message of 32 KiB, and a ticket that brings a chain back is part of one.
const MAX_CHAIN: usize = 24 * 1024;

/// What a certificate of this side is judged by.
pub(super) struct Judged<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) role: Role,
    /// Peers ask for a name.
    pub(super) by_name: bool,
    pub(super) authorities: &'a Authorities,
    pub(super) provider: &'a Arc<CryptoProvider>,
    pub(super) now: UnixTime,
}

/// The certificate with its key, ready to be used.
pub(super) fn certified_key(
    certificate: &Certificate,
    role: Role,
    authorities: &Authorities,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let own = certificate.chain().first().and_then(facts::parse);
    let own = own.ok_or_else(|| unreadable(certificate, 1))?;
    if KeyKind::of(own.public_key()) == Some(KeyKind::ExplicitCurve) {
        return Err(TlsError::Unfit {
            origin: certificate.chain_origin().clone(),
            what: "its key is on a curve that is given by explicit parameters instead of its name".into(),
            todo: format!("make a new key ({KEYS}), without `ec_param_enc:explicit`, and have it signed"),
        });
    }
    let key = provider
        .key_provider
        .load_private_key(certificate.key().clone_key())
        .map_err(|_| TlsError::UnsupportedKey {
            origin: certificate.key_origin().clone(),
            reason: why_unsupported(certificate),
        })?;
    let certified = CertifiedKey::new(certificate.chain().to_vec(), key);
    match certified.keys_match() {
        // A key that cannot tell its public half (in hardware, say) is believed.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(mismatch(certificate, &certified)),
        // TLS cannot even hold it.
        Err(error) => Err(Case::of(certificate, role, authorities).map_or_else(
            || unreadable(certificate, 1),
            |case| unfit(certificate, explain(&error, &case)),
        )),
    }
}

fn unfit(certificate: &Certificate, fault: Explained) -> TlsError {
    TlsError::Unfit {
        origin: certificate.chain_origin().clone(),
        what: fault.what,
        todo: fault.todo,
    }
}

fn unreadable(certificate: &Certificate, number: usize) -> TlsError {
    TlsError::BadCertificate {
        origin: certificate.chain_origin().clone(),
        number,
        reason: "its DER is damaged, or of a form that is not allowed".into(),
    }
}

fn why_unsupported(certificate: &Certificate) -> String {
    match KeyKind::of_private(certificate.key()) {
        Some(KeyKind::ExplicitCurve) => String::from(
            "it is on a curve that is given by explicit parameters instead of its name (`openssl pkey -in KEY -ec_param_enc named_curve -out NEW` \
             writes it so)",
        ),
        Some(kind) => format!("it is {kind}, or damaged"),
        None => String::from("it is damaged, or not what its label says"),
    }
}

/// The key is not that of the first certificate.
fn mismatch(certificate: &Certificate, certified: &CertifiedKey) -> TlsError {
    let (chain, key) = (certificate.chain_origin().clone(), certificate.key_origin().clone());
    let public = certified.key.public_key();
    let belongs = |other: &X509Certificate<'_>| {
        public
            .as_ref()
            .is_some_and(|public| public.as_ref() == other.public_key().raw)
    };
    let found = certificate
        .chain()
        .iter()
        .position(|der| facts::parse(der).is_some_and(|other| belongs(&other)));
    match found {
        Some(place) => TlsError::OwnNotFirst {
            chain,
            key,
            number: place + 1,
        },
        None => TlsError::KeyMismatch { chain, key },
    }
}

impl Judged<'_> {
    /// Refuses what every peer would refuse; says what else is odd, a line each.
    pub(super) fn check(&self) -> Result<Vec<String>, TlsError> {
        let chain = self.read()?;
        let Some((_, own)) = chain.first() else {
            return Err(unreadable(self.certificate, 1));
        };
        self.check_dates(own)?;
        self.check_own(own)?;
        let mut odd = Vec::new();
        self.look_at_names(own, &mut odd);
        self.look_at_chain(&chain, &mut odd);
        self.look_at_path(&chain, &mut odd);
        Ok(odd)
    }

    fn read(&self) -> Result<Vec<(usize, X509Certificate<'_>)>, TlsError> {
        let all = self.certificate.chain();
        let bytes = all.iter().map(|der| der.len()).sum();
        if bytes > MAX_CHAIN {
            return Err(TlsError::ChainTooLong {
                origin: self.certificate.chain_origin().clone(),
                bytes,
                most: MAX_CHAIN,
            });
        }
        let read = |(number, der)| {
            Ok((
                number,
                facts::parse(der).ok_or_else(|| unreadable(self.certificate, number))?,
            ))
        };
        (1..).zip(all).map(read).collect()
    }

    fn check_dates(&self, own: &X509Certificate<'_>) -> Result<(), TlsError> {
        let (validity, now) = (own.validity(), self.now());
        let origin = self.certificate.chain_origin().clone();
        if now > validity.not_after.timestamp() {
            return Err(TlsError::Expired {
                origin,
                number: 1,
                not_after: validity.not_after.to_string(),
            });
        }
        if now < validity.not_before.timestamp() {
            return Err(TlsError::NotYetValid {
                origin,
                number: 1,
                not_before: validity.not_before.to_string(),
            });
        }
        Ok(())
    }

    /// What is wrong with the certificate itself, whoever signed it.
    fn check_own(&self, own: &X509Certificate<'_>) -> Result<(), TlsError> {
        let Some(case) = Case::of(self.certificate, self.role, self.authorities) else {
            return Ok(());
        };
        // It trusts itself here, so that nothing is asked of anybody else; nor has it signed itself when its authority has its name.
        match self.judge(self.certificate.chain().get(..1).unwrap_or_default(), &[]) {
            Ok(()) | Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {}
            Err(error) => return Err(unfit(self.certificate, explain(&error, &case))),
        }
        let signed = own.signature_algorithm.algorithm.to_id_string();
        if facts::is_broken_signature(&signed) {
            return Err(unfit(self.certificate, algorithm(Some(signed), &case)));
        }
        let nameless = |what, todo| unfit(self.certificate, Explained::holder(what, todo));
        if self.role == Role::Service && self.by_name && facts::host_names(own).is_empty() {
            let misplaced = facts::misplaced_addresses(own);
            if let Some(address) = misplaced.first() {
                return Err(nameless(
                    format!("it has the address {address} as a DNS name, where it proves nothing, and no other name"),
                    format!("get one with subjectAltName = IP:{address}"),
                ));
            }
            let common = facts::common_name(own).map(|common| format!(": its common name {common} does not count"));
            return Err(nameless(
                format!("it proves no name of a host{}", common.unwrap_or_default()),
                "get one with the names and addresses that clients connect to, as subjectAltName = DNS:host.example, IP:192.0.2.1".into(),
            ));
        }
        Ok(())
    }

    fn look_at_names(&self, own: &X509Certificate<'_>, odd: &mut Vec<String>) {
        let misplaced = facts::misplaced_addresses(own);
        if self.role == Role::Service && !misplaced.is_empty() {
            odd.push(format!(
                "the certificate in {} has addresses as DNS names, where they prove nothing: {}; write subjectAltName = IP:…",
                self.certificate.chain_origin(),
                facts::list(&misplaced)
            ));
        }
    }

    /// What stands behind the own certificate: out of date, of no use, or out of order.
    fn look_at_chain(&self, chain: &[(usize, X509Certificate<'_>)], odd: &mut Vec<String>) {
        let origin = self.certificate.chain_origin();
        let ders = self.certificate.chain();
        let way = way(chain, self.now());
        let on_way = |number: usize| way.iter().any(|(taken, _)| *taken == number);
        for (number, one) in chain.iter().skip(1) {
            let number = *number;
            let is_copy = |(other, der)| other < number && Some(der) == ders.get(number - 1);
            let named = format!("certificate {number} in {origin}, {},", facts::subject(one));
            let (subject, issuer) = (facts::subject(one), facts::name(one.issuer()));
            let ended = self.out_of_date(one);
            if (1..).zip(ders).any(is_copy) {
                odd.push(format!("{named} is there twice; take one out"));
            } else if !on_way(number) {
                let ended = ended.map(|ended| format!("{ended}, and ")).unwrap_or_default();
                odd.push(format!(
                    "{named} {ended}is not needed: nothing else in the chain was signed by it; take it out"
                ));
            } else if let Some(ended) = ended {
                let then = if facts::is_self_signed(one) {
                    String::from("peers that trust it do not look at it here; take it out")
                } else {
                    format!(
                        "peers that trust {subject} itself do not need it, all others refuse this {}; take it out, or get a new one from {issuer}",
                        self.role.name()
                    )
                };
                odd.push(format!("{named} {ended}: {then}"));
            }
        }
        if !way.iter().map(|(number, _)| number).is_sorted() {
            let order: Vec<_> = way.iter().map(|(number, _)| number.to_string()).collect();
            odd.push(format!(
                "the certificates in {origin} are not in order, each behind the one it has signed; peers of diset sort them, others may not; \
                 write them as {}",
                order.join(", ")
            ));
        }
    }

    /// Whether peers find a way up the chain, as far as it goes.
    fn look_at_path(&self, chain: &[(usize, X509Certificate<'_>)], odd: &mut Vec<String>) {
        let (Some(case), Some((top, above))) = (
            Case::of(self.certificate, self.role, self.authorities),
            way(chain, self.now()).last(),
        ) else {
            return;
        };
        let is_above = |authority: X509Certificate<'_>| authority.subject().as_raw() == above.issuer().as_raw();
        let mut anchors = self.authorities.certificates().to_vec();
        let is_known = anchors.iter().filter_map(facts::parse).any(is_above);
        if !is_known {
            // Peers may trust the last one, or what signed it: as far as can be seen it is the same.
            anchors.extend(self.certificate.chain().get(*top - 1).filter(|_| *top > 1).cloned());
        }
        let Err(error) = self.judge(&anchors, case.rest) else {
            return;
        };
        let origin = self.certificate.chain_origin();
        match error {
            // These have been named.
            Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. },
            ) => {}
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                let other = if is_known {
                    self.authorities.origin().to_string()
                } else {
                    "its chain".into()
                };
                odd.push(format!(
                    "the certificate in {origin}, or its chain, was not signed with the key of the authority of that name in {other}: peers that \
                     have that one refuse it; was the authority made anew?"
                ));
            }
            error => {
                let fault = explain(&error, &case);
                odd.push(format!(
                    "peers may refuse the certificate in {origin}: {}; {}",
                    fault.what, fault.todo
                ));
            }
        }
    }

    /// How it is out of date, if it is.
    fn out_of_date(&self, one: &X509Certificate<'_>) -> Option<String> {
        let (validity, now) = (one.validity(), self.now());
        if now > validity.not_after.timestamp() {
            return Some(format!("has ended on {}", validity.not_after));
        }
        (now < validity.not_before.timestamp()).then(|| format!("is valid only from {} on", validity.not_before))
    }

    fn now(&self) -> i64 {
        i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX)
    }

    /// As a peer would that trusts these. That it trusts others is no fault, nor that it would ask for another name.
    fn judge(
        &self,
        anchors: &[rustls::pki_types::CertificateDer<'static>],
        rest: &[rustls::pki_types::CertificateDer<'_>],
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.iter().cloned());
        let (roots, provider) = (Arc::new(roots), Arc::clone(self.provider));
        let Some(own) = self.certificate.chain().first() else {
            return Ok(());
        };
        let judged = match self.role {
            Role::Service => {
                let Ok(name) = ServerName::try_from("localhost") else {
                    return Ok(());
                };
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map(|verifier| verifier.verify_server_cert(own, rest, &name, &[], self.now).map(drop))
            }
            Role::Client => WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map(|verifier| verifier.verify_client_cert(own, rest, self.now).map(drop)),
        };
        match judged {
            Ok(Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. },
            )))
            // Without an anchor that can be used nothing is judged.
            | Err(_) => Ok(()),
            Ok(judged) => judged,
        }
    }
}
