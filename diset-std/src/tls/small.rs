//! TLS for clients that hold small records only: what such a service is set to, and the proof, when it is set so, that such a client can take its
//! handshake. Which clients those are is seen by `channel`.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::SingleCertAndKey;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, NamedGroup, ServerConfig, SignatureScheme};

use super::case::Role;
use super::config::{Parts, Prepared};
use super::own::certified_key;
use super::{Certificate, ServerTls, TlsBuilder, TlsError};

/// The application protocol name (ALPN) of clients that cannot hold TLS records above [`SMALL_RECORD`].
pub const ALPN_SMALL: &[u8] = b"diset-1k/1";
/// The longest TLS record that a client gets which offers [`ALPN_SMALL`], its header of five bytes included: a read buffer of so many bytes holds
/// each.
pub const SMALL_RECORD: usize = 1024;

/// What a record has beside its plaintext: header, kind of content, tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
/// The most plaintext of such a record.
pub(crate) const SMALL_FRAGMENT: usize = SMALL_RECORD - RECORD_OVERHEAD;
/// An ECDSA signature is up to 72 bytes long, and seldom less than 70: what the handshake may take more than it did when it was tried.
const SLACK: usize = 8;
/// The kind of record in which everything encrypted travels.
const ENCRYPTED: u8 = 23;

/// Whether clients with small records are served.
#[derive(Clone)]
pub(super) enum SmallRecords {
    Refused,
    /// With the certificate that all others see.
    WithTheSame,
    With(Certificate),
}

impl TlsBuilder<ServerTls> {
    /// Serves clients that hold small records only, those that offer [`ALPN_SMALL`], beside all others on the same port. Without it they are
    /// refused.
    ///
    /// They get no record above [`SMALL_RECORD`], no tickets, no names of authorities, and the handshake of the service in one record. They are
    /// shown this certificate, or with `None` that of all others. It must be ECDSA on P-256, and so short that the handshake fits: one certificate
    /// without intermediates and with few names does. Both are found out whenever settings are made or changed, also when files are reloaded; the
    /// errors are [`TlsError::SmallRecordsKey`] and [`TlsError::SmallRecordsFlight`]. A certificate given here stays when files are reloaded.
    ///
    /// Who may come is the same for all. docs/CERTIFICATES.md says what else such clients need.
    pub fn small_records(mut self, certificate: impl Into<Option<Certificate>>) -> Self {
        self.parts.small = certificate.into().map_or(SmallRecords::WithTheSame, SmallRecords::With);
        self
    }
}

/// What rustls is set to for clients with small records; `None` where they are refused. What is odd about their certificate is added to `prepared`.
pub(super) fn config(parts: &Parts, prepared: &mut Prepared) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let provider = &Arc::clone(&prepared.provider);
    let certificate = match &parts.small {
        SmallRecords::Refused => return Ok(None),
        SmallRecords::WithTheSame => &parts.certificate,
        SmallRecords::With(certificate) => {
            // Devices may go by the key alone.
            prepared
                .odd
                .extend(parts.check_own(certificate, Role::Service, false, provider)?);
            certificate
        }
    };
    let origin = certificate.chain_origin();
    let key = certified_key(certificate, Role::Service, &parts.authorities, provider)?;
    if key
        .key
        .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
        .is_none()
    {
        return Err(TlsError::SmallRecordsKey { origin: origin.clone() });
    }
    // PROTOCOL X-8: no names of authorities, small records, no tickets.
    let verifier = parts.client_verifier(prepared, false)?;
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider), Arc::clone(&parts.time))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Crypto)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN_SMALL.to_vec()];
    // rustls counts the header, but neither the kind of content nor the tag.
    config.max_fragment_size = Some(SMALL_FRAGMENT + 5);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0; // PROTOCOL X-3
    let config = Arc::new(config);
    let bytes = flight(&config, provider).map_err(TlsError::SmallRecordsCrypto)?;
    let most = SMALL_FRAGMENT - SLACK;
    if bytes > most {
        return Err(TlsError::SmallRecordsFlight {
            origin: origin.clone(),
            bytes,
            most,
        });
    }
    Ok(Some(config))
}

/// How many bytes the encrypted part of the server's handshake takes, as such a client would get it: found by beginning one.
fn flight(config: &Arc<ServerConfig>, provider: &CryptoProvider) -> Result<usize, Error> {
    let mut hello = hello(provider)?;
    let mut server = UnbufferedServerConnection::new(Arc::clone(config))?;
    let mut answer = Vec::new();
    let mut consumed = 0;
    loop {
        let rest = hello.get_mut(consumed..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = server.process_tls_records(rest);
        consumed += discard;
        match state? {
            ConnectionState::EncodeTlsData(mut data) => encode(&mut answer, |room| data.encode(room))?,
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            _ => break,
        }
    }
    Ok(encrypted(&answer))
}

/// What a client says first that knows no more than such clients do.
fn hello(provider: &CryptoProvider) -> Result<Vec<u8>, Error> {
    let mut narrow = provider.clone();
    narrow
        .cipher_suites
        .retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    narrow.kx_groups.retain(|group| group.name() == NamedGroup::secp256r1);
    let mut config = ClientConfig::builder_with_provider(Arc::new(narrow))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous() // It ends before there is anything to verify.
        .with_custom_certificate_verifier(Arc::new(NotAsked))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_SMALL.to_vec()];
    let name = ServerName::try_from("localhost").map_err(|_| Error::General("no server name".into()))?;
    let mut client = UnbufferedClientConnection::new(Arc::new(config), name)?;
    let mut hello = Vec::new();
    loop {
        match client.process_tls_records(&mut []).state? {
            ConnectionState::EncodeTlsData(mut data) => encode(&mut hello, |room| data.encode(room))?,
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            _ => return Ok(hello),
        }
    }
}

/// Appends what rustls has to say.
fn encode(to: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> Result<(), Error> {
    let begin = to.len();
    let mut room = 0;
    loop {
        to.resize(begin + room, 0);
        match encode(to.get_mut(begin..).unwrap_or_default()) {
            Ok(written) => {
                to.truncate(begin + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            // Cannot happen: each piece is encoded once.
            Err(EncodeError::AlreadyEncoded) => return Err(Error::EncryptError),
        }
    }
}

/// The plaintext bytes of the encrypted records among these.
fn encrypted(mut records: &[u8]) -> usize {
    let mut bytes = 0;
    while let Some(([kind, _, _, high, low], rest)) = records.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == ENCRYPTED {
            bytes += (length + 5).saturating_sub(RECORD_OVERHEAD);
        }
        records = rest.get(length..).unwrap_or_default();
    }
    bytes
}

/// Verifies nothing, for a handshake that does not come so far.
#[derive(Debug)]
struct NotAsked;

impl ServerCertVerifier for NotAsked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(Error::General("nothing is verified".into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nothing is verified".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nothing is verified".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[cfg(all(test, feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests;
