//! TLS of the station: how it proves who it is, and whom it takes for the service. All of it comes from the page of
//! credentials, random numbers and the date from the board.
#![no_std]

use board::random;
use credentials::{Credentials, Error, Field};
use diset_embedded::tls::{
    CertificateError, MAX_RECORDS, PinnedAuthority, PinnedKey, SecretKey, TlsBuffers, TlsConfig, TlsError, Validity,
    VerifyServer,
};
use embedded_io::{Error as _, ErrorKind};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use static_cell::ConstStaticCell;

/// The station itself: certificate, key and random numbers.
pub struct Device {
    certificate: &'static [u8],
    key: SecretKey,
    random: ChaCha20Rng,
}

impl Device {
    /// As the credentials have it.
    ///
    /// # Errors
    /// The credentials lack the certificate or the key, or the key is none.
    pub fn of(credentials: &Credentials<'static>) -> Result<Self, Error> {
        let mut seed = [0; 32];
        random(&mut seed);
        Ok(Self {
            certificate: credentials.certificate()?,
            key: SecretKey::from_bytes(credentials.key()?).ok_or(Error::Malformed(Field::Key as u8))?,
            random: ChaCha20Rng::from_seed(seed),
        })
    }

    /// For one handshake, with a server of which this verifier judges.
    pub fn handshake<'c>(&'c mut self, server: &'c dyn VerifyServer) -> TlsConfig<'c> {
        TlsConfig {
            server,
            certificate: self.certificate,
            key: &mut self.key,
            random: &mut self.random,
            max_records: MAX_RECORDS,
        }
    }
}

/// Whether who has answered is not the service: it has proven nothing, or does not speak as the service does. All else
/// may be the line; a date may be the clock of the board, or a renewal that was forgotten.
pub fn is_impostor(error: &TlsError) -> bool {
    let is_date = matches!(
        error,
        TlsError::Certificate(CertificateError::NotYetValid | CertificateError::Expired)
    );
    let kind = error.kind();
    !is_date
        && matches!(
            kind,
            ErrorKind::PermissionDenied | ErrorKind::InvalidData | ErrorKind::Unsupported
        )
}

/// Logs what was wrong with a channel, and what it means where somebody has to see to it.
pub fn log_fault(fault: Option<TlsError>) {
    match fault {
        Some(TlsError::Alert(code @ (42..=46 | 48 | 49 | 116))) => defmt::error!(
            "TLS alert {=u8}: the service refuses the certificate of this station; is it of the service's authority, and in date?",
            code
        ),
        Some(fault) => defmt::warn!("TLS: {}", fault),
        None => {}
    }
}

/// Whom the station takes for the service.
pub trait Trust: Sized {
    /// As the credentials have it.
    ///
    /// # Errors
    /// The credentials lack what it takes.
    fn of(credentials: &Credentials<'static>) -> Result<Self, Error>;

    /// Judges servers that show themselves now.
    fn verifier(&self) -> impl VerifyServer;
}

/// Whom one of these authorities has certified for this name, at the present date.
pub struct Authorities {
    authorities: [&'static [u8]; 2],
    name: &'static str,
}

impl Trust for Authorities {
    fn of(credentials: &Credentials<'static>) -> Result<Self, Error> {
        Ok(Self {
            authorities: credentials.authorities()?,
            name: credentials.server_name()?,
        })
    }

    fn verifier(&self) -> impl VerifyServer {
        // A board that does not know the date finds that no certificate is valid yet.
        let now = board::unix_time().unwrap_or(0);
        PinnedAuthority::new(&self.authorities, self.name, Validity::At(now))
    }
}

/// Who has one of these keys, whatever its certificate says.
pub struct Pins(&'static [[u8; 32]]);

impl Trust for Pins {
    fn of(credentials: &Credentials<'static>) -> Result<Self, Error> {
        credentials.pins().map(Self)
    }

    fn verifier(&self) -> impl VerifyServer {
        PinnedKey::new(self.0)
    }
}

/// Records as they pass, of one connection after the other.
static RECORDS: ConstStaticCell<TlsBuffers> = ConstStaticCell::new(TlsBuffers::new());

/// What mutual TLS to a service that `T` trusts is made of.
pub struct Secure<T> {
    /// The station itself.
    pub device: Device,
    /// Whom it takes for the service.
    pub trust: T,
    /// Lent to one connection after the other.
    pub records: &'static TlsBuffers,
}

impl<T: Trust> Secure<T> {
    /// As the credentials have it. Once: there is one pair of buffers.
    ///
    /// # Errors
    /// The credentials lack what it takes.
    pub fn of(credentials: &Credentials<'static>) -> Result<Self, Error> {
        Ok(Self {
            device: Device::of(credentials)?,
            trust: T::of(credentials)?,
            records: RECORDS.take(),
        })
    }
}
