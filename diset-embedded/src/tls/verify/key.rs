//! A server that is known by its key.

use core::fmt;

use embedded_tls::Sha256;
use p256::ecdsa::signature::digest::Digest;

use super::certificate::Parts;
use super::{Point, VerifyServer};
use crate::tls::error::CertificateError;

/// The server holds one of these keys, whatever else its certificate says: no names, no dates, no authorities. Needs
/// no clock, and the least flash.
///
/// A pin is the SHA-256 of the server's SubjectPublicKeyInfo, which on P-256 is the DER of its public key. To get it:
///
/// ```sh
/// openssl x509 -in server.pem -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256
/// ```
///
/// A new certificate for the same key needs no new pin. For a new key give both pins to the devices first, and let the
/// server use the new key when all have them: pin the next key from the beginning, and keep it offline.
#[derive(Clone, Copy)]
pub struct PinnedKey<'a> {
    pins: &'a [[u8; 32]],
    name: Option<&'a str>,
}

impl<'a> PinnedKey<'a> {
    /// One of these keys.
    pub const fn new(pins: &'a [[u8; 32]]) -> Self {
        Self { pins, name: None }
    }

    /// Calls the server by this name, for one that has several certificates. It is not compared with anything.
    #[must_use]
    pub const fn with_server_name(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }
}

impl VerifyServer for PinnedKey<'_> {
    fn server_name(&self) -> Option<&str> {
        self.name
    }

    fn verify<'c>(&self, certificate: &'c [u8]) -> Result<&'c Point, CertificateError> {
        let parts = Parts::of(certificate).ok_or(CertificateError::Malformed)?;
        let point = parts.point().ok_or(CertificateError::Algorithm)?;
        let pin: [u8; 32] = Sha256::digest(parts.key).into();
        if self.pins.contains(&pin) {
            Ok(point)
        } else {
            Err(CertificateError::Pin)
        }
    }
}

impl fmt::Debug for PinnedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedKey({} pins)", self.pins.len())
    }
}
