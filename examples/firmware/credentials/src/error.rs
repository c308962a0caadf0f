//! What is wrong with a page, and what to do about it.

use core::fmt;

use crate::{Field, PAGE};

/// Why there are no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The page is empty.
    Empty,
    /// The page is of another version of this layout.
    Version(u8),
    /// The page was written in part, or has changed.
    Damaged,
    /// The field of this kind is not as it must be: unknown, too short or too long, out of order, or no text.
    Malformed(u8),
    /// The page is in order, but this image needs a field that is not in it.
    Missing(Field),
}

impl Error {
    const fn text(self) -> &'static str {
        match self {
            Self::Empty => "no credentials in flash",
            Self::Version(_) => "the credentials in flash are of another version",
            Self::Damaged => "the credentials in flash are damaged",
            Self::Malformed(_) => "a field of the credentials in flash is malformed",
            Self::Missing(field) => match field {
                Field::Identity => "the credentials in flash have no identity",
                Field::Certificate => "the credentials in flash have no certificate of the station",
                Field::Key => "the credentials in flash have no key of the station",
                Field::ServerName => "the credentials in flash have no name of the service",
                Field::Authority | Field::NextAuthority => "the credentials in flash have no authority of the service",
                Field::Pins => "the credentials in flash have no pin of the service",
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::Version(number) | Self::Malformed(number) => write!(f, " ({number})")?,
            _ => {}
        }
        f.write_str(": write them with `station_page`")
    }
}

impl core::error::Error for Error {}

/// The texts lie outside the flash.
#[cfg(feature = "defmt")]
impl defmt::Format for Error {
    fn format(&self, f: defmt::Formatter<'_>) {
        match *self {
            Self::Empty => defmt::write!(f, "no credentials in flash: write them with `station_page`"),
            Self::Version(version) => defmt::write!(
                f,
                "the credentials in flash are of version {=u8}: write them with `station_page`",
                version
            ),
            Self::Damaged => defmt::write!(
                f,
                "the credentials in flash are damaged: write them with `station_page`"
            ),
            Self::Malformed(kind) => defmt::write!(
                f,
                "field {=u8} of the credentials in flash is malformed: write them with `station_page`",
                kind
            ),
            Self::Missing(field) => defmt::write!(
                f,
                "the credentials in flash lack the field {}, which this image needs: write them with `station_page`",
                field
            ),
        }
    }
}

/// The credentials do not fit into the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to say")]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the credentials do not fit into {PAGE} bytes: shorten the certificates"
        )
    }
}

impl core::error::Error for TooLong {}
