//! What the client is to the server: a certificate, and a key that signs.

use core::fmt;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};

/// Signs with the P-256 key of the client's certificate; in software with a [`SecretKey`], or in a chip that keeps
/// the key.
pub trait ClientKey {
    /// ECDSA over a SHA-256 digest: r and s, 32 bytes each, the highest first.
    ///
    /// # Errors
    /// The key did not sign; the handshake ends with [`TlsError::Signing`](super::TlsError::Signing).
    fn sign(&mut self, digest: &[u8; 32]) -> Result<[u8; 64], SigningFailed>;
}

/// The key did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by those who implement the trait")]
pub struct SigningFailed;

impl fmt::Display for SigningFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key did not sign")
    }
}

impl core::error::Error for SigningFailed {}

/// A P-256 key in memory. Signs as RFC 6979 says, without random numbers. Wiped when it is dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From its 32 bytes, the highest first; `None` for 0 and what is not below the order of the curve.
    pub fn from_bytes(scalar: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(scalar).ok().map(Self)
    }
}

impl ClientKey for SecretKey {
    fn sign(&mut self, digest: &[u8; 32]) -> Result<[u8; 64], SigningFailed> {
        let signature: Signature = self.0.sign_prehash(digest).map_err(|_| SigningFailed)?;
        Ok(signature.to_bytes().into())
    }
}

/// Never the key.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
