//! Both clients against the service of diset-std over TCP: real sockets, real time.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant as Moment;

use diset_embedded::{
    Arg, Buffers, Cause, Client, Clock, Code, Config, Dropped, Event, Identity, Instant, Limits, MessageOf, NewReason,
    NoClock, Outbox, Outcome, Received, Resumption, Retry, Schema, Trid, TrustedLine, define_service,
};
use diset_std::{Conn, Rule, Service, ServiceHandle};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

#[derive(Serialize, Deserialize, Schema)]
struct Ping {
    id: i64,
}
#[derive(Serialize, Deserialize, Schema)]
struct Pong {
    id: i64,
}
#[derive(Serialize, Deserialize, Schema)]
struct Note {
    text: String,
}

define_service! {
    Demo = "Test/Demo";
    from_client: [Ping],
    from_service: [Pong, Note],
}

const IDENTITY: Identity = Identity::from_bytes(*b"sensor 000000017");
/// What the clients keep acked messages in.
type Store = Outbox<512>;
const SILENCE: Duration = Duration::from_millis(800);

#[derive(Debug, PartialEq)]
enum Seen {
    Connected(Trid),
    Pong(i64),
    Note(String, Option<Received>),
    Outcome(u64, Outcome),
    Delivered(u64),
    Dropped(Dropped),
    Nothing,
}

fn see(event: Event<'_, '_, Demo, Store>) -> Option<Seen> {
    Some(match event {
        Event::Connected(trid) => Seen::Connected(trid),
        Event::Message(message) => match message.number() {
            Pong::NUMBER => Seen::Pong(message.decode::<Pong>().expect("valid").id),
            _ => {
                let received = message.received();
                Seen::Note(message.decode::<Note>().expect("valid").text, received)
            }
        },
        Event::Outcome { number, outcome } => Seen::Outcome(number, outcome),
        Event::Delivered(delivered) => Seen::Delivered(delivered.processed),
        Event::Dropped(dropped) => Seen::Dropped(dropped),
        _ => return None,
    })
}

/// A client that connects, and the events it has.
trait Agent {
    fn dial(&mut self, address: SocketAddr);
    fn ping(&mut self, id: i64);
    fn disconnect(&mut self, reason: &str);
    fn retry(&self) -> Retry;
    /// Sends a ping acked; its number.
    fn acked(&mut self, id: i64) -> u64;
    fn resumption(&self) -> Option<Resumption>;
    /// The next event, or `Nothing` after this time.
    fn next(&mut self, within: Duration) -> Seen;
}

const SOON: Duration = Duration::from_secs(10);

fn config() -> Config<'static> {
    Config {
        limits: Limits::CHIP.with_max_silence(SILENCE),
        args: &[("site", Arg::Text("CERN"))],
        ..Config::new(IDENTITY, 7)
    }
}

