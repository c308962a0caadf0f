//! What the tests share: a scene with a neighbour, TLS peers that are not ours, an engine that
//! is worked by hand.

use core::error::Error;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use diset_std::diset_proto::Misuse;
use diset_std::rustls::pki_types::pem::PemObject;
use diset_std::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use diset_std::rustls::{self, ClientConfig as TlsConfig, RootCertStore};
use diset_std::tls::Certificate;
use diset_std::tls::throwaway::to_pem;
use diset_std::{Cause, Client, Code, Conn, Counter, Counters, Dropped, Limits, Notice, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::common::lines::lines;
use crate::common::*;

pub(crate) const ALPN: &[u8] = b"diset/1";
pub(crate) const PREAMBLE: [u8; 5] = [0xd1, b'S', b'E', b'T', 1];
/// Stands in message bodies and must stand in no log.
pub(crate) const SECRET: &str = "hush-hush";
/// How a connection can be over, by name of the counter.
const ENDS: [&str; 5] = ["refused", "ended_by_us", "ended_by_peer", "went_away", "lost"];
/// A neighbour notices when it waits so long for one answer; a busy machine alone does not do that.
const NOTICED: Duration = Duration::from_secs(1);
/// Or so long, again and again.
const SLOW: Duration = Duration::from_millis(250);
const FEW: usize = 3;
/// Of clients that do not get in, so many lines are written at least ...
const LINES_IN_SPAN: u64 = 10;
/// ... in this time, and a moment for what the clock leaves out.
const LINES_SPAN: Duration = Duration::from_millis(1050);

/// A service, a neighbour that talks to it all the time, and what is seen of both.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) running: Running<PingPong>,
    /// The certificate of the peers.
    pub(crate) certificate: Certificate,
    pub(crate) neighbour: Talker,
    drops: Seen<Dropped>,
    lines: Seen<String>,
    before: Counters,
    begun: Instant,
    /// When it was asked who has ended, and how many of those did not get in.
    strangers: Vec<(Instant, u64)>,
    _guard: DefaultGuard,
}

impl Scene {
    /// The service gets a drop callback; the neighbour is there when this is done.
    pub(crate) async fn new(service: Service<PingPong>) -> Result<Self, Box<dyn Error>> {
        Self::with(World::new()?, service).await
    }

    /// As [`new`](Self::new), in a world that exists.
    pub(crate) async fn with(world: World, service: Service<PingPong>) -> Result<Self, Box<dyn Error>> {
        let (guard, lines) = lines(Level::INFO);
        let (log, drops) = log();
        let service = service.on_drop(move |_, why| {
            log.add(why);
            async {}
        });
        let running = world.serve(service).await?;
        let neighbour = Talker::new(world.client(PingPong, &running, "neighbour")?).await?;
        let certificate = world.ca.client("peer")?;
        let before = running.handle.counters();
        Ok(Self {
            world,
            running,
            certificate,
            neighbour,
            drops,
            lines,
            before,
            begun: Instant::now(),
            strangers: Vec::new(),
            _guard: guard,
        })
    }

    /// As [`over_all`](Self::over_all), when all come to the same end.
    pub(crate) async fn over(&mut self, what: &str, end: Counter, count: u64) {
        self.over_all(what, &[(end, count)]).await;
    }

    /// Waits until nobody but the neighbour holds anything of the service; then exactly so many
    /// connections have come to each of these ends since the last time and none to another, each
    /// was counted once in all and told of in one line, and each that was admitted was dropped
    /// once.
    pub(crate) async fn over_all(&mut self, what: &str, expected: &[(Counter, u64)]) {
        let now = self.ended(what, expected).await;
        let since = |name: &str| now.sum(name) - self.before.sum(name);
        let ends: u64 = ENDS.iter().map(|name| since(name)).sum::<u64>() + since("tls_failed");
        let all = gained(&self.before, &now);
        for (end, count) in expected {
            assert_eq!(
                now.get(*end) - self.before.get(*end),
                *count,
                "{what}: {end:?}: {all:?}"
            );
        }
        let count = expected.iter().map(|(_, count)| count).sum();
        assert_eq!(ends, count, "{what}: {all:?}");
        assert_balanced(&now);
        let mut drops = 0;
        while self.drops.now().is_some() {
            drops += 1;
        }
        let admitted = since("dropped");
        assert_eq!(drops, admitted, "{what}: one drop callback for each that was admitted");
        let told = self.told_of(what, expected);
        if self.few_strangers(count - admitted) {
            assert_eq!(told, count, "{what}: one line for each end");
        } else {
            assert!((admitted..=count).contains(&told), "{what}: {told} lines");
        }
        self.before = now;
    }

