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
//!
//! # Clients that hold small records only
//!
//! The TLS of a microcontroller may hold no record of 16 KiB. Such a client offers [`ALPN_SMALL`] and never gets one longer than
//! [`SMALL_RECORD`], from a service that serves them: [`TlsBuilder::small_records`].
//!
//! # While it runs
//!
//! Certificates are renewed, authorities come and go, lists grow. The settings take them without a restart, on call ([`ServerTls::change`],
//! [`ServerTls::reload`]) or when files change ([`ServerTls::watch`]); a [`ClientTls`] does the same. What does not fit is refused and the
//! settings stay as they were. A service that looks at its files every 10 s, and ends the connections of clients that it would not let in
//! any more:
//!
//! ```no_run
//! use diset_std::tls::{ServerTls, TlsFiles};
//! # use diset_std::{Service, ServiceDef};
//!
//! # async fn serve<S: ServiceDef>(service: Service<S>) -> Result<(), Box<dyn std::error::Error>> {
//! let files = TlsFiles::new("host.pem", "host.key", "ca.pem").revocations("crl.pem");
//! let tls = ServerTls::from_files(&files)?;
//! let mut watch = tls.watch(files);
//! let bound = service.bind("[::]:9145", tls).await?;
//! let handle = bound.handle();
//! tokio::spawn(async move {
//!     while watch.changed().await.is_some() {
//!         handle.recheck_credentials().await;
//!     }
//! });
//! bound.run().await;
//! # Ok(())
//! # }
//! ```
//!
//! The same at SIGHUP, instead of the watch. Files may be slow, so they are read where that holds up no connection:
//!
//! ```no_run
//! # #[cfg(unix)]
//! # async fn at_hangup<S: diset_std::ServiceDef>(
//! #     tls: diset_std::tls::ServerTls,
//! #     files: diset_std::tls::TlsFiles,
//! #     handle: diset_std::ServiceHandle<S>,
//! # ) -> std::io::Result<()> {
//! use tokio::signal::unix::{SignalKind, signal};
//!
//! let mut hangups = signal(SignalKind::hangup())?;
//! while hangups.recv().await.is_some() {
//!     let (tls, files) = (tls.clone(), files.clone());
//!     match tokio::task::spawn_blocking(move || tls.reload(&files)).await? {
//!         Ok(change) => {
//!             let ended = handle.recheck_credentials().await;
//!             println!("new: {change}; {ended} connections ended for it");
//!         }
//!         Err(error) => eprintln!("everything stays as it was: {error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod alerts;
mod case;
mod config;
mod credentials;
mod distinguished;
mod error;
mod facts;
mod files;
mod material;
mod own;
mod pem;
mod provider;
mod revocation;
mod shared;
mod small;
#[cfg(all(feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
pub mod throwaway;
mod verifier;
mod words;

pub(crate) use alerts::alert_words;
pub(crate) use case::Role;
pub(crate) use config::{ClientSettings, ServerSettings};
pub use config::{ClientTls, ServerTls, TlsBuilder};
pub use credentials::{AlternativeName, CertificateCredentials, Credentials, Principal};
pub(crate) use credentials::{CredentialsError, not_after};
pub use error::{Origin, TlsError};
pub use files::{FileWatch, TlsFiles};
pub use material::{Authorities, Certificate};
pub use revocation::Revocations;
pub use shared::TlsChange;
pub(crate) use small::SMALL_FRAGMENT;
pub use small::{ALPN_SMALL, SMALL_RECORD};
pub(crate) use verifier::why_refused;

/// The application protocol name (ALPN) of the native dialect: both sides offer it and refuse a connection that did not agree on it.
pub const ALPN: &[u8] = b"diset/1";

#[cfg(all(test, feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests;
