//! How a client is put together.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
#[cfg(unix)]
use std::path::Path;
use std::sync::{Arc, Mutex};

use diset_proto::{
    AdoptConfig, Arg, ClientConfig, Connection, FromService, Identity, Limits, Outcome, ReconnectPolicy, ServiceDef,
    ServiceName,
};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::callbacks::Callbacks;
use super::chance::{chance, chance_identity};
use super::events::{ClientEvent, Events};
use super::state::{BadSettings, ClientState, Ended};
use super::supervisor::Supervisor;
use super::target::{Address, Resolver, Security, Target};
use super::{Client, Guard, Inner, Stop};
use crate::any::AnyMessage;
use crate::args::Value;
use crate::buffers::Pooled;
use crate::clock;
use crate::driver::Dropped;
use crate::handler::{Any, Borrowed, Failure, HandlerResult, Handlers, Owned};
use crate::link::{Link, SlowPolicy};
use crate::session::{Engine, SessionCell, SessionSettings, Slot, in_memory};
use crate::tls::ClientTls;

/// Numbers, names and policies.
pub(super) struct Settings {
    /// The service of which this client takes the catalog; `None` when it has one.
    pub(super) adopts: Option<String>,
    pub(super) identity: Identity,
    pub(super) args: Vec<(String, Value)>,
    pub(super) limits: Limits,
    pub(super) slow: SlowPolicy,
    pub(super) send_buffer: usize,
    pub(super) reconnect: ReconnectPolicy,
    pub(super) seed: u64,
    pub(super) drain: Duration,
    /// `None`: it keeps no session.
    pub(super) session: Option<SessionSettings>,
    #[cfg(feature = "record")]
    pub(super) recordings: Option<crate::Recordings>,
}

impl Settings {
    /// The engine of a new connection in this session, its proposal ready. All connections have the
    /// one identity (PROTOCOL R-6). The session comes back when the settings do not fit.
    pub(super) fn engine<S: ServiceDef>(&self, session: Slot) -> Result<Engine, (BadSettings, Slot)> {
        let args: Vec<(&str, Arg<'_>)> = self
            .args
            .iter()
            .map(|(name, value)| (name.as_str(), value.borrowed()))
            .collect();
        let (now, output) = (clock::now(), Pooled::output(self.send_buffer));
        let Self { identity, limits, .. } = *self;
        let engine = match &self.adopts {
            None => {
                let config = ClientConfig {
                    catalog: S::CATALOG,
                    identity,
                    limits,
                    args: &args,
                };
                Connection::client_in_session(now, &config, output, session)
            }
            Some(name) => {
                let Some(service) = ServiceName::parse(name) else {
                    return Err((BadSettings::Service(name.clone()), session));
                };
                let config = AdoptConfig {
                    service,
                    identity,
                    limits,
                    args: &args,
                };
                let engine = Connection::adopting(now, &config, output);
                engine
                    .map(|engine| engine.with_sessions(None))
                    .map_err(|misuse| (misuse, session))
            }
        };
        engine.map_err(|(misuse, session)| (BadSettings::Misuse(misuse), session))
    }

    /// The settings of its sessions, if it keeps one.
    fn keeps(&self) -> Option<&SessionSettings> {
        // A catalog that is only learned has no definitions that could be stored.
        self.session.as_ref().filter(|_| self.adopts.is_none())
    }

    /// What would fail for a connection, the first one or a later one, must fail now.
    fn check<S: ServiceDef>(&self) -> Result<(), BadSettings> {
        if self.session.is_some_and(|session| session.messages == 0) {
            return Err(BadSettings::EmptyStore);
        }
        let session = self.keeps().map(|settings| in_memory(settings, None));
        self.engine::<S>(session).map(drop).map_err(|(bad, _)| bad)
    }

    /// The session of a new client.
    fn cell<S: ServiceDef>(&self) -> Option<Arc<SessionCell>> {
        let settings = self.keeps()?;
        let session = in_memory(settings, None);
        Some(SessionCell::new(session, S::CATALOG, settings.when_full, true))
    }

    /// The name of the service.
    fn name<S: ServiceDef>(&self) -> String {
        let built = || S::CATALOG.service().as_str().to_owned();
        self.adopts.clone().unwrap_or_else(built)
    }
}

/// A client that is being put together. See [`Client::builder`].
///
/// Callbacks run one after the other, messages in the order in which they came. A connection is
/// over only when its last handler and then its drop callback have finished, each at most 30 s
/// after the end. Meanwhile a client that keeps a session connects again, so that a handler can
/// wait for what it has sent; but the next connection calls nothing back before. One
/// [without a session](Self::without_session) connects again after that. What takes time belongs
/// in a task of its own.
#[must_use = "a client does nothing before `connect` or `start`"]
pub struct ClientBuilder<S: ServiceDef> {
    address: Address,
    security: Security,
    server_name: Option<String>,
    resolver: Resolver,
    handlers: Handlers<Client<S>>,
    callbacks: Callbacks<S>,
    settings: Settings,
}

impl<S: ServiceDef> ClientBuilder<S> {
    pub(super) fn tcp(address: &str) -> Self {
        Self::new(Address::Tcp(address.to_owned()), Security::Unsaid)
    }

