//! The cipher suite through which embedded-tls 0.19 is watched.
//!
//! embedded-tls takes the cipher as a type, and calls it between reading a record and looking at it. So this is the
//! place to keep from embedded-tls what it would panic on or not notice, and after the handshake the place where it
//! hands over its keys: from then on [`records`](super::records) does the work.
//!
//! A cipher has no way to know the state of the connection, but it sees the header of the record as
//! [`Port`](super::port::Port) has handed it to embedded-tls. The version in there, which means nothing in TLS 1.3 and
//! which the port has checked, is replaced by a [`Step`]. Towards the peer it is what it was.

use aes_gcm::aead::consts::{U12, U16, U54};
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::{self, AeadCore, AeadInPlace, Buffer, KeyInit, KeySizeUser};
use aes_gcm::{Aes128Gcm, Key, Nonce, Tag};
use embedded_tls::{Sha256, TlsCipherSuite};

use super::flight::{self, Objection};
use super::records::DATA;

/// What is written to have the writing keys handed over. embedded-tls writes no data of its own.
pub(super) const HAND_OVER: &[u8] = b"hand over";
/// A key and the nonce of record 0, which is the initialization vector.
pub(super) const KEYS: usize = 28;

/// What a record is to the handshake. Stands in place of the version in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The first encrypted one.
    First,
    /// One of those after it.
    Later,
    /// None at all: the reading keys are to be handed over.
    Keys,
}

impl Step {
    pub(super) const fn mark(self) -> [u8; 2] {
        match self {
            Self::First => [0xd1, 1],
            Self::Later => [0xd1, 2],
            Self::Keys => [0xd1, 3],
        }
    }

    fn of(mark: [u8; 2]) -> Option<Self> {
        [Self::First, Self::Later, Self::Keys]
            .into_iter()
            .find(|step| step.mark() == mark)
    }
}

/// TLS_AES_128_GCM_SHA256.
pub(super) struct Suite;

impl TlsCipherSuite for Suite {
    const CODE_POINT: u16 = 0x1301;
    type Cipher = Watched;
    type KeyLen = U16;
    type IvLen = U12;
    type Hash = Sha256;
    type LabelBufferSize = U54;
}

/// AES-128-GCM with eyes.
pub(super) struct Watched(Key<Aes128Gcm>);

impl Watched {
    fn cipher(&self) -> Aes128Gcm {
        Aes128Gcm::new(&self.0)
    }

    /// Leaves the keys in place of the content.
    fn hand_over(&self, nonce: &Nonce<U12>, buffer: &mut dyn Buffer) -> aead::Result<()> {
        buffer.truncate(0);
        buffer.extend_from_slice(&self.0)?;
        buffer.extend_from_slice(nonce)
    }
}

impl KeySizeUser for Watched {
    type KeySize = U16;
}

impl KeyInit for Watched {
    fn new(key: &GenericArray<u8, U16>) -> Self {
        Self(*key)
    }
}

impl AeadCore for Watched {
    type NonceSize = U12;
    type TagSize = U16;
    type CiphertextOverhead = aead::consts::U0;
}

impl AeadInPlace for Watched {
    fn encrypt_in_place(&self, nonce: &Nonce<U12>, header: &[u8], buffer: &mut dyn Buffer) -> aead::Result<()> {
        match buffer.as_ref().split_last() {
            Some((&DATA, HAND_OVER)) => self.hand_over(nonce, buffer),
            Some((&DATA, _)) | None => Err(aead::Error),
            Some(_) => self.cipher().encrypt_in_place(nonce, header, buffer),
        }
    }

    fn decrypt_in_place(&self, nonce: &Nonce<U12>, header: &[u8], buffer: &mut dyn Buffer) -> aead::Result<()> {
        let [kind, major, minor, high, low] = *header else {
            return Err(aead::Error);
        };
        let step = Step::of([major, minor]).ok_or(aead::Error)?;
        if step == Step::Keys {
            self.hand_over(nonce, buffer)?;
            return buffer.extend_from_slice(&[DATA]);
        }
        let header = [kind, 3, 3, high, low];
        self.cipher().decrypt_in_place(nonce, &header, buffer)?;
        let Err(objection) = flight::look(step == Step::First, buffer.as_ref()) else {
            return Ok(());
        };
        // What embedded-tls refuses in place of it, by errors that it has for nothing else (`meaning`).
        buffer.truncate(0);
        match objection {
            Objection::Unexpected => buffer.extend_from_slice(&[0xff]),
            Objection::Protocol => buffer.extend_from_slice(&[20]),
            Objection::Alert(code) => buffer.extend_from_slice(&flight::told(code)),
        }
    }

    fn encrypt_in_place_detached(&self, nonce: &Nonce<U12>, header: &[u8], buffer: &mut [u8]) -> aead::Result<Tag> {
        self.cipher().encrypt_in_place_detached(nonce, header, buffer)
    }

    fn decrypt_in_place_detached(
        &self,
        nonce: &Nonce<U12>,
        header: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> aead::Result<()> {
        self.cipher().decrypt_in_place_detached(nonce, header, buffer, tag)
    }
}

/// What embedded-tls means by its error in a handshake.
pub(super) const fn meaning(error: embedded_tls::TlsError) -> super::TlsError {
    use embedded_tls::TlsError as Error;
    match error {
        // `ContentType::of` knows no 255; 20 is a type that is not looked for in there.
        Error::InvalidRecord => super::TlsError::Unexpected,
        Error::Unimplemented => super::TlsError::ApplicationProtocol,
        Error::CryptoError => super::TlsError::Decrypt,
        // The server's Finished.
        Error::InvalidSignature => super::TlsError::Decrypt,
        Error::InvalidKeyShare | Error::InvalidCipherSuite => super::TlsError::Unsupported,
        Error::InsufficientSpace | Error::EncodeError => super::TlsError::WriteBuffer,
        Error::DecodeError | Error::ParseError(_) | Error::AbortHandshake(..) | Error::InvalidHandshake => {
            super::TlsError::Unexpected
        }
        Error::InvalidSignatureScheme => super::TlsError::Signature,
        _ => super::TlsError::Internal,
    }
}
