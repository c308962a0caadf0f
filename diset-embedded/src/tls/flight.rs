//! What a server may say in a handshake, looked at before embedded-tls does.
//!
//! embedded-tls 0.19 does not look at the lengths of messages, takes them in any order and any number, and throws away
//! what the server chose. Here each message must be as long as it says, or the two readings could differ.

use super::bytes::Bytes;
use super::error::TlsError;
use super::records::ALERT;

/// The application protocol of clients that cannot hold records above 1 KiB (PROTOCOL X-2).
pub const ALPN: &[u8] = b"diset-1k/1";

/// Inner content type: handshake messages.
pub(super) const HANDSHAKE: u8 = 22;

const SERVER_HELLO: u8 = 2;
const NEW_SESSION_TICKET: u8 = 4;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;

/// A scheme of signatures that embedded-tls knows.
const ECDSA_P256_SHA256: u16 = 0x0403;

const EXTENSION_ALPN: u16 = 16;
const EXTENSION_VERSIONS: u16 = 43;
const EXTENSION_KEY_SHARE: u16 = 51;

/// `random` of a server that asks for another hello: SHA-256 of "HelloRetryRequest".
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Why a record of the handshake is not handed to embedded-tls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objection {
    /// Not what may come here.
    Unexpected,
    /// [`ALPN`] was not chosen.
    Protocol,
    /// The server ends the handshake with this alert.
    Alert(u8),
}

/// Content and type of a decrypted record, without its padding; `None` when there is no type.
pub(super) fn unpad(plaintext: &[u8]) -> Option<(&[u8], u8)> {
    let end = plaintext.iter().rposition(|byte| *byte != 0)?;
    let (kind, content) = plaintext.get(..=end)?.split_last()?;
    Some((content, *kind))
}

/// A message with its length.
fn message<'a>(bytes: &mut Bytes<'a>) -> Option<(u8, &'a [u8])> {
    Some((bytes.u8()?, bytes.long()?))
}

/// The one message of a plaintext record: the server's hello, which must have chosen what was offered.
pub(super) fn server_hello(record: &[u8]) -> Result<(), TlsError> {
    let mut bytes = Bytes::new(record);
    match message(&mut bytes) {
        Some((SERVER_HELLO, body)) if bytes.is_empty() => chosen(body).unwrap_or(Err(TlsError::Unexpected)),
        _ => Err(TlsError::Unexpected),
    }
}

fn chosen(body: &[u8]) -> Option<Result<(), TlsError>> {
    let mut bytes = Bytes::new(body);
    let version = bytes.u16()?;
    let random = bytes.take(32)?;
    let session = bytes.short()?;
    let suite_and_compression = bytes.take(3)?;
    let mut extensions = Bytes::new(bytes.medium()?);
    if random == RETRY || version != 0x0303 || !session.is_empty() || suite_and_compression != [0x13, 0x01, 0] {
        return Some(Err(TlsError::Unsupported));
    }
    let (mut versions, mut share) = (None, None);
    while !extensions.is_empty() {
        let place = match extensions.u16()? {
            EXTENSION_VERSIONS => &mut versions,
            EXTENSION_KEY_SHARE => &mut share,
            _ => return None,
        };
        if place.replace(extensions.medium()?).is_some() {
            return None;
        }
    }
    let is_p256 = share.is_some_and(|share| share.len() == 69 && share.starts_with(&[0, 0x17, 0, 65, 4]));
    Some(if versions == Some(&[3, 4]) && is_p256 && bytes.is_empty() {
        Ok(())
    } else {
        Err(TlsError::Unsupported)
    })
}

/// A decrypted record of the server's flight: handshake messages in order. The `first` begins with the extensions,
/// which are not seen again.
pub(super) fn look(first: bool, plaintext: &[u8]) -> Result<(), Objection> {
    let content = match unpad(plaintext) {
        Some((content, HANDSHAKE)) => content,
        Some(([_, code], ALERT)) => return Err(Objection::Alert(*code)),
        _ => return Err(Objection::Unexpected),
    };
    let mut bytes = Bytes::new(content);
    let mut next = u8::from(!first);
    while !bytes.is_empty() {
        let (kind, body) = message(&mut bytes).ok_or(Objection::Unexpected)?;
        let place = match kind {
            ENCRYPTED_EXTENSIONS => 0,
            CERTIFICATE_REQUEST => 1,
            CERTIFICATE => 2,
            CERTIFICATE_VERIFY => 3,
            FINISHED => 4,
            _ => return Err(Objection::Unexpected),
        };
        if place < next || (first && next == 0 && place != 0) || whole(kind, body) != Some(true) {
            return Err(Objection::Unexpected);
        }
        if kind == ENCRYPTED_EXTENSIONS && chosen_protocol(body) != Some(ALPN) {
            return Err(Objection::Protocol);
        }
        next = place.saturating_add(1);
    }
    // An empty record is no handshake message.
    if content.is_empty() {
        Err(Objection::Unexpected)
    } else {
        Ok(())
    }
}

/// Whether the parts of the message fill it, as embedded-tls goes by the parts.
fn whole(kind: u8, body: &[u8]) -> Option<bool> {
    let mut bytes = Bytes::new(body);
    match kind {
        ENCRYPTED_EXTENSIONS => {
            bytes.medium()?;
        }
        CERTIFICATE_REQUEST => {
            bytes.short()?;
            bytes.medium()?;
        }
        CERTIFICATE => {
            bytes.short()?;
            bytes.long()?;
        }
        CERTIFICATE_VERIFY => {
            bytes.u16()?;
            // No signature is as short, so an alert can be told in its place (`told`).
            return Some(bytes.medium()?.len() > 1 && bytes.is_empty());
        }
        FINISHED => {
            bytes.take(32)?;
        }
        _ => return None,
    }
    Some(bytes.is_empty())
}

/// What embedded-tls is shown of an alert, whose code it has no way to hand on: a record with a CertificateVerify, the
/// signature of which is the code. [`look`] lets no such thing of a server pass, and [`alert_in`] finds it.
pub(super) const fn told(code: u8) -> [u8; 10] {
    let [high, low] = ECDSA_P256_SHA256.to_be_bytes();
    [CERTIFICATE_VERIFY, 0, 0, 5, high, low, 0, 1, code, HANDSHAKE]
}

/// The alert that a signature tells, if it does.
pub(super) const fn alert_in(signature: &[u8]) -> Option<u8> {
    match *signature {
        [code] => Some(code),
        _ => None,
    }
}

/// The one protocol of the server's extensions; `None` also when there are more.
fn chosen_protocol(body: &[u8]) -> Option<&[u8]> {
    let mut extensions = Bytes::new(Bytes::new(body).medium()?);
    let mut found = None;
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let mut extension = Bytes::new(extensions.medium()?);
        if kind == EXTENSION_ALPN {
            let mut names = Bytes::new(extension.medium()?);
            let name = names.short()?;
            if found.is_some() || !names.is_empty() || !extension.is_empty() {
                return None;
            }
            found = Some(name);
        }
    }
    found
}

/// Handshake messages after the handshake: tickets are passed over, as this client resumes no TLS session.
pub(super) fn after(content: &[u8]) -> Result<(), TlsError> {
    let mut bytes = Bytes::new(content);
    if bytes.is_empty() {
        return Err(TlsError::Unexpected);
    }
    while !bytes.is_empty() {
        match message(&mut bytes) {
            Some((NEW_SESSION_TICKET, _)) => {}
            Some((KEY_UPDATE, _)) => return Err(TlsError::KeyUpdate),
            _ => return Err(TlsError::Unexpected),
        }
    }
    Ok(())
}
