//! What the tests over real sockets share: messages, certificates, running services, and
//! waiting with a limit. No test waits for time to pass unless time is what it is about.

pub(crate) mod guest;
pub(crate) mod lines;

use core::error::Error;
use core::fmt::Debug;
use core::future::Future;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use diset_std::diset_proto::{ClientConfig, Connection, Deframer, Event, GrowBuf, Instant, Misuse};
use diset_std::tls::throwaway::ThrowawayCa;
use diset_std::tls::{ClientTls, ServerTls};
use diset_std::{
    BoundService, Cause, Client, ClientBuilder, ClientState, Code, Conn, Dropped, Ended, HandlerResult, Identity,
    Limits, Notice, ReconnectPolicy, Schema, Service, ServiceDef, ServiceHandle, Trid, define_service,
};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) type TestResult = Result<(), Box<dyn Error>>;

/// How long anything may take before a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Ping {
    pub(crate) id: i64,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Pong {
    pub(crate) id: i64,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct News {
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Shout {
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Note<'a> {
    pub(crate) text: &'a str,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
}

/// One attribute of each kind that can be wrong in a way of its own.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Odd {
    pub(crate) flag: bool,
    pub(crate) letter: char,
    pub(crate) choice: Choice,
    pub(crate) maybe: Option<u8>,
    pub(crate) number: u64,
    pub(crate) text: String,
    #[serde(deserialize_with = "short")]
    pub(crate) list: Vec<u16>,
}

/// A list with room for 1000 numbers.
fn short<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<u16>, D::Error> {
    let list = Vec::deserialize(reader)?;
    if list.len() > 1000 {
        return Err(serde::de::Error::invalid_length(list.len(), &"at most 1000 numbers"));
    }
    Ok(list)
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) enum Choice {
    This,
    That(u8),
}

define_service! {
    /// The service of most tests.
    pub(crate) PingPong = "Framework/PingPong";
    from_client: [Ping, Shout],
    from_service: [Pong, News],
    both: [Note<'a>, Blob, Odd],
}

/// One authority, the settings of a service `localhost`.
pub(crate) struct World {
    pub(crate) ca: ThrowawayCa,
    pub(crate) server: ServerTls,
}

impl World {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let ca = ThrowawayCa::new()?;
        let server = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
        Ok(Self { ca, server })
    }

    /// One whose service serves clients with small records, too.
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        let ca = ThrowawayCa::new()?;
        let builder = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
        let server = builder.small_records(None).build()?;
        Ok(Self { ca, server })
    }

    /// A client with a certificate of its own.
    pub(crate) fn tls(&self, name: &str) -> Result<ClientTls, Box<dyn Error>> {
        Ok(ClientTls::new(self.ca.client(name)?, self.ca.authorities())?)
    }

    /// Runs a service on a port of its own.
    pub(crate) async fn serve<S: ServiceDef>(&self, service: Service<S>) -> Result<Running<S>, Box<dyn Error>> {
        Ok(run(service.bind("127.0.0.1:0", self.server.clone()).await?))
    }

    /// A client of it that comes back quickly.
    pub(crate) fn client<S: ServiceDef>(
        &self,
        def: S,
        running: &Running<S>,
        name: &str,
    ) -> Result<ClientBuilder<S>, Box<dyn Error>> {
        let client = Client::builder(def, &running.address);
        Ok(client.tls(self.tls(name)?).reconnect(QUICK))
    }
}

/// Back soon, so that tests are short.
pub(crate) const QUICK: ReconnectPolicy = ReconnectPolicy {
    base: Duration::from_millis(20),
    max: Duration::from_millis(100),
    refused: Duration::from_millis(100),
    ..ReconnectPolicy::DEFAULT
};

/// A service at work.
pub(crate) struct Running<S: ServiceDef> {
    pub(crate) address: String,
    pub(crate) handle: ServiceHandle<S>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn run<S: ServiceDef>(bound: BoundService<S>) -> Running<S> {
    let port = bound.local_addr().map_or(0, |address| address.port());
    let handle = bound.handle();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(bound.run_until(async {
        stopped.await.ok();
    }));
    Running {
        address: format!("localhost:{port}"),
        handle,
        stop,
        task,
    }
}

impl<S: ServiceDef> Running<S> {
    pub(crate) fn port(&self) -> u16 {
        let port = self.address.rsplit(':').next();
        port.and_then(|port| port.parse().ok()).unwrap_or(0)
    }

    /// Begins the shutdown; the task ends with it.
    pub(crate) fn shut_down(self) -> JoinHandle<()> {
        self.stop.send(()).ok();
        self.task
    }

    /// Ends it at once and without a word, as if it was killed.
    pub(crate) async fn kill(self) {
        self.task.abort();
        // It was aborted, or had ended.
        let _ = self.task.await;
    }

    pub(crate) async fn stop(self) {
        within("the shutdown", self.shut_down()).await.expect("no panic");
    }
}

/// A service that answers each Ping with a Pong.
pub(crate) fn answering() -> Service<PingPong> {
    Service::new(PingPong).on(answer)
}

pub(crate) async fn answer(conn: Conn<PingPong>, ping: Ping) -> HandlerResult {
    conn.send(&Pong { id: ping.id }).await?;
    Ok(())
}

/// What happens, in order, from callbacks to the test.
pub(crate) struct Log<T>(pub(crate) mpsc::UnboundedSender<T>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Log<T> {
    /// Nobody listens any more at the end of a test.
    pub(crate) fn add(&self, entry: T) {
        self.0.send(entry).ok();
    }
}

/// The test's end of a [`Log`].
pub(crate) struct Seen<T>(mpsc::UnboundedReceiver<T>);

pub(crate) fn log<T>() -> (Log<T>, Seen<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Log(sender), Seen(receiver))
}

impl<T: Debug> Seen<T> {
    pub(crate) async fn next(&mut self) -> T {
        within("the next event", self.0.recv()).await.expect("an event")
    }

