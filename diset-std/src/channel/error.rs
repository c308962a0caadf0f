//! Why a channel ended, sorted by who must act, and what to do about it in words.

use core::fmt;

use rustls::{AlertDescription, CertificateError};

use crate::tls::CredentialsError;

/// Most bytes of a reason. What TLS says may repeat what the peer sent, whose certificate may be as long as a handshake message.
const MAX_REASON: usize = 300;

/// Why a channel can carry nothing (more). The end of the socket without an orderly end of the channel is not among these: the driver sees it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChannelError {
    /// The peer told us why it ended the connection, for instance that it refuses our certificate.
    #[error("the peer ended TLS: {}", alert_words(*.0))]
    PeerAlert(AlertDescription),
    /// The peer's certificate is not acceptable.
    #[error("the peer's certificate was refused: {}", Short(certificate_words(.0)))]
    CertificateRefused(CertificateError),
    /// The peer, a client, showed no certificate.
    #[error("the peer showed no certificate: each side must have one of its own, a client too")]
    NoCertificate,
    /// The peer's certificate is valid, but its names exceed our bounds.
    #[error("the peer was refused: {}", Short(.0))]
    CredentialsRefused(#[from] CredentialsError),
    /// The peer offered other application protocols, or none.
    #[error("the peer does not speak diset/1 (ALPN)")]
    NoAlpn,
    /// The peer's certificates were accepted once, in the session that was resumed or before the settings changed, and are not any more.
    #[error("the peer's certificates are not acceptable any more: {}", Short(tls_words(.0)))]
    NoLongerAccepted(rustls::Error),
    /// The two sides have no version, cipher or key exchange in common.
    #[error("the peer's TLS and ours do not fit together: {}", Short(.0))]
    Incompatible(rustls::Error),
    /// The peer broke TLS, or is not speaking TLS at all.
    #[error("the peer broke TLS: {}", Short(.0))]
    PeerMisbehaved(rustls::Error),
    /// A handshake message in more or longer parts than we hold for a peer.
    #[error("the peer's TLS handshake message is too long")]
    TooLong,
    /// Our own TLS failed: random numbers, the certificate resolver, exhausted keys.
    #[error("TLS failed on our side: {}", Short(.0))]
    Local(rustls::Error),
    /// Nothing can be sealed before the peer is proven.
    #[error("the TLS handshake is not complete")]
    NotEstablished,
    /// The peer has said how many records its TLS can carry, and they are used up.
    #[error("the TLS of the peer can carry no more records")]
    NoRecordsLeft,
    /// The channel was closed, or failed before.
    #[error("the TLS connection has ended")]
    Finished,
    /// The caller did not give the unconsumed bytes again.
    #[error("unconsumed bytes were not given again")]
    LostInput,
}

impl ChannelError {
    /// What the peer is told of its certificates when it can be told in a message: short (PROTOCOL E-2).
    pub(crate) const fn for_peer(&self) -> &'static str {
        use CertificateError as E;
        let Self::NoLongerAccepted(rustls::Error::InvalidCertificate(error)) = self else {
            return "the certificate is not acceptable any more";
        };
        match error {
            E::Revoked => "the certificate was revoked",
            E::Expired | E::ExpiredContext { .. } => "the certificate has ended",
            E::UnknownIssuer | E::BadSignature => "the certificate's authority is not trusted any more",
            E::UnknownRevocationStatus => "no revocation list tells of the certificate",
            E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
                "the revocation list for the certificate is out of date"
            }
            _ => "the certificate is not acceptable any more",
        }
    }

    /// Sorts what TLS says.
    pub(super) fn from_tls(error: rustls::Error) -> Self {
        use rustls::Error as Tls;
        match error {
            // Our offer found nothing in common with the peer's, or the peer says so.
            Tls::NoApplicationProtocol | Tls::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoAlpn,
            Tls::AlertReceived(alert) => Self::PeerAlert(alert),
            Tls::InvalidCertificate(reason) => Self::CertificateRefused(reason),
            Tls::NoCertificatesPresented => Self::NoCertificate,
            Tls::PeerIncompatible(_) => Self::Incompatible(error),
            Tls::InappropriateMessage { .. }
            | Tls::InappropriateHandshakeMessage { .. }
            | Tls::InvalidMessage(_)
            | Tls::UnsupportedNameType
            | Tls::DecryptError
            | Tls::PeerMisbehaved(_)
            | Tls::PeerSentOversizedRecord => Self::PeerMisbehaved(error),
            _ => Self::Local(error),
        }
    }
}

