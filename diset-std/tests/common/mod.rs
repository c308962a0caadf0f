//! What the tests over real sockets share: messages, certificates, running services, and
//! waiting with a limit. No test waits for time to pass unless time is what it is about.
#![allow(dead_code, reason = "each test file uses its part")]

use core::error::Error;
use core::fmt::Debug;
use core::future::Future;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use diset_std::tls::throwaway::ThrowawayCa;
use diset_std::tls::{ClientTls, ServerTls};
use diset_std::{
    BoundService, Client, ClientBuilder, ClientState, Code, Conn, Dropped, Ended, HandlerResult, ReconnectPolicy,
    Schema, Service, ServiceDef, ServiceHandle, define_service,
};
use serde::{Deserialize, Serialize};
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

define_service! {
    /// The service of most tests.
    pub(crate) PingPong = "Framework/PingPong";
    from_client: [Ping, Shout],
    from_service: [Pong, News],
    both: [Note<'a>, Blob],
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
    let mut watch = client.watch();
    let found = within(what, watch.wait_for(|state| wanted(state))).await;
    found.expect("the client lives").clone()
}

pub(crate) async fn connected<S: ServiceDef>(client: &Client<S>) {
    within("connected", client.connected()).await.expect("the client lives");
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
