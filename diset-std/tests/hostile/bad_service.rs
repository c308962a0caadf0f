//! A client whose service is none, proves nothing, is silent, or breaks the rules: it says why in
//! words that help, tries again as its policy says, and is there when a good service is.

use core::error::Error;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use diset_std::rustls::server::NoServerSessionStorage;
use diset_std::rustls::{self, ServerConfig};
use diset_std::tls::throwaway::{expired, not_yet_valid};
use diset_std::tls::{Certificate, ServerTls};
use diset_std::{Client, ClientState, Code, Ended, Limits, ReconnectPolicy, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::common::*;
use crate::support::*;

/// What a bad service does with a connection, before TLS or after.
#[derive(Clone)]
enum Deed {
    /// Says this and ends, without TLS.
    Bare(&'static [u8]),
    /// Says nothing, without TLS.
    BareSilence,
    /// Says this without TLS, then a byte now and then.
    BareTrickle(&'static [u8]),
    /// Breaks the connection with a reset.
    Reset,
    /// Says this inside TLS once it has the proposal, then reads on.
    Says(Vec<u8>),
    /// Says this again and again.
    Repeats(Vec<u8>, Vec<u8>),
    /// Says this and ends the stream, without close_notify.
    SaysAndEnds(Vec<u8>),
}

/// A service that is not ours, on one port, for all who come.
struct Bad {
    port: u16,
    visits: Count,
    task: JoinHandle<io::Result<()>>,
}

impl Bad {
    async fn new(tls: Arc<ServerConfig>, deed: Deed) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let visits = Count::default();
        let count = visits.clone();
        let task = tokio::spawn(async move {
            let mut guests = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await?;
                count.add();
                guests.spawn(serve(socket, Arc::clone(&tls), deed.clone()));
            }
        });
        Ok(Self { port, visits, task })
    }

    /// Hangs up on everybody and leaves the port.
    async fn stop(self) -> u16 {
        self.task.abort();
        self.task.await.ok();
        self.port
    }
}

async fn serve(mut socket: TcpStream, tls: Arc<ServerConfig>, deed: Deed) -> io::Result<()> {
    match &deed {
        Deed::Bare(bytes) => return socket.write_all(bytes).await,
        Deed::BareSilence => {
            // Read, so that its end is no reset.
            let mut told = Vec::new();
            return socket.read_to_end(&mut told).await.map(|_| ());
        }
        Deed::BareTrickle(bytes) => {
            socket.write_all(bytes).await?;
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            loop {
                pace.tick().await;
                socket.write_all(&[0]).await?;
            }
        }
        Deed::Reset => return socket.set_zero_linger(),
        _ => {}
    }
    let mut stream = TlsAcceptor::from(tls).accept(socket).await?;
    let mut proposal = [0; 4096];
    if stream.read(&mut proposal).await? == 0 {
        return Ok(());
    }
    match deed {
        Deed::Says(bytes) => say(&mut stream, &bytes).await?,
        Deed::SaysAndEnds(bytes) => {
            say(&mut stream, &bytes).await?;
            return stream.get_mut().0.shutdown().await;
        }
        Deed::Repeats(once, often) => {
            say(&mut stream, &once).await?;
            let (mut from, mut to) = tokio::io::split(stream);
            let talking = async {
                loop {
                    to.write_all(&often).await?;
                    to.flush().await?;
                    tokio::task::yield_now().await;
                }
            };
            let mut told = Vec::new();
            tokio::select! {
                failed = talking => return failed,
                read = from.read_to_end(&mut told) => return read.map(|_| ()),
            }
        }
        _ => {}
    }
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.map(|_| ())
}

async fn say(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// TLS settings that are not ours: they ask for no certificate.
fn tls(certificate: &Certificate, alpn: &[&[u8]]) -> io::Result<Arc<ServerConfig>> {
    let (chain, key) = pem(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Soon again, but not at once.
const PATIENT: ReconnectPolicy = ReconnectPolicy {
    base: Duration::from_millis(40),
    max: Duration::from_millis(200),
    refused: Duration::from_millis(320),
    ..ReconnectPolicy::DEFAULT
};

/// A client of a bad service: why its attempts ended, as far as it went.
async fn visit(world: &World, bad: &Bad) -> Result<(Client<PingPong>, Seen<ClientState>), Box<dyn Error>> {
    let (log, states) = log();
    let client = Client::builder(PingPong, &format!("localhost:{}", bad.port))
        .tls(world.tls("alice")?)
        .reconnect(PATIENT)
        .limits(Limits::SERVER.with_handshake(Duration::from_millis(400)))
        .on_ref::<Pong>(|_, _| Ok(()))
        .on_ref::<Note<'_>>(|_, _| Ok(()))
        // Busy as long as there is a connection.
        .on(|client, _: Odd| async move {
            while client.try_send(&Ping { id: 0 }) != Err(SendError::NotOpen) {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
        .on_state(move |_, state| log.add(state.clone()))
        .start()?;
    Ok((client, states))
}

/// Why the next attempt ends. Nothing that a service does, or somebody in its place, is for good (PROTOCOL R-4).
async fn next_end(states: &mut Seen<ClientState>) -> Ended {
    loop {
        match states.next().await {
            ClientState::Waiting { why, .. } => return why,
            ClientState::Stopped(why) => panic!("PROTOCOL R-4: it has stopped: {why}"),
            _ => {}
        }
    }
}

/// One row: the client meets the deed twice; then a good service takes the place of the bad one.
async fn meets(world: &World, what: &str, config: Arc<ServerConfig>, deed: Deed, expected: &Expected) -> TestResult {
    let bad = Bad::new(config, deed).await?;
    let (client, mut states) = visit(world, &bad).await?;
    let why = next_end(&mut states).await;
    let text = why.to_string();
    assert!(!text.chars().any(char::is_control), "PROTOCOL E-2: {what}: {text}");
    match expected {
        Expected::Tls(words) => {
            assert!(
                matches!(why, Ended::Tls { .. }) && text.contains(words),
                "{what}: {text}"
            );
        }
        Expected::Code(code) => assert_eq!(why.code(), Some(*code), "{what}: {text}"),
        Expected::Lost => assert!(text.contains("ended without a word"), "{what}: {text}"),
    }
    let again = next_end(&mut states).await;
    let same = core::mem::discriminant(&again) == core::mem::discriminant(&why) && again.code() == why.code();
    assert!(same, "{what}: the same again: {again}");
    // Once for each time that it waited, and perhaps once more: no spin.
    let (mut waited, visits) = (2, bad.visits.value());
    while let Some(state) = states.now() {
        waited += usize::from(matches!(state, ClientState::Waiting { .. }));
    }
    assert!(
        (2..=waited + 1).contains(&visits),
        "PROTOCOL R-1: {what}: {visits} attempts"
    );
    let good = answering()
        .bind(("127.0.0.1", bad.stop().await), world.server.clone())
        .await?;
    let good = run(good);
    connected(&client).await;
    client.send(&Ping { id: 1 }).await?;
    client.close().await;
    good.stop().await;
    Ok(())
}

/// An `Odd`, as it should be.
const ODD: [u8; 12] = [6, 1, 1, b'a', 0, 0, 5, 1, b'b', 2, 3, 4];

enum Expected {
    /// TLS fails, with these words.
    Tls(&'static str),
    Code(Code),
    Lost,
}

/// An acceptance of this service, without the preamble; then what follows it.
fn accepting(rest: &[u8]) -> Vec<u8> {
    // Trid 1, limits for servers.
    let body = [
        0x81, 1, 1, 0x82, 12, 0x80, 0x80, 4, 0x80, 0x80, 0x20, 0x80, 0x80, 1, 0xe0, 0xd4, 3,
    ];
    [&PREAMBLE[..], &frame(0x81, &body), rest].concat()
}

fn after_preamble(rest: &[u8]) -> Deed {
    Deed::Says([&PREAMBLE[..], rest].concat())
}

#[tokio::test]
async fn a_service_that_fails_in_tls_is_named_and_tried_again() -> TestResult {
    let (world, other) = (World::new()?, World::new()?);
    let localhost = world.ca.server(&["localhost"])?;
    let good = tls(&localhost, &[ALPN])?;
    let silent = || Deed::Says(Vec::new());
    let late = world.ca.server_valid(&["localhost"], expired())?;
    let early = world.ca.server_valid(&["localhost"], not_yet_valid())?;
    let rows = [
        (
            "HTTP",
            good.clone(),
            Deed::Bare(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Expected::Tls("broke TLS"),
        ),
        (
            "another name",
            tls(&world.ca.server(&["elsewhere"])?, &[ALPN])?,
            silent(),
            Expected::Tls("set `server_name`"),
        ),
        (
            "another authority",
            tls(&other.ca.server(&["localhost"])?, &[ALPN])?,
            silent(),
            Expected::Tls("the same authority?"),
        ),
        ("expired", tls(&late, &[ALPN])?, silent(), Expected::Tls("renew it")),
        (
            "not valid yet",
            tls(&early, &[ALPN])?,
            silent(),
            Expected::Tls("check the clocks"),
        ),
        (
            "for clients only",
            tls(&world.ca.client("localhost")?, &[ALPN])?,
            silent(),
            Expected::Tls("not made for this side"),
        ),
        (
            "no protocol",
            tls(&localhost, &[])?,
            silent(),
            Expected::Tls("does not speak diset/1"),
        ),
        (
            "another protocol",
            tls(&localhost, &[b"h2"])?,
            silent(),
            Expected::Tls("does not speak diset/1"),
        ),
        ("hangs up", good.clone(), Deed::Bare(b""), Expected::Lost),
        ("a reset", good.clone(), Deed::Reset, Expected::Lost),
        (
            "a record that is never whole",
            good.clone(),
            Deed::BareTrickle(&[22, 3, 3, 0x40, 0]),
            Expected::Code(Code::HandshakeTimeout),
        ),
        (
            "silence",
            good,
            Deed::BareSilence,
            Expected::Code(Code::HandshakeTimeout),
        ),
    ];
    for (what, config, deed, expected) in rows {
        meets(&world, what, config, deed, &expected).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_breaks_the_handshake_is_named_and_tried_again() -> TestResult {
    let world = World::new()?;
    let good = tls(&world.ca.server(&["localhost"])?, &[ALPN])?;
    let ignorable = frame(0xc5, &[0; 300]);
    let small = frame(0x81, &[0x81, 1, 1, 0x82, 8, 10, 0x80, 8, 10, 0xe0, 0xd4, 3]);
    let timeout = || Expected::Code(Code::HandshakeTimeout);
    let malformed = || Expected::Code(Code::PacketMalformed);
    let rows = [
        ("silence", Deed::Says(Vec::new()), timeout()),
        ("silence after the preamble", after_preamble(&[]), timeout()),
        ("endless bytes", Deed::Repeats(PREAMBLE.to_vec(), ignorable), timeout()),
        (
            "another language",
            Deed::Says(b"220 ready\r\n".to_vec()),
            Expected::Code(Code::NotDiset),
        ),
        (
            "version 2",
            Deed::Says(vec![0xd1, b'S', b'E', b'T', 2]),
            Expected::Code(Code::Version),
        ),
        (
            "garbage",
            after_preamble(&frame(0x9f, b"\x1b[2J")),
            Expected::Code(Code::UnknownKind),
        ),
        (
            "too long",
            after_preamble(&[0xff, 0x7f, 0x81]),
            Expected::Code(Code::FrameTooLong),
        ),
        ("no fields", after_preamble(&frame(0x81, &[])), malformed()),
        ("limits that cannot be", after_preamble(&small), malformed()),
        (
            "a verdict too many",
            Deed::Says(accepting_with(&[0x83, 2, 99, 1])),
            malformed(),
        ),
        (
            "an unknown critical field",
            Deed::Says(accepting_with(&[0xff, 0])),
            Expected::Code(Code::UnknownField),
        ),
        (
            "describe twice",
            after_preamble(&frame(0x83, &[]).repeat(2)),
            Expected::Code(Code::Unexpected),
        ),
        (
            "a message too soon",
            after_preamble(&frame(0, &[2, 2])),
            Expected::Code(Code::Unexpected),
        ),
        ("half an end", Deed::SaysAndEnds(PREAMBLE.to_vec()), Expected::Lost),
    ];
    for (what, deed, expected) in rows {
        meets(&world, what, good.clone(), deed, &expected).await?;
    }
    Ok(())
}

/// An acceptance with one more field.
fn accepting_with(field: &[u8]) -> Vec<u8> {
    let mut bytes = accepting(&[]);
    bytes.extend_from_slice(field);
    // The length of the frame stands after the preamble.
    bytes[PREAMBLE.len()] += field.len() as u8;
    bytes
}

#[tokio::test]
async fn a_service_that_breaks_a_rule_later_is_named_and_tried_again() -> TestResult {
    let world = World::new()?;
    let good = tls(&world.ca.server(&["localhost"])?, &[ALPN])?;
    let says = |rest: &[u8]| Deed::Says(accepting(rest));
    let rows = [
        (
            "accepts twice",
            says(&frame(0x81, &[])),
            Expected::Code(Code::Unexpected),
        ),
        (
            "an unknown message",
            says(&frame(0, &[99])),
            Expected::Code(Code::UnknownMessage),
        ),
        (
            "not agreed",
            Deed::Says([accepting_with(&[0x83, 2, 2, 1]), frame(0, &[2, 2])].concat()),
            Expected::Code(Code::UnknownMessage),
        ),
        (
            "the wrong direction",
            says(&frame(0, &[0, 2])),
            Expected::Code(Code::WrongDirection),
        ),
        (
            "no handler",
            says(&frame(0, &[3, 1, b'x'])),
            Expected::Code(Code::NoHandler),
        ),
        ("invalid", says(&frame(0, &[4, 1, 0xff])), Expected::Code(Code::Invalid)),
        (
            "too long",
            says(&[0x81, 0x80, 4, 0]),
            Expected::Code(Code::FrameTooLong),
        ),
        (
            "credit that is not under way",
            says(&frame(0x85, &[1, 1])),
            Expected::Code(Code::PacketMalformed),
        ),
        (
            "more than the credit",
            says(&[frame(0, &ODD), frame(0, &[2, 2]).repeat(20_000)].concat()),
            Expected::Code(Code::CreditExceeded),
        ),
        ("a proposal", says(&frame(0x80, &[])), Expected::Code(Code::Unexpected)),
        (
            "an error",
            says(&frame(0x89, b"\x81\x01\x5a\x02\x05\x1b[2J\n")),
            Expected::Code(Code::Internal),
        ),
        ("half an end", Deed::SaysAndEnds(accepting(&[])), Expected::Lost),
    ];
    for (what, deed, expected) in rows {
        meets(&world, what, good.clone(), deed, &expected).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_cannot_be_what_it_says_never_gets_a_proposal() -> TestResult {
    // A service of ours, but with settings of others: who calls it hears why.
    let (world, other) = (World::new()?, World::new()?);
    let strange = ServerTls::new(other.ca.server(&["localhost"])?, world.ca.authorities())?;
    let asked = Count::default();
    let count = asked.clone();
    let service = answering().on_connect(move |_| {
        count.add();
        async { Ok(()) }
    });
    let strange = run(service.bind("127.0.0.1:0", strange).await?);
    let refused = world.client(PingPong, &strange, "alice")?.connect().await;
    let told = refused.err().ok_or("its authority was not trusted")?.to_string();
    assert!(told.contains("this side does not trust its authority"), "{told}");
    assert_eq!(asked.value(), 0);
    Ok(())
}