    /// Waits for these ends, and until nobody but the neighbour is there.
    async fn ended(&self, what: &str, expected: &[(Counter, u64)]) -> Counters {
        let mut now = self.running.handle.counters();
        let quiet = |now: &Counters| now.get(Counter::InHandshake) == 0 && now.get(Counter::Live) == 1;
        let ended = |now: &Counters| {
            let gained = |end: Counter| now.get(end) - self.before.get(end);
            expected.iter().all(|(end, count)| gained(*end) >= *count)
        };
        let settled = tokio::time::timeout(LIMIT, async {
            while !(quiet(&now) && ended(&now)) {
                tokio::time::sleep(OFTEN).await;
                now = self.running.handle.counters();
            }
        });
        let settled = settled.await.is_ok();
        assert!(settled, "{what}: {expected:?}, but {:?}", gained(&self.before, &now));
        now
    }

    /// How many ends the log has told of since the last time; each line is clean and names one of
    /// these.
    fn told_of(&mut self, what: &str, expected: &[(Counter, u64)]) -> u64 {
        let mut told = 0;
        while let Some(line) = self.lines.now() {
            let clean = !line.contains(SECRET) && !line.chars().any(char::is_control);
            assert!(clean, "PROTOCOL E-2: {what}: {line}");
            // Others are about the service, or a callback of it.
            let is_of_peer = line.contains("peer=\"127.0.0.1:");
            if is_of_peer && !line.contains("message=connected") {
                assert!(line.contains("reason="), "{what}: why: {line}");
                let is_expected = expected.iter().any(|(end, _)| line.contains(&mark(*end)));
                assert!(is_expected, "{what}: which end: {line}");
                told += 1;
            }
        }
        told
    }

    /// Whether a line must have been written for each of these clients that did not get in, and
    /// ended since this was asked last: there were at most ten of them in any second of that time.
    fn few_strangers(&mut self, count: u64) -> bool {
        let begun = self.strangers.last().map_or(self.begun, |(at, _)| *at);
        self.strangers.retain(|(at, _)| *at + LINES_SPAN >= begun);
        let earlier: u64 = self.strangers.iter().map(|(_, count)| count).sum();
        self.strangers.push((Instant::now(), count));
        earlier + count <= LINES_IN_SPAN
    }

    /// Waits until nobody but the neighbour holds anything of the service.
    pub(crate) async fn settle(&self) {
        let now = || self.running.handle.counters();
        wait_for("quiet", || {
            now().get(Counter::InHandshake) == 0 && now().get(Counter::Live) <= 1
        })
        .await;
        assert_balanced(&now());
    }

    /// The neighbour has got all its answers, however long they took; the service ends in order.
    pub(crate) async fn finish_slowly(self) -> TestResult {
        self.neighbour.finish().await?;
        self.running.stop().await;
        Ok(())
    }

    /// The neighbour has noticed nothing; the service ends in order, with all it writes about that.
    pub(crate) async fn finish(self) -> TestResult {
        self.neighbour.finish().await?.assert_short();
        self.running.stop().await;
        Ok(())
    }

    /// A TLS client that is not ours.
    pub(crate) async fn raw(&self, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        raw(&self.world, &self.running.address, Some(&self.certificate), alpn).await
    }
}

/// What was counted in between.
fn gained(before: &Counters, now: &Counters) -> Vec<(&'static str, &'static str, u64)> {
    let pairs = now.iter().zip(before.iter()).filter(|(a, b)| a != b);
    pairs.map(|(a, b)| (a.0, a.1, a.2.wrapping_sub(b.2))).collect()
}

/// How a line names an end.
fn mark(end: Counter) -> String {
    match end {
        Counter::Refused(code) | Counter::EndedByUs(code) | Counter::EndedByPeer(code) | Counter::WentAway(code) => {
            format!("code={} ", code.number())
        }
        Counter::TlsFailed(kind) => format!("kind=\"{}\" ", kind.name()),
        _ => String::from("the transport ended without a word"),
    }
}

/// How often something is looked at that does not tell of its changes.
const OFTEN: Duration = Duration::from_millis(1);

/// Waits until it is so.
pub(crate) async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::time::sleep(OFTEN).await;
        }
    })
    .await;
}