/// What is wrong with the certificate that the peer showed.
fn certificate_words(error: &CertificateError) -> String {
    use CertificateError as E;
    let words = match error {
        // A signature is wrong when another authority has the name of ours.
        E::UnknownIssuer | E::BadSignature => {
            "this side does not trust its authority; do both sides have the ca.pem of the same authority?"
        }
        E::Expired | E::ExpiredContext { .. } => "it has expired; renew it, or check the clock of this machine",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet; check the clocks of both machines",
        E::Revoked => "its authority has revoked it; the peer needs a new one",
        E::UnknownRevocationStatus => "no revocation list tells of it; give a list of each authority, or none at all",
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "the revocation list of this side has expired; fetch it anew"
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "it is not made for this side of a connection; a service needs one for server authentication, a client one for client authentication"
        }
        E::BadEncoding => "it cannot be read; the peer needs a new one",
        E::NotValidForNameContext { expected, presented } => {
            let name = expected.to_str();
            let proves = proven(presented);
            return format!(
                "it does not prove the name {name}, but {proves}; connect to a name it proves, or set `server_name`"
            );
        }
        E::NotValidForName => {
            "it does not prove the name that was connected to; connect to a name it proves, or set `server_name`"
        }
        // In the words of rustls both are a list of the bytes that the peer wrote.
        E::UnsupportedSignatureAlgorithmContext { .. } => "it is signed with an algorithm that is unknown here",
        E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed with an algorithm that does not fit the key of its authority"
        }
        other => return Short(other).to_string(),
    };
    words.to_owned()
}

/// The beginning of a text, however long it is: the rest is not even put together.
struct Short<T>(T);

impl<T: fmt::Display> fmt::Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = Rest(f, MAX_REASON);
        if fmt::Write::write_fmt(&mut rest, format_args!("{}", self.0)).is_err() && rest.1 == 0 {
            return f.write_str("…");
        }
        Ok(())
    }
}

/// Takes so many bytes more, then fails.
struct Rest<'a, 'f>(&'a mut fmt::Formatter<'f>, usize);

impl fmt::Write for Rest<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.1);
        self.0.write_str(text.get(..fits).unwrap_or_default())?;
        if fits < text.len() {
            self.1 = 0;
            return Err(fmt::Error);
        }
        self.1 -= fits;
        Ok(())
    }
}

/// The first names of a certificate. rustls gives each as `DnsName("localhost")`, escaped.
fn proven(names: &[String]) -> String {
    const MOST: usize = 4;
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let first: Vec<_> = names.iter().take(MOST).map(bare).collect();
    match names.len() {
        0 => String::from("none"),
        1..=MOST => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - MOST),
    }
}

