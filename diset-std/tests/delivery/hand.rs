//! A client whose engine and session are worked by hand: it can be copied, set back, or half open.

use core::error::Error;
use std::io;
use std::sync::Arc;

use diset_std::diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_std::diset_proto::{ClientConfig, Connection, Deframer, Event, GrowBuf, Instant, MessageOf, Session};
use diset_std::rustls::pki_types::pem::PemObject;
use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use diset_std::rustls::{self, ClientConfig as TlsConfig, RootCertStore};
use diset_std::tls::Certificate;
use diset_std::tls::throwaway::to_pem;
use diset_std::{Cause, Identity, Limits, Outcome, Resumption, ServiceDef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::*;

pub(crate) const IDENTITY: Identity = Identity::from_bytes([9; 16]);
pub(crate) type HandSession = Session<HeapReplay, Volatile>;

pub(crate) fn session() -> Box<HandSession> {
    Box::new(Session::new(HeapReplay::new(64, 1 << 16), Volatile))
}

/// The client.
pub(crate) struct Hand {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) conn: Connection<GrowBuf, Option<Box<HandSession>>>,
    rx: Deframer<GrowBuf>,
    pub(crate) pongs: Vec<i64>,
    /// The service remembers its next key.
    pub(crate) is_remembered: bool,
}

impl Hand {
    /// Comes with this session, and reads until it is let in.
    pub(crate) async fn open(
        world: &World,
        address: &str,
        certificate: &Certificate,
        session: Box<HandSession>,
    ) -> Result<Self, Box<dyn Error>> {
        Self::enter(world, address, certificate, Some(session)).await
    }

    /// As [`open`](Self::open), for a client that knows of no sessions.
    pub(crate) async fn open_old(
        world: &World,
        address: &str,
        certificate: &Certificate,
    ) -> Result<Self, Box<dyn Error>> {
        Self::enter(world, address, certificate, None).await
    }

    async fn enter(
        world: &World,
        address: &str,
        certificate: &Certificate,
        session: Option<Box<HandSession>>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut hand = Self::dial(world, address, certificate, session).await?;
        hand.flush().await?;
        hand.until(|hand| hand.conn.trid().is_some()).await?;
        Ok(hand)
    }

    /// Opens the transport, and proposes nothing yet.
    pub(crate) async fn dial(
        world: &World,
        address: &str,
        certificate: &Certificate,
        session: Option<Box<HandSession>>,
    ) -> Result<Self, Box<dyn Error>> {
        let config = ClientConfig {
            catalog: PingPong::CATALOG,
            identity: IDENTITY,
            limits: Limits::SERVER,
            args: &[],
        };
        let conn = Connection::client_in_session(now(), &config, GrowBuf::new(1 << 20), session)
            .map_err(|(misuse, _)| misuse)?;
        Ok(Self {
            stream: tls(world, address, certificate).await?,
            conn,
            rx: Deframer::new(GrowBuf::new(1 << 17)),
            pongs: Vec::new(),
            is_remembered: false,
        })
    }

    pub(crate) fn resumption(&self) -> Option<Resumption> {
        self.conn.resumption()
    }

    pub(crate) fn send(&mut self, id: i64) -> Result<u64, Box<dyn Error>> {
        Ok(self
            .conn
            .send_acked(<Ping as MessageOf<PingPong>>::NUMBER, &Ping { id }, Unsure::Report)?)
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// Reads and answers until it is so; why the connection ended, if it did.
    pub(crate) async fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<(), Box<dyn Error>> {
        let mut told = vec![0; 4096];
        while !is_so(self) {
            let count = within("what is waited for", self.stream.read(&mut told)).await?;
            if count == 0 {
                return Err("the service hung up".into());
            }
            if let Some(cause) = self.take(&told[..count]) {
                return Err(cause.into());
            }
            let _ = self.conn.handle_time(now());
            self.flush().await?;
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Option<Cause> {
        while let Some(frame) = self.rx.next(&mut bytes, self.conn.max_frame()) {
            match self.conn.handle_frame(now(), frame) {
                Some(Event::Message(message)) => match self.conn.decode::<Pong>(message) {
                    Ok(pong) => self.pongs.push(pong.id),
                    Err(error) => panic!("{error}"),
                },
                Some(Event::Dropped(cause)) => return Some(cause),
                Some(Event::NextKeyRemembered(..)) => self.is_remembered = true,
                _ => {}
            }
        }
        None
    }

    /// The session goes on elsewhere; the connection stays as it is, half open.
    pub(crate) fn leave(&mut self) -> Box<HandSession> {
        self.conn.take_session().expect("it has one")
    }

    pub(crate) fn outcome(&mut self) -> Option<(u64, Outcome)> {
        self.conn.take_outcome()
    }
}

/// Time stands still: nothing here is about it, but for acknowledgements, which it makes leave.
fn now() -> Instant {
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
    static TICKS: AtomicU64 = AtomicU64::new(0);
    Instant::from_millis(TICKS.fetch_add(1, SeqCst))
}

async fn tls(world: &World, address: &str, certificate: &Certificate) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for authority in world.ca.authorities().certificates() {
        roots.add(authority.clone()).map_err(io::Error::other)?;
    }
    let (chain, key) = to_pem(certificate);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
    let mut config = TlsConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"diset/1".to_vec()];
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let socket = TcpStream::connect(address).await?;
    within("TLS", TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}