    #[cfg(unix)]
    pub(super) fn unix(path: &Path) -> Self {
        Self::new(Address::Unix(path.to_owned()), Security::Plain)
    }

    fn new(address: Address, security: Security) -> Self {
        Self {
            address,
            security,
            server_name: None,
            resolver: Resolver::default(),
            handlers: Handlers::new(S::CATALOG.messages().len()),
            callbacks: Callbacks {
                on_connected: None,
                on_drop: None,
                on_state: None,
                on_outcome: None,
            },
            settings: Settings {
                adopts: None,
                identity: chance_identity(),
                args: Vec::new(),
                limits: Limits::SERVER,
                slow: SlowPolicy::default(),
                send_buffer: 128 * 1024,
                reconnect: ReconnectPolicy::DEFAULT,
                seed: chance(),
                drain: Duration::from_secs(10),
                session: Some(SessionSettings::default()),
                #[cfg(feature = "record")]
                recordings: None,
            },
        }
    }

    /// Takes the catalog of the service of this name.
    pub(super) fn adopting(mut self, service: &str) -> Self {
        self.settings.adopts = Some(service.to_owned());
        self
    }

    /// Connects with mutual TLS.
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.security = Security::Tls(tls);
        self
    }

    /// Connects **without TLS**: nothing is authenticated, encrypted or protected from
    /// change. For trusted networks and tests.
    pub fn plain_tcp(mut self) -> Self {
        self.security = Security::Plain;
        self
    }

