//! Why a channel ended, sorted by who must act, and what to do about it in words.

use core::fmt;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use crate::tls::why_refused;

/// Most bytes of a reason. What TLS says may repeat what the peer sent, whose certificate may be as long as a handshake message.
const MAX_REASON: usize = 600;

/// Why a channel can carry nothing (more). The end of the socket without an orderly end of the channel is not among these: the driver sees it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChannelError {
    /// The peer told us why it ended the connection, for instance that it refuses our certificate.
    #[error("the peer ended TLS: {}", Short(.1))]
    PeerAlert(AlertDescription, String),
    /// The peer's certificate is not acceptable, in these words.
    #[error("the peer's certificate was refused: {}", Short(.1))]
    CertificateRefused(CertificateError, String),
    /// A revocation list of this side is of no use for the peer's certificate, in these words.
    #[error("the peer's certificate cannot be judged: {}", Short(.0))]
    NotJudged(String),
    /// The peer, a client, showed no certificate.
    #[error("the peer showed no certificate: each side must have one of its own, a client too")]
    NoCertificate,
    /// The peer offered other application protocols, or none.
    #[error("the peer does not speak diset/1 (ALPN); is it a diset peer, and the address that of a diset service?")]
    NoAlpn,
    /// The peer's certificates were accepted once, in the session that was resumed or before the settings changed, and are not any more.
    #[error("the peer's certificates are not acceptable any more: {}", Short(.1))]
    NoLongerAccepted(rustls::Error, String),
    /// The two sides have no version, cipher or key exchange in common.
    #[error("the peer's TLS and ours do not fit together: {}", incompatible(.0))]
    Incompatible(rustls::Error),
    /// The peer broke TLS, or is not speaking TLS at all.
    #[error("the peer broke TLS: {}", broken(.0))]
    PeerMisbehaved(rustls::Error),
    /// A handshake message in more or longer parts than we hold for a peer.
    #[error(
        "the peer's TLS handshake message is too long: its chain of certificates, as a rule; on the peer's side, leave out what it does not need"
    )]
    TooLong,
    /// Our own TLS failed: random numbers, the certificate resolver, exhausted keys.
    #[error("TLS failed on our side: {}", Short(local(.0)))]
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
        let Self::NoLongerAccepted(rustls::Error::InvalidCertificate(error), _) = self else {
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

    /// Sorts what TLS says; `words` explains an alert of the peer. What was refused has been explained by the verifier, on this thread.
    pub(super) fn from_tls(error: rustls::Error, words: impl FnOnce(AlertDescription) -> String) -> Self {
        use rustls::Error as Tls;
        match error {
            // Our offer found nothing in common with the peer's, or the peer says so.
            Tls::NoApplicationProtocol | Tls::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoAlpn,
            Tls::AlertReceived(alert) => Self::PeerAlert(alert, words(alert)),
            Tls::InvalidCertificate(reason) => Self::CertificateRefused(reason, refusal()),
            Tls::InvalidCertRevocationList(_) => Self::NotJudged(refusal()),
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

    /// What was accepted once is not any more.
    pub(super) fn no_longer_accepted(error: rustls::Error) -> Self {
        Self::NoLongerAccepted(error, refusal())
    }
}

/// What the verifier has said.
fn refusal() -> String {
    why_refused().unwrap_or_else(|| String::from("it cannot be verified"))
}

/// What the two sides do not have in common.
fn incompatible(error: &rustls::Error) -> &'static str {
    use PeerIncompatible as P;
    let rustls::Error::PeerIncompatible(error) = error else {
        return "they have too little in common";
    };
    match error {
        P::NoCipherSuitesInCommon => "they have no cipher in common; was the cryptography of one of them changed?",
        P::NoKxGroupsInCommon | P::KeyShareExtensionRequired | P::NamedGroupsExtensionRequired => {
            "they have no key exchange in common; was the cryptography of one of them changed?"
        }
        P::NoSignatureSchemesInCommon
        | P::NoCertificateRequestSignatureSchemesInCommon
        | P::SignatureAlgorithmsExtensionRequired => {
            "the peer cannot verify signatures of the kind of key that this side's certificate has; get a certificate for a key of P-256"
        }
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled => "the peer does not speak TLS 1.3; is it a diset peer?",
        _ => "they have too little in common; is it a diset peer?",
    }
}

/// How the peer broke TLS.
fn broken(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            String::from(
                "what it says is not TLS; is it a diset peer that uses TLS, and the address that of a diset service?",
            )
        }
        Tls::InvalidMessage(
            InvalidMessage::MessageTooLarge
            | InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::CertificatePayloadTooLarge,
        ) => String::from("a message of its handshake is too long: its chain of certificates, as a rule"),
        Tls::InvalidMessage(_) => String::from("what it says is no TLS, or damaged; is it a diset peer that uses TLS?"),
        Tls::InappropriateMessage { .. } | Tls::InappropriateHandshakeMessage { .. } => {
            String::from("it said something that has no place there; is it a diset peer, and does it use TLS 1.3?")
        }
        Tls::DecryptError => String::from("what it sent cannot be decrypted; something in between changes the bytes"),
        Tls::PeerSentOversizedRecord => String::from("it sent a record longer than TLS allows"),
        Tls::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => String::from(
            "it signed the handshake in a way that this side cannot verify; it needs a certificate for a key of another kind",
        ),
        Tls::PeerMisbehaved(_) => String::from(
            "it does not keep to the rules of its handshake; is it a diset peer, and nothing else in between?",
        ),
        _ => String::from("it does not keep to its rules"),
    }
}