/// The story, told by either client.
fn story(runtime: &Runtime, agent: &mut dyn Agent) {
    let (gone, mut drops) = mpsc::unbounded_channel();
    let service = Service::new(Demo)
        .allow_connect(Rule::everyone())
        .on_connected(|conn: Conn<Demo>| async move {
            let text = format!("{} at {:?}", conn.identity(), conn.args().text("site"));
            conn.send(&Note { text }).await?;
            Ok(())
        })
        .on(|conn: Conn<Demo>, ping: Ping| async move {
            conn.send(&Pong { id: ping.id }).await?;
            Ok(())
        })
        .on_drop(move |_, dropped| {
            let _ = gone.send(dropped.cause().clone());
            async {}
        });
    let bound = runtime.block_on(service.bind_plain_tcp("127.0.0.1:0")).expect("a port");
    let (address, handle): (_, ServiceHandle<Demo>) = (bound.local_addr().expect("TCP"), bound.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = runtime.spawn(bound.run_until(async {
        let _ = stopped.await;
    }));

    // The service pushes, the client asks.
    let greeting = format!("{IDENTITY} at Some(\"CERN\")");
    agent.dial(address);
    let Seen::Connected(first) = agent.next(SOON) else {
        panic!("not connected")
    };
    assert_eq!(agent.next(SOON), Seen::Note(greeting.clone(), None));
    for id in 0..100 {
        agent.ping(id);
        assert_eq!(agent.next(SOON), Seen::Pong(id));
    }
    // Nothing to say for longer than a silent peer lives.
    assert_eq!(agent.next(SILENCE * 2), Seen::Nothing, "PROTOCOL K-2");
    agent.ping(-1);
    assert_eq!(agent.next(SOON), Seen::Pong(-1));
    // The service ends it, the client comes back.
    assert!(handle.disconnect(first, "maintenance"));
    let Seen::Dropped(dropped) = agent.next(SOON) else {
        panic!("not dropped")
    };
    let notice = match dropped.cause() {
        Cause::PeerError(notice) => notice,
        other => panic!("{other}"),
    };
    assert_eq!((notice.code(), notice.text()), (Code::Disconnected, "maintenance"));
    assert!(matches!(agent.retry(), Retry::At(_)));
    assert!(matches!(runtime.block_on(drops.recv()), Some(Cause::OurError(_))));
    agent.dial(address);
    let Seen::Connected(second) = agent.next(SOON) else {
        panic!("not connected again")
    };
    assert_ne!(first, second, "PROTOCOL R-6");
    assert_eq!(agent.next(SOON), Seen::Note(greeting, None), "PROTOCOL R-6");
    // The client ends it, and says why.
    agent.ping(5);
    agent.disconnect("battery low");
    assert!(matches!(agent.next(SOON), Seen::Dropped(_)));
    match runtime.block_on(drops.recv()) {
        Some(Cause::PeerError(notice)) => assert_eq!(notice.text(), "battery low"),
        other => panic!("{other:?}"),
    }
    let _ = stop.send(());
    runtime.block_on(serving).expect("the service ends");
}

/// A service that handles acked pings but one, and sends an acked note to whoever comes.
struct Keeper {
    address: SocketAddr,
    handled: mpsc::UnboundedReceiver<(i64, bool)>,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

const POISON: i64 = 13;

impl Keeper {
    fn start(runtime: &Runtime) -> Self {
        let (log, handled) = mpsc::unbounded_channel();
        let service = Service::new(Demo)
            .allow_connect(Rule::everyone())
            .on_connected(|conn: Conn<Demo>| async move {
                conn.send_acked(&Note { text: "kept".into() }).await?;
                Ok(())
            })
            .on(move |conn: Conn<Demo>, ping: Ping| {
                let repeated = conn.received().is_some_and(|received| received.maybe_repeated);
                let _ = log.send((ping.id, repeated));
                let poison = ping.id == POISON;
                async move {
                    match poison {
                        true => Err(std::io::Error::other("poison").into()),
                        false => Ok(()),
                    }
                }
            });
        let bound = runtime.block_on(service.bind_plain_tcp("127.0.0.1:0")).expect("a port");
        let address = bound.local_addr().expect("TCP");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = runtime.spawn(async move {
            bound
                .run_until(async {
                    let _ = stopped.await;
                })
                .await;
        });
        Self {
            address,
            handled,
            stop,
            serving,
        }
    }

    fn handled(&mut self) -> Vec<(i64, bool)> {
        core::iter::from_fn(|| self.handled.try_recv().ok()).collect()
    }
}

/// Until this acked message has an outcome; what was told on the way.
fn until_done(agent: &mut dyn Agent, address: SocketAddr, number: u64) -> Vec<(u64, Outcome)> {
    let mut outcomes = Vec::new();
    loop {
        match agent.next(SOON) {
            Seen::Outcome(number, outcome) => outcomes.push((number, outcome)),
            Seen::Note(_, received) => assert!(received.is_some_and(|received| !received.maybe_repeated)),
            Seen::Delivered(processed) if processed >= number => return outcomes,
            Seen::Dropped(_) => agent.dial(address),
            Seen::Connected(_) | Seen::Delivered(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Acked messages over an outage, a restart and a handler that fails.
fn acked_story(runtime: &Runtime, agent: &mut dyn Agent) {
    let mut keeper = Keeper::start(runtime);
    let first = agent.acked(1);
    agent.dial(keeper.address);
    let outcomes = until_done(agent, keeper.address, first);
    assert_eq!((outcomes, keeper.handled()), (vec![], vec![(1, false)]));
    // The handler fails: told, and the next is handled all the same.
    let poison = agent.acked(POISON);
    let third = agent.acked(3);
    let outcomes = until_done(agent, keeper.address, third);
    assert_eq!(
        outcomes,
        [(poison, Outcome::Failed(Code::HandlerFailed))],
        "PROTOCOL Q-5"
    );
    assert_eq!(keeper.handled(), [(POISON, false), (3, false)]);
    assert!(
        matches!(agent.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-6"
    );
    // Another process takes the place of this one, which has kept nothing.
    let _ = keeper.stop.send(());
    while !matches!(agent.next(SOON), Seen::Dropped(_)) {}
    runtime.block_on(keeper.serving).expect("the service ends");
    let fourth = agent.acked(4);
    let mut keeper = Keeper::start(runtime);
    agent.dial(keeper.address);
    let outcomes = until_done(agent, keeper.address, fourth);
    let why = NewReason::Forgotten;
    assert_eq!(agent.resumption(), Some(Resumption::New { why }), "PROTOCOL N-6");
    assert_eq!((outcomes, keeper.handled()), (vec![], vec![(4, false)]));
    agent.disconnect("done");
    let _ = keeper.stop.send(());
    runtime.block_on(keeper.serving).expect("the service ends");
}

// ── blocking, over std ──────────────────────────────────────────────────────────────

struct Tcp(TcpStream);

impl embedded_io::ErrorType for Tcp {
    type Error = std::io::Error;
}

impl embedded_io::Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl embedded_io::ReadReady for Tcp {
    fn read_ready(&mut self) -> std::io::Result<bool> {
        self.0.set_nonblocking(true)?;
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false)?;
        match peeked {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl embedded_io::Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl embedded_io::WriteReady for Tcp {
    fn write_ready(&mut self) -> std::io::Result<bool> {
        // The system does not tell without a poll; a write of a few bytes seldom waits.
        Ok(true)
    }
}

struct Polled<'b> {
    client: Client<'b, Demo, TrustedLine<Tcp>, NoClock, Store>,
    /// The same socket, to wait for input.
    socket: Option<TcpStream>,
    begun: Moment,
}

impl Polled<'_> {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.begun.elapsed().as_millis()).expect("in time"))
    }
}

impl Agent for Polled<'_> {
    fn dial(&mut self, address: SocketAddr) {
        let socket = TcpStream::connect(address).expect("the service listens");
        self.socket = Some(socket.try_clone().expect("a handle"));
        let line = TrustedLine::new(Tcp(socket)).ending_with(|tcp| {
            let _ = tcp.0.shutdown(Shutdown::Write);
        });
        self.client.connect(line, self.now()).expect("opens at once");
    }

    fn ping(&mut self, id: i64) {
        self.client.send(&Ping { id }).expect("room");
    }

    fn disconnect(&mut self, reason: &str) {
        self.client.disconnect(reason);
    }

    fn retry(&self) -> Retry {
        self.client.retry()
    }

    fn acked(&mut self, id: i64) -> u64 {
        self.client.send_acked(&Ping { id }).expect("room")
    }

    fn resumption(&self) -> Option<Resumption> {
        self.client.resumption()
    }

    fn next(&mut self, within: Duration) -> Seen {
        let end = self.now().after(within);
        loop {
            let now = self.now();
            match self.client.poll(now) {
                Some(event) => match see(event) {
                    Some(seen) => return seen,
                    None => continue,
                },
                None if now >= end => return Seen::Nothing,
                None => {}
            }
            // As a chip sleeps: until input, or until something is due.
            let wake = self.client.wake().map_or(end, |wake| wake.min(end));
            let wait = wake.since(self.now()).max(Duration::from_millis(1));
            let socket = self.socket.as_ref().expect("dialled");
            socket.set_read_timeout(Some(wait)).expect("a timeout");
            let _ = socket.peek(&mut [0]);
        }
    }
}

#[test]
fn the_blocking_client_and_the_service() {
    let runtime = Runtime::new().expect("a runtime");
    let mut buffers: Buffers = Buffers::new();
    let mut outbox = Store::new();
    let client = Client::blocking(Demo, config(), &mut buffers).expect("settings");
    let client = client.with_outbox(&mut outbox).expect("settings");
    let mut agent = Polled {
        client,
        socket: None,
        begun: Moment::now(),
    };
    story(&runtime, &mut agent);
    acked_story(&runtime, &mut agent);
}

// ── async, over tokio ───────────────────────────────────────────────────────────────

struct Stream(tokio::net::TcpStream);

impl embedded_io::ErrorType for Stream {
    type Error = std::io::Error;
}

impl embedded_io_async::Read for Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).await
    }
}

impl embedded_io_async::Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().await
    }
}