    /// The name that the service's certificate must prove, when it is not the host of the
    /// address; of all addresses, when there are several.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Says which addresses a name has, in place of the system; for tests, and for whoever knows better, such as a
    /// registry of services. It is asked for each name and port of the address that is not an IP address, anew for each
    /// attempt, and has the time of a handshake ([`Limits`]); then the future is dropped. Ports may differ from the one asked
    /// for. The certificate must prove the name all the same.
    ///
    /// ```no_run
    /// # use diset_std::{Client, ServiceDef, tls::ClientTls};
    /// # fn example<S: ServiceDef>(service: S, tls: ClientTls) {
    /// let client = Client::builder(service, "fleet.example:9145")
    ///     .tls(tls)
    ///     .resolver(|_host, port| async move { Ok(vec![([10, 0, 0, 7], port).into(), ([10, 0, 0, 8], port).into()]) });
    /// # }
    /// ```
    pub fn resolver<F, R>(mut self, resolver: F) -> Self
    where
        F: Fn(String, u16) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolver = Resolver::new(resolver);
        self
    }

    /// The identity under which the service knows this client across reconnects, and
    /// across restarts if you keep it. By chance without it, for the life of the client.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.settings.identity = identity;
        self
    }

    /// A connect argument, for the service's admission; at most 16, each name once, about 740 bytes in all.
    pub fn arg(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.args.push((name.to_owned(), value.into()));
        self
    }

    /// Handles one message, which is decoded for the handler to keep. `Err` disconnects;
    /// the client then connects again.
    pub fn on<M, F, R>(mut self, handler: F) -> Self
    where
        M: FromService<S> + DeserializeOwned + 'static,
        F: Fn(Client<S>, M) -> R + Send + Sync + 'static,
        R: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handlers.set(M::NUMBER, Owned(handler, PhantomData));
        self
    }

    /// Handles one message in place: what it borrows lies in the buffer it came in. The
    /// handler must not block; it can [`try_send`](Client::try_send).
    pub fn on_ref<M>(
        mut self,
        handler: impl for<'f> Fn(&Client<S>, M::View<'f>) -> HandlerResult + Send + Sync + 'static,
    ) -> Self
    where
        M: FromService<S> + 'static,
    {
        self.handlers.set(M::NUMBER, Borrowed::<S, M, _>(handler, PhantomData));
        self
    }

    /// Handles all messages that have no handler of their own.
    pub fn on_any<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(Client<S>, AnyMessage<S>) -> R + Send + Sync + 'static,
        R: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handlers.set_any(Any(handler, PhantomData));
        self
    }

    /// Runs when a connection has opened and the one before it is over, before its first message is
    /// handled. By then it may have ended again.
    pub fn on_connected<F, R>(mut self, callback: F) -> Self
    where
        F: Fn(Client<S>) -> R + Send + Sync + 'static,
        R: Future<Output = HandlerResult> + Send + 'static,
    {
        self.callbacks.on_connected = Some(Box::new(move |client, _| Box::pin(callback(client))));
        self
    }

    /// Runs once when a connection that had opened has ended and its last handler has finished,
    /// for at most 30 s.
    pub fn on_drop<F, R>(mut self, callback: F) -> Self
    where
        F: Fn(Client<S>, Dropped) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.callbacks.on_drop = Some(Box::new(move |client, dropped| Box::pin(callback(client, dropped))));
        self
    }

    /// Is told each change of state. It must not block.
    pub fn on_state(mut self, callback: impl Fn(&Client<S>, &ClientState) + Send + Sync + 'static) -> Self {
        self.callbacks.on_state = Some(Box::new(callback));
        self
    }

    /// How many acked messages are stored until they have an outcome; see [`SessionSettings`].
    pub fn session(mut self, settings: SessionSettings) -> Self {
        self.settings.session = Some(settings);
        self
    }

    /// Keeps no session: sends and takes no acked messages.
    pub fn without_session(mut self) -> Self {
        self.settings.session = None;
        self
    }

    /// Is told the outcome of each acked message of this client that was not dealt with: its
    /// [number](crate::Receipt::number), and what became of it. For those that were, ask the
    /// [`Receipt`](crate::Receipt). It must not block.
    pub fn on_outcome(mut self, callback: impl Fn(&Client<S>, u64, Outcome) + Send + Sync + 'static) -> Self {
        self.callbacks.on_outcome = Some(Box::new(callback));
        self
    }

    /// Writes logs of its connections; read what [`Recordings`](crate::Recordings) says first.
    #[cfg(feature = "record")]
    pub fn record_connections(mut self, recordings: crate::Recordings) -> Self {
        self.settings.recordings = Some(recordings);
        self
    }

    /// Frame, credit, silence and handshake limits; [`Limits::SERVER`] without it.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// What `send` does when the service is too slow; waits at most 30 s without it.
    pub fn slow_policy(mut self, policy: SlowPolicy) -> Self {
        self.settings.slow = policy;
        self
    }

    /// How many bytes of messages may wait for the transport; 128 KiB without it.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.settings.send_buffer = bytes;
        self
    }

    /// How it waits between attempts.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.settings.reconnect = policy;
        self
    }

    /// The seed of the waits between attempts, for runs that can be repeated.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// How long a close waits for the connection to drain; 10 s without it.
    pub fn drain_time(mut self, span: Duration) -> Self {
        self.settings.drain = span;
        self
    }

    /// Connects, and gives the client when the connection is open. From then on it
    /// connects again by itself.
    ///
    /// # Errors
    /// Why the first attempt failed. To go on trying instead, [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future ends the client.
    pub async fn connect(self) -> Result<Client<S>, Ended> {
        let client = self.start()?;
        let has_tried = |state: &ClientState| !matches!(state, ClientState::Connecting);
        match client.watch().wait_for(has_tried).await? {
            ClientState::Waiting { why, .. } | ClientState::Stopped(why) => Err(why),
            ClientState::Connecting | ClientState::Connected(_) => Ok(client),
        }
    }

    /// Starts the client without waiting: it tries until it is connected. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`BadSettings`] for settings that can never work.
    pub fn start(self) -> Result<Client<S>, BadSettings> {
        self.settings.check::<S>()?;
        let target = Target::new(self.address, self.security, self.server_name.as_deref(), self.resolver)?;
        let stop = Arc::new(Stop {
            asked: watch::Sender::new(false),
        });
        let callbacks = Arc::new(self.callbacks);
        let inner = Arc::new(Inner {
            link: Link::new(None, self.settings.slow),
            identity: self.settings.identity,
            state: watch::Sender::new(ClientState::Connecting),
            stop: Arc::clone(&stop),
            session: self.settings.cell::<S>(),
            callbacks: Arc::downgrade(&callbacks),
            next_key: watch::Sender::new(None),
            name: self.settings.name::<S>(),
            adopts: self.settings.adopts.is_some(),
            catalog: Mutex::new(None),
            service: PhantomData,
        });
        let client = Client {
            inner,
            received: None,
            _guard: Some(Arc::new(Guard(stop))),
        };
        let supervisor = Supervisor::new(client.for_handlers(), target, self.handlers, callbacks, self.settings);
        tokio::spawn(supervisor.run());
        Ok(client)
    }

    /// As [`start`](Self::start), with what happens as a stream: connections, drops, and
    /// the messages that have no handler. At most `capacity` events wait to be read.
    /// Replaces [`on_any`](Self::on_any), [`on_connected`](Self::on_connected) and
    /// [`on_drop`](Self::on_drop).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn events(mut self, capacity: usize) -> Result<(Client<S>, Events<S>), BadSettings> {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let (connected, dropped) = (sender.clone(), sender.clone());
        self.callbacks.on_connected = Some(Box::new(move |_, trid| {
            let sender = connected.clone();
            Box::pin(async move { pass(&sender, ClientEvent::Connected(trid)).await })
        }));
        let client = self
            .on_any(move |client, message| {
                let sender = sender.clone();
                async move {
                    let passed = pass(&sender, ClientEvent::Message(message)).await;
                    if passed.is_err() {
                        client.stop();
                    }
                    passed
                }
            })
            .on_drop(move |_, cause| {
                let sender = dropped.clone();
                async move {
                    // Nobody reads any more: nobody misses it.
                    let _ = pass(&sender, ClientEvent::Dropped(cause)).await;
                }
            })
            .start()?;
        let events = Events {
            states: client.watch(),
            receiver,
        };
        Ok((client, events))
    }
}

async fn pass<S: ServiceDef>(sender: &mpsc::Sender<ClientEvent<S>>, event: ClientEvent<S>) -> HandlerResult {
    sender
        .send(event)
        .await
        .map_err(|_| Failure::new("nobody reads the events of the client"))
}

impl<S: ServiceDef> fmt::Debug for ClientBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("service", &S::CATALOG.service())
            .finish_non_exhaustive()
    }
}