    /// What has been seen by now.
    pub(crate) fn now(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// Passes over everything until one is found.
    pub(crate) async fn find(&mut self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let seen = self.next().await;
            if wanted(&seen) {
                return seen;
            }
        }
    }

    /// All that comes until every sender is gone.
    pub(crate) async fn rest(mut self) -> Vec<T> {
        let mut all = Vec::new();
        while let Some(entry) = within("the end of events", self.0.recv()).await {
            all.push(entry);
        }
        all
    }
}

/// Waits, at most [`LIMIT`].
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// Waits until the client is in a state.
pub(crate) async fn until<S: ServiceDef>(
    client: &Client<S>,
    what: &str,
    wanted: impl Fn(&ClientState) -> bool,
) -> ClientState {
    let mut states = client.watch();
    let found = within(what, states.wait_for(|state| wanted(state))).await;
    found.expect("the client lives")
}

pub(crate) async fn connected<S: ServiceDef>(client: &Client<S>) {
    within("connected", client.connected()).await.expect("the client lives");
}

/// The service's side of a client's connection.
pub(crate) async fn conn_of<S: ServiceDef, C: ServiceDef>(running: &Running<S>, client: &Client<C>) -> Conn<S> {
    within("the service knows", async {
        loop {
            if let Some(conn) = client.trid().and_then(|trid| running.handle.find(trid)) {
                return conn;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// The connection that ended, in why a client is not connected.
pub(crate) fn dropped(ended: &Ended) -> &Dropped {
    match ended {
        Ended::Dropped(dropped) => dropped,
        other => panic!("not by the service: {other}"),
    }
}

/// The code that went with an end.
pub(crate) fn code(dropped: &Dropped) -> Option<Code> {
    dropped.code()
}

/// What the peer said at the end.
pub(crate) fn told(dropped: &Dropped) -> &Notice {
    match dropped.cause() {
        Cause::PeerError(notice) | Cause::Refused(notice) => notice,
        other => panic!("{other}"),
    }
}

/// A client that is let alone: it keeps its connection and gets its answers.
pub(crate) struct Neighbour {
    pub(crate) client: Client<PingPong>,
    trid: Option<Trid>,
    pongs: Seen<i64>,
}

impl Neighbour {
    pub(crate) async fn new(client: ClientBuilder<PingPong>) -> Result<Self, Box<dyn Error>> {
        let (log, pongs) = log();
        let client = client
            .on_ref::<Pong>(move |_, pong| {
                log.add(pong.id);
                Ok(())
            })
            .on_ref::<News>(|_, _| Ok(()))
            .connect()
            .await?;
        let trid = client.trid();
        Ok(Self { client, trid, pongs })
    }

    pub(crate) async fn is_served(&mut self) {
        self.client.send(&Ping { id: 5 }).await.expect("open");
        assert_eq!(self.pongs.next().await, 5);
        assert_eq!(self.client.trid(), self.trid, "it kept its connection");
    }
}

/// How often something happened.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn value(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// All the peer says until it ends, and how it ends.
pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let end = within("the peer's end", stream.read_to_end(&mut bytes)).await;
    (bytes, end.map(|_| ()))
}

/// A client's engine, driven by hand.
pub(crate) struct Engine {
    pub(crate) conn: Connection<GrowBuf>,
    rx: Deframer<GrowBuf>,
    /// How many messages came. Their credit is not granted again.
    pub(crate) messages: usize,
}

impl Engine {
    pub(crate) fn new() -> Result<Self, Misuse> {
        let config = ClientConfig {
            catalog: PingPong::CATALOG,
            identity: Identity::from_bytes([3; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        Ok(Self {
            conn: Connection::client(Instant::ZERO, &config, GrowBuf::new(1 << 20))?,
            rx: Deframer::new(GrowBuf::new(1 << 17)),
            messages: 0,
        })
    }

    /// What it has to say: its proposal at first.
    pub(crate) fn says(&mut self) -> Vec<u8> {
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        bytes
    }

    /// Proposes, and reads until it is accepted.
    pub(crate) async fn open(&mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> TestResult {
        stream.write_all(&self.says()).await?;
        let mut told = vec![0; 1024];
        while self.conn.trid().is_none() {
            let count = within("accepted", stream.read(&mut told)).await?;
            assert_eq!(self.fate(&told[..count]), None);
        }
        Ok(())
    }

    /// What a service that says this did to the connection.
    pub(crate) fn fate(&mut self, mut bytes: &[u8]) -> Option<Cause> {
        while let Some(frame) = self.rx.next(&mut bytes, self.conn.max_frame()) {
            match self.conn.handle_frame(Instant::ZERO, frame) {
                Some(Event::Dropped(cause)) => return Some(cause),
                Some(Event::Message(message)) => {
                    self.messages += 1;
                    self.conn.keep(message);
                }
                _ => {}
            }
        }
        None
    }
}