struct Tokio(tokio::time::Instant);

impl Clock for Tokio {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.0.elapsed().as_millis()).expect("in time"))
    }

    async fn sleep_until(&mut self, time: Instant) {
        tokio::time::sleep_until(self.0 + Duration::from_millis(time.as_millis())).await;
    }
}

struct Awaited<'b> {
    client: Client<'b, Demo, TrustedLine<Stream>, Tokio, Store>,
    runtime: &'b Runtime,
}

impl Agent for Awaited<'_> {
    fn dial(&mut self, address: SocketAddr) {
        let client = &mut self.client;
        self.runtime.block_on(async {
            assert!(matches!(client.wait_for_retry().await, Retry::At(_)));
            let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            client.connect(TrustedLine::new(Stream(stream))).await.expect("opens");
        });
    }

    fn ping(&mut self, id: i64) {
        self.client.send(&Ping { id }).expect("room");
        self.runtime.block_on(self.client.flush());
    }

    fn disconnect(&mut self, reason: &str) {
        self.client.disconnect(reason);
    }

    fn retry(&self) -> Retry {
        self.client.retry()
    }

    fn acked(&mut self, id: i64) -> u64 {
        self.client.send_acked(&Ping { id }).expect("room")
    }

    fn resumption(&self) -> Option<Resumption> {
        self.client.resumption()
    }

    fn next(&mut self, within: Duration) -> Seen {
        let client = &mut self.client;
        self.runtime.block_on(async {
            let end = tokio::time::Instant::now() + within;
            loop {
                match tokio::time::timeout_at(end, client.next()).await {
                    Ok(event) => {
                        if let Some(seen) = see(event.expect("connected")) {
                            return seen;
                        }
                    }
                    Err(_) => return Seen::Nothing,
                }
            }
        })
    }
}

#[test]
fn the_async_client_and_the_service() {
    let runtime = Runtime::new().expect("a runtime");
    let mut buffers: Buffers = Buffers::new();
    let _in_runtime = runtime.enter();
    let clock = Tokio(tokio::time::Instant::now());
    let mut outbox = Store::new();
    let client = Client::new(Demo, config(), clock, &mut buffers).expect("settings");
    let client = client.with_outbox(&mut outbox).expect("settings");
    let mut agent = Awaited {
        client,
        runtime: &runtime,
    };
    story(&runtime, &mut agent);
    acked_story(&runtime, &mut agent);
}
