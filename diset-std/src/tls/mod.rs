//! Who this side is, whom it trusts, and who the peer proved to be: certificates, authorities and revocation lists, the TLS settings of a
//! service ([`ServerTls`]) and of a client ([`ClientTls`]), and the [`Credentials`] of a peer. What bytes do on a connection is in `channel`.
//!
//! diset speaks TLS 1.3 only, both sides show a certificate, and both agree on the application protocol [`ALPN`]. Nothing is sent as early data.
//!
//! ```no_run
//! use diset_std::tls::{Authorities, Certificate, ServerTls, TlsError};
//!
//! fn server() -> Result<ServerTls, TlsError> {
//!     let certificate = Certificate::from_pem_files("/etc/grid-security/hostcert.pem", "/etc/grid-security/hostkey.pem")?;
//!     let authorities = Authorities::from_pem_file("/etc/grid-security/ca.pem")?;
//!     ServerTls::new(certificate, authorities)
//! }
//! ```

mod config;
mod credentials;
mod distinguished;
mod error;
mod material;
mod provider;
#[cfg(all(feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
pub mod throwaway;

pub use config::{ClientTls, ServerTls, TlsBuilder};
pub(crate) use credentials::CredentialsError;
pub use credentials::{AlternativeName, CertificateCredentials, Credentials, Principal};
pub use error::{Origin, TlsError};
pub use material::{Authorities, Certificate, Revocations};

/// The application protocol name (ALPN) of the native dialect: both sides offer it and refuse a connection that did not agree on it.
pub const ALPN: &[u8] = b"diset/1";

#[cfg(all(test, feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests;
