//! What makes one station differ from another: its identity, its certificate and key, and whom it takes for the service.
//! They lie in a page of flash of their own, so one image serves all stations, and contains no secret.
//!
//! The page is written when a station is made ([`Credentials::write`], by the program `station_page` of the host) and
//! only read by the firmware ([`Credentials::read`]). Its layout, numbers with the lowest byte first:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `diset`, 0, 0, the version 1 |
//! | 2 | the length of all fields |
//! | … | the fields: kind (1 byte, see [`Field`]), length (2 bytes), content; each kind once at most, in rising order |
//! | 4 | CRC-32 (that of zip and Ethernet) of all before |
//!
//! What is behind it does not count.
#![no_std]
#![forbid(unsafe_code)]

mod check;
mod error;
mod layout;

use core::fmt;

pub use error::{Error, TooLong};

/// Bytes of the page.
pub const PAGE: usize = 4096;

/// What can be in the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "the layout has these and no others")]
pub enum Field {
    /// The identity of the station, 16 bytes.
    Identity = 1,
    /// Its certificate, in DER.
    Certificate = 2,
    /// The private key of this certificate: the scalar, 32 bytes, the highest first.
    Key = 3,
    /// The DNS name of the service, in UTF-8.
    ServerName = 4,
    /// The certificate of the authority that certifies the service, in DER.
    Authority = 5,
    /// That of the authority which is to take its place, in DER.
    NextAuthority = 6,
    /// SHA-256 of the SubjectPublicKeyInfo of each key that the service may have, 32 bytes each.
    Pins = 7,
}

/// The content of the page. Which of it is needed depends on the image, so what is not there is an error when it is
/// asked for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that its user fills in")]
pub struct Credentials<'a> {
    /// See [`Field::Identity`].
    pub identity: Option<&'a [u8; 16]>,
    /// See [`Field::Certificate`].
    pub certificate: Option<&'a [u8]>,
    /// See [`Field::Key`].
    pub key: Option<&'a [u8; 32]>,
    /// See [`Field::ServerName`].
    pub server_name: Option<&'a str>,
    /// See [`Field::Authority`].
    pub authority: Option<&'a [u8]>,
    /// See [`Field::NextAuthority`].
    pub next_authority: Option<&'a [u8]>,
    /// See [`Field::Pins`].
    pub pins: Option<&'a [[u8; 32]]>,
}

impl<'a> Credentials<'a> {
    /// The identity of the station.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn identity(&self) -> Result<&'a [u8; 16], Error> {
        self.identity.ok_or(Error::Missing(Field::Identity))
    }

    /// The certificate of the station, in DER.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn certificate(&self) -> Result<&'a [u8], Error> {
        self.certificate.ok_or(Error::Missing(Field::Certificate))
    }

    /// Its private key.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn key(&self) -> Result<&'a [u8; 32], Error> {
        self.key.ok_or(Error::Missing(Field::Key))
    }

    /// The name of the service.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn server_name(&self) -> Result<&'a str, Error> {
        self.server_name.ok_or(Error::Missing(Field::ServerName))
    }

    /// The authority of the service, and the next one; the same twice when there is no next one.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn authorities(&self) -> Result<[&'a [u8]; 2], Error> {
        let authority = self.authority.ok_or(Error::Missing(Field::Authority))?;
        Ok([authority, self.next_authority.unwrap_or(authority)])
    }

    /// The pins of the service, one at least.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn pins(&self) -> Result<&'a [[u8; 32]], Error> {
        self.pins.ok_or(Error::Missing(Field::Pins))
    }
}

/// Never the key.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("server_name", &self.server_name)
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}
