//! Clients whose TLS is that of a microcontroller, beside others on the same port: records of 1 KiB, and so many of them only. They are rustls with
//! as little switched on, and an engine worked by hand; what is on the wire is read below TLS.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};

use diset_std::diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_std::diset_proto::{
    ClientConfig, Connection, Deframer, Event, GrowBuf, Instant, MessageOf, Progress, Session,
};
use diset_std::rustls::pki_types::pem::PemObject;
use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use diset_std::rustls::{self, CipherSuite, ClientConfig as TlsConfig, NamedGroup, RootCertStore};
use diset_std::tls::throwaway::to_pem;
use diset_std::tls::{ALPN, ALPN_SMALL, Certificate, SMALL_RECORD};
use diset_std::{Cause, Code, Identity, Limits, Notice, Resumption, Service, ServiceDef};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::*;

type Error = Box<dyn core::error::Error>;
type Sessions = Session<HeapReplay, Volatile>;

const PING: u8 = <Ping as MessageOf<PingPong>>::NUMBER;
const LARGE: usize = 16 * 1024;

/// A socket that notes every byte.
struct Tap {
    socket: TcpStream,
    came: Arc<Mutex<Vec<u8>>>,
    went: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, into))?;
        self.came.lock().expect("no panic").extend(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.went.lock().expect("no panic").extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The lengths of the encrypted records among these bytes, and the longest of all.
fn records(wire: &Mutex<Vec<u8>>) -> (Vec<usize>, usize) {
    let bytes = wire.lock().expect("no panic").clone();
    let (mut encrypted, mut longest, mut rest) = (Vec::new(), 0, &bytes[..]);
    while let Some(([kind, _, _, high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        longest = longest.max(5 + length);
        if *kind == 23 {
            encrypted.push(5 + length);
        }
        rest = behind.get(length..).unwrap_or_default();
    }
    (encrypted, longest)
}

/// A client: TLS, engine, and what it was told.
struct Agent {
    stream: TlsStream<Tap>,
    conn: Connection<GrowBuf, Option<Box<Sessions>>>,
    rx: Deframer<GrowBuf>,
    pongs: Vec<i64>,
    blobs: Vec<usize>,
    told: Option<Notice>,
    ended: Option<Cause>,
    came: Arc<Mutex<Vec<u8>>>,
    went: Arc<Mutex<Vec<u8>>>,
}

/// What an agent is.
struct Made<'m> {
    certificate: &'m Certificate,
    alpn: &'static [u8],
    identity: u8,
    records: Option<u32>,
}

impl Agent {
    async fn connect(world: &World, address: &str, made: &Made<'_>, session: Box<Sessions>) -> Result<Self, Error> {
        let limits = made
            .records
            .map_or(Limits::SERVER, |most| Limits::SERVER.with_records(most));
        let config = ClientConfig {
            catalog: PingPong::CATALOG,
            identity: Identity::from_bytes([made.identity; 16]),
            limits,
            args: &[],
        };
        let (came, went) = (Arc::default(), Arc::default());
        let tap = Tap {
            socket: TcpStream::connect(address).await?,
            came: Arc::clone(&came),
            went: Arc::clone(&went),
        };
        let mut agent = Self {
            stream: tls(world, made, tap).await?,
            conn: Connection::client_in_session(now(), &config, GrowBuf::new(1 << 20), Some(session))
                .map_err(|(misuse, _)| misuse)?,
            rx: Deframer::new(GrowBuf::new(1 << 17)),
            pongs: Vec::new(),
            blobs: Vec::new(),
            told: None,
            ended: None,
            came,
            went,
        };
        agent
            .until(|agent| agent.conn.trid().is_some() || agent.ended.is_some())
            .await?;
        Ok(agent)
    }

    /// Works until it is so.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let mut room = vec![0; 4096];
        loop {
            let bytes = self.conn.transmit().to_vec();
            self.conn.transmitted(bytes.len());
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await?;
            if is_so(self) {
                return Ok(());
            }
            let wait = self.conn.wake().map_or(LIMIT, |wake| wake.since(now()));
            let event = match tokio::time::timeout(wait.min(LIMIT), self.stream.read(&mut room)).await {
                Ok(Ok(count)) if count > 0 => {
                    self.take(&room[..count]);
                    continue;
                }
                Ok(_) => self.conn.handle_eof(),
                Err(_) => self.conn.handle_time(now()),
            };
            if let Some(Event::Dropped(cause)) = event {
                self.ended = Some(cause);
            } else if self.conn.progress() == Progress::Over && self.ended.is_none() {
                return Err("it ended without a word".into());
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.rx.next(&mut bytes, self.conn.max_frame()) {
            match self.conn.handle_frame(now(), frame) {
                Some(Event::Message(message)) if message.number() == <Pong as MessageOf<PingPong>>::NUMBER => {
                    let pong: Result<Pong, _> = self.conn.decode(message);
                    self.pongs.push(pong.expect("valid").id);
                }
                Some(Event::Message(message)) => {
                    let blob: Result<Blob, _> = self.conn.decode(message);
                    self.blobs.push(blob.expect("valid").bytes.len());
                }
                Some(Event::GoingAway(notice)) => self.told = Some(notice),
                Some(Event::Dropped(cause)) => self.ended = Some(cause),
                _ => {}
            }
        }
    }

    /// Ends the transport, as its engine wants it; the session goes on.
    async fn part(mut self) -> Result<Box<Sessions>, Error> {
        self.stream.shutdown().await.ok();
        let mut rest = Vec::new();
        within("the end of the service", self.stream.read_to_end(&mut rest))
            .await
            .ok();
        Ok(self.conn.take_session().ok_or("it has one")?)
    }
}

fn session() -> Box<Sessions> {
    Box::new(Session::new(HeapReplay::new(256, 1 << 16), Volatile))
}

fn now() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let spent = START.get_or_init(std::time::Instant::now).elapsed();
    Instant::from_millis(u64::try_from(spent.as_millis()).unwrap_or(u64::MAX))
}

/// TLS as embedded-tls has it, or in full.
async fn tls(world: &World, made: &Made<'_>, tap: Tap) -> Result<TlsStream<Tap>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in world.ca.authorities().certificates() {
        roots.add(authority.clone())?;
    }
    let (chain, key) = to_pem(made.certificate);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if made.alpn == ALPN_SMALL {
        let cipher = CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.retain(|suite| suite.suite() == cipher);
        provider.kx_groups.retain(|group| group.name() == NamedGroup::secp256r1);
    }
    let mut config = TlsConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![made.alpn.to_vec()];
    let name = ServerName::try_from("localhost")?;
    Ok(within("TLS", TlsConnector::from(Arc::new(config)).connect(name, tap)).await?)
}

/// Answers each Ping with a large message and a Pong.
fn generous() -> Service<PingPong> {
    Service::new(PingPong).on(|conn, ping: Ping| async move {
        conn.send(&Blob { bytes: vec![7; LARGE] }).await?;
        conn.send(&Pong { id: ping.id }).await?;
        Ok(())
    })
}

/// Three rounds of an agent; the records that came to it.
async fn rounds(world: &World, address: &str, made: Made<'_>) -> Result<(Vec<usize>, usize), Error> {
    let mut agent = Agent::connect(world, address, &made, session()).await?;
    for round in 1..=3 {
        agent.conn.send(PING, &Ping { id: round as i64 })?;
        agent
            .until(|agent| agent.pongs.len() == round || agent.ended.is_some())
            .await?;
        assert!(agent.ended.is_none(), "{:?}", agent.ended);
    }
    assert_eq!(agent.pongs, [1, 2, 3]);
    assert_eq!(agent.blobs, [LARGE; 3]);
    Ok(records(&agent.came))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_are_served_at_once_on_one_port() -> TestResult {
    let world = World::open()?;
    let running = world.serve(generous()).await?;
    let certificates = (0..8)
        .map(|i| world.ca.client(&format!("agent {i}")))
        .collect::<Result<Vec<_>, _>>()?;
    let agents = certificates.iter().zip(0..).map(|(certificate, identity)| {
        let alpn = if identity % 2 == 0 { ALPN_SMALL } else { ALPN };
        let made = Made {
            certificate,
            alpn,
            identity,
            records: None,
        };
        let (world, address) = (&world, &running.address);
        async move { Ok::<_, Error>((alpn, rounds(world, address, made).await?)) }
    });
    let mut neighbour = Neighbour::new(
        world
            .client(PingPong, &running, "neighbour")?
            .on_ref::<Blob>(|_, _| Ok(())),
    )
    .await?;
    let mut all = Vec::from_iter(agents.map(Box::pin));
    let mut done = Vec::new();
    core::future::poll_fn(|cx| {
        all.retain_mut(|agent| match agent.as_mut().poll(cx) {
            Poll::Ready(ended) => {
                done.push(ended);
                false
            }
            Poll::Pending => true,
        });
        if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(all);
    neighbour.is_served().await;
    for ended in done {
        let (alpn, (encrypted, longest)) = ended?;
        if alpn == ALPN_SMALL {
            // PROTOCOL X-8: the handshake, and then nothing but what the service says.
            assert_eq!(longest, SMALL_RECORD);
            assert!(encrypted.len() > 3 * LARGE / SMALL_RECORD, "{}", encrypted.len());
        } else {
            assert!(longest > LARGE, "{longest}");
            assert!(encrypted.len() < 20, "{}", encrypted.len());
        }
    }
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_serve_them_refuses_them() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let certificate = world.ca.client("sensor")?;
    let made = Made {
        certificate: &certificate,
        alpn: ALPN_SMALL,
        identity: 1,
        records: None,
    };
    let refused = Agent::connect(&world, &running.address, &made, session()).await;
    let error = refused.err().ok_or("PROTOCOL X-2, X-8: it came in")?.to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    running.stop().await;
    Ok(())
}

/// Answers each Ping with a Pong that is acked, and notes it.
fn noting(log: Log<i64>) -> Service<PingPong> {
    Service::new(PingPong).on(move |conn, ping: Ping| {
        log.add(ping.id);
        async move {
            conn.send_acked(&Pong { id: ping.id }).await?;
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_records_end_is_sent_away_in_time_and_loses_nothing() -> TestResult {
    const RECORDS: u32 = 60;
    const PINGS: i64 = 400;
    let world = World::open()?;
    let (log, seen) = log();
    let running = world.serve(noting(log)).await?;
    let certificate = world.ca.client("sensor")?;
    let made = Made {
        certificate: &certificate,
        alpn: ALPN_SMALL,
        identity: 1,
        records: Some(RECORDS),
    };
    let (mut next, mut pongs, mut connections, mut kept) = (0, Vec::new(), 0, session());
    while pongs.len() < PINGS as usize {
        let mut agent = Agent::connect(&world, &running.address, &made, kept).await?;
        connections += 1;
        let resumed = matches!(agent.conn.resumption(), Some(Resumption::Resumed { .. }));
        assert_eq!(resumed, connections > 1, "PROTOCOL N-3");
        while agent.told.is_none() && agent.ended.is_none() && pongs.len() + agent.pongs.len() < PINGS as usize {
            // Two are under way, so that one is cut off at times.
            while next < PINGS && next < (pongs.len() + agent.pongs.len()) as i64 + 2 {
                agent.conn.send_acked(PING, &Ping { id: next }, Unsure::Report)?;
                next += 1;
            }
            let had = agent.pongs.len();
            agent
                .until(|agent| agent.pongs.len() > had || agent.told.is_some() || agent.ended.is_some())
                .await?;
        }
        let told = agent.told.take();
        if told.is_some() {
            agent.until(|agent| agent.ended.is_some()).await?;
        }
        pongs.append(&mut agent.pongs);
        let sent = records(&agent.came).0.len();
        let taken = records(&agent.went).0.len();
        if pongs.len() < PINGS as usize {
            // PROTOCOL G-6: in time, and with a time to come back.
            let told = told.ok_or_else(|| format!("not told to go: {:?}", agent.ended))?;
            assert_eq!(told.code(), Code::RecordLimit);
            let retry = told.retry().ok_or("PROTOCOL G-6: no time to come back")?;
            assert_eq!(retry.min(), Duration::ZERO);
            assert!(matches!(agent.ended, Some(Cause::WentAway(_))), "{:?}", agent.ended);
            assert!(sent.max(taken) >= 50, "PROTOCOL G-6: {sent} and {taken} are too few");
        }
        // One more is the handshake's, which has keys of its own.
        assert!(
            sent.max(taken) <= RECORDS as usize + 1,
            "PROTOCOL G-6: {sent} and {taken}"
        );
        kept = agent.part().await?;
    }
    println!("{PINGS} pings took {connections} connections of {RECORDS} records");
    assert!(connections > 3, "{connections}");
    assert_eq!(pongs, Vec::from_iter(0..PINGS), "each once, in order");
    running.stop().await;
    assert_eq!(seen.rest().await, Vec::from_iter(0..PINGS), "PROTOCOL Q-1: each once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_hardly_any_records_harms_nobody() -> TestResult {
    let world = World::open()?;
    let running = world.serve(generous()).await?;
    let mut neighbour = Neighbour::new(
        world
            .client(PingPong, &running, "neighbour")?
            .on_ref::<Blob>(|_, _| Ok(())),
    )
    .await?;
    let certificate = world.ca.client("sensor")?;
    for most in [0, 1, 2, 9, 12] {
        let made = Made {
            certificate: &certificate,
            alpn: ALPN_SMALL,
            identity: 1,
            records: Some(most),
        };
        let mut agent = Agent::connect(&world, &running.address, &made, session()).await?;
        if agent.ended.is_none() && agent.told.is_none() {
            // What answers it is more than it can take.
            agent.conn.send(PING, &Ping { id: 1 }).ok();
        }
        agent.until(|agent| agent.ended.is_some()).await?;
        agent.part().await?;
        neighbour.is_served().await;
    }
    running.stop().await;
    Ok(())
}