/// What this side lacks.
fn local(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    let words = match error {
        Tls::FailedToGetCurrentTime => "the time of this machine cannot be told; set its clock",
        Tls::FailedToGetRandomBytes => "the system gives no random numbers",
        Tls::EncryptError => "nothing more can be encrypted on this connection",
        Tls::HandshakeNotComplete => "the handshake is not complete",
        Tls::BadMaxFragmentSize => "the size of a record that was set is not possible",
        Tls::General(why) => return why.clone(),
        Tls::Other(why) => return why.0.to_string(),
        _ => "its settings do not fit together",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_whatever_the_peer_wrote() {
        let long = "ä".repeat(9_000);
        for error in [
            ChannelError::CertificateRefused(CertificateError::UnknownIssuer, long.clone()),
            ChannelError::Local(rustls::Error::General(long)),
        ] {
            let told = error.to_string();
            assert!(told.ends_with("ä…") && told.len() < MAX_REASON + 100, "{told}");
        }
    }

    #[test]
    fn a_peer_is_told_in_few_words_why_its_certificate_will_not_do_any_more() {
        use CertificateError as E;
        for error in [
            E::UnknownIssuer,
            E::Expired,
            E::Revoked,
            E::UnknownRevocationStatus,
            E::InvalidPurpose,
        ] {
            let told = ChannelError::NoLongerAccepted(error.into(), String::new());
            assert!(told.for_peer().len() <= diset_proto::limits::MAX_TEXT, "PROTOCOL E-2");
        }
    }

    /// Whatever rustls may say: the words are ours.
    #[test]
    fn no_reason_is_the_name_of_something_in_a_library() {
        use PeerIncompatible as P;
        for error in [
            rustls::Error::PeerIncompatible(P::NoCipherSuitesInCommon),
            rustls::Error::PeerIncompatible(P::NoSignatureSchemesInCommon),
            rustls::Error::PeerIncompatible(P::Tls12NotOffered),
            rustls::Error::PeerIncompatible(P::NullCompressionRequired),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
            rustls::Error::InvalidMessage(InvalidMessage::MissingKeyExchange),
            rustls::Error::PeerMisbehaved(PeerMisbehaved::TooManyKeyUpdateRequests),
            rustls::Error::DecryptError,
            rustls::Error::PeerSentOversizedRecord,
            rustls::Error::FailedToGetRandomBytes,
            rustls::Error::InvalidCertRevocationList(rustls::CertRevocationListError::BadSignature),
            rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch),
        ] {
            let shown = format!("{error:?}");
            let inner = shown.split(['(', ')']).nth(1).unwrap_or(&shown).to_owned();
            let told = ChannelError::from_tls(error, |_| String::new()).to_string();
            assert!(!told.contains(&inner) && told.len() > 20, "{told}");
        }
    }
}