/// Each connection was counted where it belongs.
pub(crate) fn assert_balanced(counters: &Counters) {
    let (in_handshake, live) = (counters.get(Counter::InHandshake), counters.get(Counter::Live));
    assert_eq!(in_handshake, 0, "asked when it is quiet");
    assert_eq!(
        counters.get(Counter::Accepted),
        counters.sum("tls_failed") + counters.sum("handshakes")
    );
    let ends: u64 = ENDS.iter().map(|name| counters.sum(name)).sum();
    assert_eq!(counters.sum("handshakes"), ends + live);
    assert_eq!(counters.get(Counter::Admitted), counters.get(Counter::Dropped) + live);
}

/// How long a client waited for its answers.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    pub(crate) longest: Duration,
    /// How many answers took long.
    slow: usize,
}

impl Waits {
    fn add(&mut self, waited: Duration) {
        self.longest = self.longest.max(waited);
        self.slow += usize::from(waited >= SLOW);
    }

    /// Nothing stood still for so long, or so often, that it was noticed.
    pub(crate) fn assert_short(&self) {
        let short = self.longest < NOTICED && self.slow <= FEW;
        assert!(short, "the neighbour waited for answers: {self:?}");
    }
}

/// A client that behaves: it exchanges messages all the time and wants its answers in order.
pub(crate) struct Talker {
    client: Client<PingPong>,
    trid: Option<diset_std::Trid>,
    done: Arc<AtomicBool>,
    rounds: Count,
    task: JoinHandle<Waits>,
}

impl Talker {
    pub(crate) async fn new(client: diset_std::ClientBuilder<PingPong>) -> Result<Self, Box<dyn Error>> {
        let (log, mut pongs) = log();
        let pongs_in = client.on_ref::<Pong>(move |_, pong| {
            log.add(pong.id);
            Ok(())
        });
        let client = pongs_in.connect().await?;
        let done = Arc::new(AtomicBool::new(false));
        let rounds = Count::default();
        let (talker, until, count) = (client.clone(), Arc::clone(&done), rounds.clone());
        let task = tokio::spawn(async move {
            // Often, but it shall not take all of the machine.
            let mut pace = tokio::time::interval(Duration::from_millis(2));
            let mut waits = Waits::default();
            for id in 0.. {
                let asked = Instant::now();
                talker.send(&Ping { id }).await.expect("the neighbour is connected");
                assert_eq!(pongs.next().await, id, "the neighbour gets its answers in order");
                waits.add(asked.elapsed());
                count.add();
                if until.load(Ordering::SeqCst) {
                    break;
                }
                pace.tick().await;
            }
            waits
        });
        let trid = client.trid();
        Ok(Self {
            client,
            trid,
            done,
            rounds,
            task,
        })
    }

    /// How many answers it has got.
    pub(crate) fn answers(&self) -> usize {
        self.rounds.value()
    }

    /// It has got answers since this was asked.
    pub(crate) async fn talks_on(&self) {
        let before = self.rounds.value();
        wait_for("the neighbour talks on", || self.rounds.value() >= before + 10).await;
    }

    /// It kept its connection; how long it waited for its answers.
    pub(crate) async fn finish(self) -> Result<Waits, Box<dyn Error>> {
        self.talks_on().await;
        self.done.store(true, Ordering::SeqCst);
        let waits = within("the neighbour", self.task).await?;
        assert!(
            self.trid.is_some() && self.client.trid() == self.trid,
            "the neighbour kept its connection"
        );
        self.client.close().await;
        Ok(waits)
    }
}

/// A TLS client that is not ours.
pub(crate) async fn raw(
    world: &World,
    address: &str,
    certificate: Option<&Certificate>,
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = tls_config(world, certificate)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    connect(address, Arc::new(config)).await
}

pub(crate) fn tls_config(world: &World, certificate: Option<&Certificate>) -> io::Result<TlsConfig> {
    let mut roots = RootCertStore::empty();
    for authority in world.ca.authorities().certificates() {
        roots.add(authority.clone()).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let Some(certificate) = certificate else {
        return Ok(config.with_no_client_auth());
    };
    let (chain, key) = pem(certificate)?;
    config.with_client_auth_cert(chain, key).map_err(io::Error::other)
}

pub(crate) fn pem(certificate: &Certificate) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let (chain, key) = to_pem(certificate);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
    Ok((chain.map_err(io::Error::other)?, key))
}

