//! Why a channel ended, sorted by who must act.

use rustls::{AlertDescription, CertificateError};

use crate::tls::CredentialsError;

/// Why a channel can carry nothing (more). The end of the socket without an orderly end of the channel is not among these: the driver sees it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChannelError {
    /// The peer told us why it ended the connection, for instance that it refuses our certificate.
    #[error("the peer ended TLS: {0:?}")]
    PeerAlert(AlertDescription),
    /// The peer's certificate is not acceptable.
    #[error("the peer's certificate was refused: {0}")]
    CertificateRefused(CertificateError),
    /// The peer, a client, showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The peer's certificate is valid, but its names exceed our bounds.
    #[error("the peer was refused: {0}")]
    CredentialsRefused(#[from] CredentialsError),
    /// The peer offered other application protocols, or none.
    #[error("the peer does not speak diset/1 (ALPN)")]
    NoAlpn,
    /// A session was resumed whose certificates are not acceptable any more.
    #[error("the certificates of the resumed TLS session are not acceptable any more: {0}")]
    ResumedChainRefused(rustls::Error),
    /// The two sides have no version, cipher or key exchange in common.
    #[error("the peer's TLS and ours do not fit together: {0}")]
    Incompatible(rustls::Error),
    /// The peer broke TLS, or is not speaking TLS at all.
    #[error("the peer broke TLS: {0}")]
    PeerMisbehaved(rustls::Error),
    /// A handshake message in more or longer parts than we hold for a peer.
    #[error("the peer's TLS handshake message is too long")]
    TooLong,
    /// Our own TLS failed: random numbers, the certificate resolver, exhausted keys.
    #[error("TLS failed on our side: {0}")]
    Local(rustls::Error),
    /// Nothing can be sealed before the peer is proven.
    #[error("the TLS handshake is not complete")]
    NotEstablished,
    /// The channel was closed, or failed before.
    #[error("the TLS connection has ended")]
    Finished,
    /// The caller did not give the unconsumed bytes again.
    #[error("unconsumed bytes were not given again")]
    LostInput,
}

impl ChannelError {
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
