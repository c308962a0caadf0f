//! What can go wrong with TLS, and what to do about it.

use core::fmt;

use embedded_io::ErrorKind;

/// Why there is no channel, or why it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsError {
    /// The transport failed. Connect again.
    Io(ErrorKind),
    /// The transport ended without close_notify: in the handshake, or cut off later. Connect again.
    Ended,
    /// The peer ended the connection with this alert of RFC 8446, section 6; in a handshake anybody on the path can
    /// say so. 120: it does not speak `diset-1k/1`. 40 and 70: it does not do TLS 1.3 with AES-128-GCM and P-256. 42 to
    /// 46, 48, 49 and 116: it refuses the client's certificate. In TLS 1.3 it does so after the handshake, when the
    /// channel is open: [`TlsChannel::fault`](super::TlsChannel::fault) has it.
    Alert(u8),
    /// The peer sent what may not come at this point, or what is not TLS.
    Unexpected,
    /// A record of this many bytes does not fit the reading buffer. Let the service send shorter records, or make
    /// the buffer longer.
    RecordLength(u16),
    /// A record is not from the peer, or was changed on the way.
    Decrypt,
    /// The server chose what was not offered. It must do TLS 1.3 with AES-128-GCM and P-256.
    Unsupported,
    /// The server did not choose the application protocol [`ALPN`](super::ALPN).
    ApplicationProtocol,
    /// The server's certificate is not acceptable.
    Certificate(CertificateError),
    /// The server proved nothing: it showed no certificate, or did not sign.
    NotProven,
    /// The server's signature is wrong: it does not have the key of the certificate that it shows.
    Signature,
    /// The server did not ask for the client's certificate, as DISET demands.
    NotAsked,
    /// The client's key did not sign.
    Signing,
    /// The peer changed its keys, which embedded-tls cannot follow. Connect again; let the service send fewer records
    /// on one connection, or lower [`max_records`](super::TlsConfig::max_records).
    KeyUpdate,
    /// As many records have passed as may, [`max_records`](super::TlsConfig::max_records): connect again, earlier
    /// next time, by [`is_worn`](super::TlsChannel::is_worn).
    Worn,
    /// The channel was closed before.
    Closed,
    /// The buffers are lent to a channel that still exists. Drop it first.
    BuffersInUse,
    /// The reading buffer is shorter than 256 bytes.
    ReadBuffer,
    /// The writing buffer cannot hold the hello with the server's name, or the client's certificate: it must be 64
    /// bytes longer than the certificate, 256 longer than the name, and 384 at least.
    WriteBuffer,
    /// [`max_records`](super::TlsConfig::max_records) is below 64 or above 2^24.
    MaxRecords,
    /// embedded-tls has failed for a reason not listed here.
    Internal,
}

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CertificateError {
    /// There must be exactly one: no intermediate authorities.
    Count,
    /// It is not a certificate of X.509 version 3 in DER.
    Malformed,
    /// Its key is not of P-256, or it was not signed with ECDSA and SHA-256.
    Algorithm,
    /// None of the pinned authorities has signed it.
    Authority,
    /// A pinned authority is itself no certificate with a P-256 key; a mistake of the caller.
    Anchor,
    /// Its time has not come yet, or the clock is wrong.
    NotYetValid,
    /// Its time is over, or the clock is wrong.
    Expired,
    /// It is not for this DNS name.
    Name,
    /// It does not say that it is for servers: `extendedKeyUsage` without `serverAuth`.
    Purpose,
    /// Its `keyUsage` does not allow signatures.
    KeyUsage,
    /// It is the certificate of an authority.
    IsAuthority,
    /// It has a critical extension that is not understood here.
    CriticalExtension,
    /// Its key is not one of the pinned keys.
    Pin,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "the server must show one certificate, signed by a pinned authority",
            Self::Malformed => "not an X.509 v3 certificate",
            Self::Algorithm => "not ECDSA on P-256 with SHA-256",
            Self::Authority => "not signed by a pinned authority",
            Self::Anchor => "a pinned authority is not a P-256 certificate",
            Self::NotYetValid => "not valid yet; check the clock",
            Self::Expired => "expired; check the clock",
            Self::Name => "not for this DNS name",
            Self::Purpose => "not for servers (serverAuth)",
            Self::KeyUsage => "not for signatures (digitalSignature)",
            Self::IsAuthority => "of an authority",
            Self::CriticalExtension => "with an unknown critical extension",
            Self::Pin => "not a pinned key",
        })
    }
}

impl core::error::Error for CertificateError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io(kind) => return write!(f, "the transport failed: {kind:?}"),
            Self::Alert(code) => {
                return write!(
                    f,
                    "the peer ended the connection with TLS alert {code}{}",
                    meaning(*code)
                );
            }
            Self::RecordLength(length) => {
                return write!(f, "a TLS record of {length} bytes does not fit the reading buffer");
            }
            Self::Certificate(error) => return write!(f, "the server's certificate is refused: {error}"),
            Self::Ended => "the transport ended without close_notify",
            Self::Unexpected => "the peer sent what may not come here",
            Self::Decrypt => "a TLS record was changed on the way",
            Self::Unsupported => "the server must do TLS 1.3 with AES-128-GCM and P-256",
            Self::ApplicationProtocol => "the server does not speak diset-1k/1",
            Self::NotProven => "the server did not prove who it is",
            Self::Signature => "the server does not have the key of its certificate",
            Self::NotAsked => "the server did not ask for the client's certificate",
            Self::Signing => "the client's key did not sign",
            Self::KeyUpdate => "the peer changed its keys, which is not supported; connect again",
            Self::Worn => "the keys are used up; connect again",
            Self::Closed => "the channel was closed",
            Self::BuffersInUse => "the buffers are lent to a channel that still exists",
            Self::ReadBuffer => "the reading buffer is too short",
            Self::WriteBuffer => "the writing buffer is too short",
            Self::MaxRecords => "the record limit is below 64 or above 2^24",
            Self::Internal => "embedded-tls has failed",
        })
    }
}

/// What an alert says of the other side, where there is something to be done about it.
const fn meaning(alert: u8) -> &'static str {
    match alert {
        40 | 70 => ": it does not do TLS 1.3 with AES-128-GCM and P-256",
        42..=46 | 48 | 49 | 116 => ": it refuses the client's certificate",
        112 => ": it is not the server of this name",
        120 => ": it does not speak diset-1k/1",
        _ => "",
    }
}

impl core::error::Error for TlsError {}

impl embedded_io::Error for TlsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(kind) => *kind,
            Self::Ended => ErrorKind::ConnectionReset,
            Self::Alert(_) | Self::KeyUpdate | Self::Worn => ErrorKind::ConnectionAborted,
            Self::Unexpected | Self::RecordLength(_) | Self::Decrypt => ErrorKind::InvalidData,
            Self::Unsupported | Self::ApplicationProtocol | Self::NotAsked => ErrorKind::Unsupported,
            Self::Certificate(_) | Self::NotProven | Self::Signature => ErrorKind::PermissionDenied,
            Self::Closed => ErrorKind::NotConnected,
            Self::BuffersInUse => ErrorKind::AddrInUse,
            Self::ReadBuffer | Self::WriteBuffer | Self::MaxRecords => ErrorKind::InvalidInput,
            Self::Signing | Self::Internal => ErrorKind::Other,
        }
    }
}
