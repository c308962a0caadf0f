//! Who the server must be: the holder of a pinned key, or one whom a pinned authority has certified.

mod authority;
mod certificate;
pub(super) mod der;
mod key;
#[cfg(test)]
mod tests;

pub use authority::{PinnedAuthority, Validity};
pub use key::PinnedKey;

use super::error::CertificateError;

/// A public key on P-256: 4, then x and y.
pub type Point = [u8; 65];

/// Judges the certificate of a server. Its signature is checked with the key in it afterwards, by the caller.
///
/// [`PinnedAuthority`] and [`PinnedKey`] are there. A rule of your own wraps one of them, and refuses more.
pub trait VerifyServer {
    /// The DNS name that the hello calls the server by, if any; it travels unencrypted.
    fn server_name(&self) -> Option<&str>;

    /// The key of an acceptable certificate, which is part of it.
    ///
    /// # Errors
    /// What is wrong with it; the handshake ends.
    fn verify<'c>(&self, certificate: &'c [u8]) -> Result<&'c Point, CertificateError>;
}