pub(crate) async fn connect(address: &str, config: Arc<TlsConfig>) -> io::Result<TlsStream<TcpStream>> {
    over(TcpStream::connect(address).await?, config).await
}

/// TLS on a socket.
pub(crate) async fn over(socket: TcpStream, config: Arc<TlsConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    within("TLS", TlsConnector::from(config).connect(name, socket)).await
}

/// A frame of this kind.
pub(crate) fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    let mut length = body.len() + 1;
    let mut frame = Vec::new();
    while length >= 0x80 {
        frame.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.push(head);
    frame.extend_from_slice(body);
    frame
}

/// The code of the error or refusal among these frames; they may follow a preamble.
pub(crate) fn code_in(told: &[u8]) -> Option<Code> {
    let mut rest = told.strip_prefix(&PREAMBLE).unwrap_or(told);
    loop {
        let length = varint(&mut rest)?;
        let (frame, behind) = rest.split_at_checked(length)?;
        rest = behind;
        if let Some(mut code) = told_in(frame) {
            varint(&mut code)?;
            return Some(Code::from_number(u16::try_from(varint(&mut code)?).ok()?));
        }
    }
}

/// The fields of an error or refusal, from the value of the code on.
fn told_in(frame: &[u8]) -> Option<&[u8]> {
    match frame {
        [0x89 | 0x82, 0x81, fields @ ..] => Some(fields),
        _ => None,
    }
}

fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A proposal without the preamble: its fields, up to the arguments.
pub(crate) fn proposal() -> Result<Vec<u8>, Misuse> {
    let bytes = Engine::new()?.says();
    // Preamble, one byte of length, head.
    Ok(bytes[PREAMBLE.len() + 2..].to_vec())
}

/// A peer over TLS, worked by hand.
pub(crate) struct Peer {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) engine: Engine,
}

impl Peer {
    /// TLS is up.
    pub(crate) async fn connect(scene: &Scene) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            stream: scene.raw(&[ALPN]).await?,
            engine: Engine::new()?,
        })
    }

    /// The connection is open.
    pub(crate) async fn open(scene: &Scene) -> Result<Self, Box<dyn Error>> {
        let mut peer = Self::connect(scene).await?;
        let proposal = peer.engine.says();
        peer.propose(&proposal).await?;
        Ok(peer)
    }

    /// Proposes so, and is accepted.
    pub(crate) async fn propose(&mut self, proposal: &[u8]) -> TestResult {
        self.say(proposal).await?;
        let mut told = vec![0; 4096];
        while self.engine.conn.trid().is_none() {
            let count = within("accepted", self.stream.read(&mut told)).await?;
            if count == 0 {
                return Err("the service hung up".into());
            }
            if let Some(cause) = self.engine.fate(&told[..count]) {
                return Err(cause.into());
            }
        }
        Ok(())
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads until so many messages have come.
    pub(crate) async fn messages(&mut self, count: usize) -> TestResult {
        let mut told = vec![0; 4096];
        while self.engine.messages < count {
            let read = within("a message", self.stream.read(&mut told)).await?;
            assert_eq!(self.engine.fate(&told[..read]), None);
            if read == 0 {
                return Err("the service hung up".into());
            }
        }
        Ok(())
    }

    /// Reads to the end, which must be in order (PROTOCOL X-4), and says what became of the
    /// connection.
    pub(crate) async fn fate(&mut self) -> Result<Option<Cause>, Box<dyn Error>> {
        let (told, end) = read_all(&mut self.stream).await;
        end.map_err(|error| format!("PROTOCOL X-4: no close_notify: {error}"))?;
        Ok(self.engine.fate(&told))
    }

    /// The error that it is told.
    pub(crate) async fn error(&mut self, what: &str) -> Result<Notice, Box<dyn Error>> {
        match self.fate().await? {
            Some(Cause::PeerError(notice) | Cause::Refused(notice)) => Ok(notice),
            other => Err(format!("{what}: {other:?}").into()),
        }
    }
}

/// A service that gives a handshake half a second.
pub(crate) fn hurried() -> Service<PingPong> {
    answering().limits(Limits::SERVER.with_handshake(Duration::from_millis(500)))
}

/// A service with handlers for the rows about messages.
pub(crate) fn handling() -> Service<PingPong> {
    answering()
        .on(|_: Conn<PingPong>, _: Odd| async { Ok(()) })
        .on_ref::<Note<'_>>(|_, _| Ok(()))
}

pub(crate) const fn by_us(code: Code) -> Counter {
    Counter::EndedByUs(code)
}