/// What the peer said as it went.
fn alert_words(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let words = match alert {
        A::UnknownCA | A::DecryptError => {
            "it does not trust the authority of this side's certificate; do both sides have the ca.pem of the same authority?"
        }
        A::BadCertificate => {
            "it refuses this side's certificate, which may not prove the name that was connected to; its log says why"
        }
        A::UnsupportedCertificate => {
            "this side's certificate is not made for this side of a connection, or its kind of key is unknown to it"
        }
        A::CertificateRevoked => "this side's certificate has been revoked; get a new one",
        A::CertificateExpired => {
            "this side's certificate has expired, or is not valid yet; renew it, or check the clocks of both machines"
        }
        A::CertificateUnknown | A::AccessDenied => "it refuses this side's certificate; its log says why",
        A::CertificateRequired | A::NoCertificate => "this side showed no certificate, and it wants one",
        A::ProtocolVersion => "it does not speak TLS 1.3",
        A::HandshakeFailure | A::InsufficientSecurity => {
            "the two sides have no cipher or key exchange in common; was the cryptography of one of them changed?"
        }
        A::UnrecognisedName => "it does not know the name that was connected to",
        other => return format!("{other:?}"),
    };
    format!("{words} ({alert:?})")
}

/// As above when the error is one of a certificate.
fn tls_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_words(error),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_told_in_words_that_help() {
        use CertificateError as E;
        for (error, expected) in [
            (E::UnknownIssuer, "the same authority?"),
            (E::BadSignature, "the same authority?"),
            (E::Expired, "the clock"),
            (E::NotValidYet, "the clocks"),
            (E::NotValidForName, "`server_name`"),
            (E::Revoked, "a new one"),
            (E::InvalidPurpose, "client authentication"),
        ] {
            let told = ChannelError::from_tls(error.clone().into()).to_string();
            assert!(told.contains(expected), "{error:?}: {told}");
            assert!(!told.contains(&format!("{error:?}")), "in words: {told}");
            let resumed = ChannelError::NoLongerAccepted(error.into());
            assert!(resumed.to_string().contains(expected), "{resumed}");
            assert!(
                resumed.for_peer().len() <= diset_proto::limits::MAX_TEXT,
                "PROTOCOL E-2"
            );
        }
    }

    #[test]
    fn the_names_that_a_certificate_proves_are_told() {
        let proves = |count: usize| proven(&vec![String::from("DnsName(\"elsewhere\")"); count]);
        assert_eq!(proves(0), "none");
        assert_eq!(proves(2), "elsewhere, elsewhere");
        assert!(proves(9).ends_with("elsewhere and 5 more"));
    }

    #[test]
    fn a_reason_is_short_whatever_the_peer_wrote() {
        use CertificateError as E;
        let written = vec![0x55; 14_000];
        let unknown = E::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: written.clone(),
            supported_algorithms: Vec::new(),
        };
        let unfit = E::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: written.clone(),
            public_key_algorithm_id: written,
        };
        for error in [unknown, unfit] {
            let told = ChannelError::from_tls(error.clone().into()).to_string();
            assert!(told.contains("signed with an algorithm") && told.len() < 200, "{told}");
            let resumed = ChannelError::NoLongerAccepted(error.into()).to_string();
            assert!(resumed.contains("signed with an algorithm"), "{resumed}");
        }
        // Any other error, and names without end.
        let long = "ä".repeat(9_000);
        let names = E::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("localhost")
                .expect("a name")
                .to_owned(),
            presented: vec![format!("DnsName(\"{long}\")")],
        };
        for error in [rustls::Error::from(names), rustls::Error::General(long)] {
            let told = ChannelError::from_tls(error).to_string();
            assert!(told.ends_with("ä…") && told.len() < MAX_REASON + 100, "{told}");
        }
    }

    #[test]
    fn an_alert_is_told_in_words_that_help() {
        use AlertDescription as A;
        for (alert, expected) in [
            (A::UnknownCA, "the same authority?"),
            (A::DecryptError, "the same authority?"),
            (A::BadCertificate, "the name"),
            (A::CertificateRequired, "no certificate"),
            (A::CertificateExpired, "renew it"),
            (A::CertificateRevoked, "a new one"),
            (A::InternalError, "InternalError"),
        ] {
            let told = ChannelError::from_tls(rustls::Error::AlertReceived(alert)).to_string();
            assert!(told.contains(expected), "{alert:?}: {told}");
        }
    }
}
