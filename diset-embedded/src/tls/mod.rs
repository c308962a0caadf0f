//! TLS 1.3 over embedded-tls: a server that has proven who it is, or no channel.

mod buffers;
mod bytes;
mod channel;
mod error;
mod flight;
mod identity;
mod open;
mod port;
mod provider;
mod records;
mod suite;
mod verify;

pub use buffers::TlsBuffers;
pub use channel::TlsChannel;
pub use embedded_tls::{CryptoRng, CryptoRngCore};
pub use error::{CertificateError, TlsError};
pub use flight::ALPN;
pub use identity::{ClientKey, SecretKey, SigningFailed};
pub use open::{MAX_RECORDS, Tls, TlsConfig};
pub use verify::{PinnedAuthority, PinnedKey, Point, Validity, VerifyServer};
