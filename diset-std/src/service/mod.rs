//! A service: callbacks, settings, and the socket it listens on.

mod app;
mod bind;
mod conn;
mod counters;
mod few_lines;
mod handle;
mod listener;
mod recheck;
mod registry;
mod rule;
mod sessions;
mod shared;
#[cfg(unix)]
mod socket_file;
mod source;

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::time::Duration;

use diset_proto::{Agreement, FromClient, Limits, Outcome, ServiceDef};
use serde::de::DeserializeOwned;
#[cfg(any(unix, feature = "durable"))]
use std::path::Path;
use tokio::net::ToSocketAddrs;

use self::bind::Listener;
pub use self::conn::{Conn, SessionId};
pub use self::counters::{Counter, Counters, TlsFailure};
pub use self::handle::{Broadcast, LeftBehind, ServiceHandle};
use self::listener::Security;
pub use self::listener::{BindError, BoundService};
pub use self::rule::Rule;
use self::rule::Rules;
use self::shared::{Callbacks, Settings, Shared};
use crate::any::AnyMessage;
use crate::driver::Dropped;
use crate::handler::{Any, Borrowed, HandlerResult, Handlers, Owned, Refusal};
use crate::link::SlowPolicy;
use crate::session::SessionSettings;
#[cfg(feature = "durable")]
use crate::store::Place;
use crate::tls::ServerTls;

/// A service that is being put together: callbacks first, then one of the `bind` methods.
///
/// For each connection callbacks run one after the other, messages in the order in which
/// they came; connections do not wait for each other.
#[must_use = "a service does nothing before it is bound and run"]
pub struct Service<S: ServiceDef> {
    handlers: Handlers<Conn<S>>,
    callbacks: Callbacks<S>,
    rules: Rules<S>,
    settings: Settings,
}

impl<S: ServiceDef> Service<S> {
    /// A service with this catalog and no callbacks: every authenticated client is admitted,
    /// every message is refused.
    pub fn new(_service: S) -> Self {
        Self {
            handlers: Handlers::new(S::CATALOG.messages().len()),
            callbacks: Callbacks {
                on_connect: None,
                on_connected: None,
                on_drop: None,
                on_outcome: None,
            },
            rules: Rules::new(),
            settings: Settings {
                limits: Limits::SERVER,
                slow: SlowPolicy::default(),
                sessions: SessionSettings::default(),
                #[cfg(feature = "durable")]
                durable: None,
                send_buffer: 128 * 1024,
                max_connections: 100_000,
                max_per_principal: None,
                max_per_address: None,
                max_handshakes: 1024,
                drain: Duration::from_secs(10),
                margin: Duration::from_secs(60),
                older: Vec::new(),
                #[cfg(feature = "record")]
                recordings: None,
            },
        }
    }

    /// Runs for each new client, before anything else of it is read: `Err` rejects it, see
    /// [`Refusal`](crate::Refusal) for when it comes back.
    /// The connection takes no messages yet; see [`on_connected`](Self::on_connected).
    ///
    /// Must answer within the handshake time of the [`Limits`]: then the future is dropped at
    /// its next `.await`, and the client is told
    /// [`Code::AdmissionTimeout`](diset_proto::Code::AdmissionTimeout) and to come back. It is
    /// dropped, too, when the connection ends for another reason, such as a shutdown. Nothing is
    /// read while it runs, so a client that hangs up meanwhile is noticed only after it: what it
    /// began must be fit to be left half done, or run in a task of its own.
    pub fn on_connect<F, R>(mut self, callback: F) -> Self
    where
        F: Fn(Conn<S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        self.callbacks.on_connect = Some(Box::new(move |conn| Box::pin(callback(conn))));
        self
    }

    /// Runs when a connection has opened, before its first message is handled.
    pub fn on_connected<F, R>(mut self, callback: F) -> Self
    where
        F: Fn(Conn<S>) -> R + Send + Sync + 'static,
        R: Future<Output = HandlerResult> + Send + 'static,
    {
        self.callbacks.on_connected = Some(Box::new(move |conn| Box::pin(callback(conn))));
        self
    }

    /// Runs once when an admitted client has gone and its last handler has finished.
    ///
    /// Be quick: until it returns, or 30 s have passed, its connection counts among those of
    /// [`max_handshakes`](Self::max_handshakes), and the newer connection of the same client waits
    /// for it. When so many clients have gone that their slow callbacks fill all of these places,
    /// nobody is accepted meanwhile. Leave long work to a task of your own.
    pub fn on_drop<F, R>(mut self, callback: F) -> Self
    where
        F: Fn(Conn<S>, Dropped) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.callbacks.on_drop = Some(Box::new(move |conn, dropped| Box::pin(callback(conn, dropped))));
        self
    }

    /// Handles one message, which is decoded for the handler to keep. `Err` disconnects
    /// the client.
    pub fn on<M, F, R>(mut self, handler: F) -> Self
    where
        M: FromClient<S> + DeserializeOwned + 'static,
        F: Fn(Conn<S>, M) -> R + Send + Sync + 'static,
        R: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handlers.set(M::NUMBER, Owned(handler, PhantomData));
        self
    }

    /// Handles one message in place: what it borrows lies in the buffer it came in. The
    /// handler must not block; it can [`try_send`](Conn::try_send).
    ///
    /// `M` names the message, a borrowing one with any lifetime: `.on_ref::<Note>(…)`.
    pub fn on_ref<M>(
        mut self,
        handler: impl for<'f> Fn(&Conn<S>, M::View<'f>) -> HandlerResult + Send + Sync + 'static,
    ) -> Self
    where
        M: FromClient<S> + 'static,
    {
        self.handlers.set(M::NUMBER, Borrowed::<S, M, _>(handler, PhantomData));
        self
    }

    /// Handles all messages that have no handler of their own.
    pub fn on_any<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(Conn<S>, AnyMessage<S>) -> R + Send + Sync + 'static,
        R: Future<Output = HandlerResult> + Send + 'static,
    {
        self.handlers.set_any(Any(handler, PhantomData));
        self
    }

    /// Frame, credit, silence and handshake limits; [`Limits::SERVER`] without it.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// What `send` does when a client is too slow; waits at most 30 s without it.
    pub fn slow_policy(mut self, policy: SlowPolicy) -> Self {
        self.settings.slow = policy;
        self
    }

    /// How much is stored for each client and for how long, for acked messages; see [`SessionSettings`].
    pub fn sessions(mut self, settings: SessionSettings) -> Self {
        self.settings.sessions = settings;
        self
    }

    /// Keeps the sessions in this file, which is made when it is not there: a service that starts again goes
    /// on with them, also after it was killed. What a client is told to be received is in the file; it is handled
    /// even if the service is killed, when that client is connected again. See [`Conn::transact`] for
    /// handlers whose effect is to be there exactly once.
    #[cfg(feature = "durable")]
    pub fn durable(mut self, path: impl AsRef<Path>) -> Self {
        self.settings.durable = Some(Place::File(path.as_ref().to_owned()));
        self
    }

    /// As [`durable`](Self::durable), on a disk of a test.
    #[cfg(all(test, feature = "durable"))]
    pub(crate) fn durable_on(mut self, place: Place) -> Self {
        self.settings.durable = Some(place);
        self
    }

    /// Is told the outcome of each acked message of the service that was not dealt with: to which client, the
    /// [number](crate::Receipt::number) of the message, and what became of it. For those that were, ask the
    /// [`Receipt`](crate::Receipt). It must not block.
    pub fn on_outcome(mut self, callback: impl Fn(SessionId, u64, Outcome) + Send + Sync + 'static) -> Self {
        self.callbacks.on_outcome = Some(Box::new(callback));
        self
    }

    /// Writes logs of its connections; read what [`Recordings`](crate::Recordings) says first.
    #[cfg(feature = "record")]
    pub fn record_connections(mut self, recordings: crate::Recordings) -> Self {
        self.settings.recordings = Some(recordings);
        self
    }

    /// How many bytes of messages may wait for one client's transport; 128 KiB without
    /// it. Memory is taken while they wait only.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.settings.send_buffer = bytes;
        self
    }

    /// How many clients may be connected; one more is refused with
    /// [`Code::Busy`](diset_proto::Code::Busy). 100,000 without it.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.settings.max_connections = count;
        self
    }

    /// How many clients of one principal may be connected; one more is refused with
    /// [`Code::Busy`](diset_proto::Code::Busy) and comes back later. As many as
    /// [`max_connections`](Self::max_connections) without it, so one principal can take all
    /// places: set this when devices have certificates of their own. All clients without
    /// TLS, and all of one user on a Unix socket, are one principal.
    ///
    /// It limits how many there are, not how often they come: an admitted client that connects
    /// and disconnects in a loop does so as fast as the machine allows, with two lines in the
    /// log each time. Watch [`Counter::Admitted`](crate::Counter::Admitted), and refuse such a client in
    /// [`on_connect`](Self::on_connect).
    ///
    /// At either limit a client that is connected already may come back: it takes the place
    /// of its older connection.
    pub fn max_connections_per_principal(mut self, count: usize) -> Self {
        self.settings.max_per_principal = Some(count);
        self
    }

    /// How many clients may be connected from one IPv4 address, or one network of 64 bits of
    /// IPv6 addresses, which usually one machine has; one more is refused with
    /// [`Code::Busy`](diset_proto::Code::Busy) and comes back later. When there are twice as many
    /// connections from there, those in their handshake and those that linger included, one more
    /// is closed at once, before TLS. No limit without it: many machines behind one address
    /// translator, or one proxy, are one address. Unix sockets are not concerned.
    pub fn max_connections_per_address(mut self, count: usize) -> Self {
        self.settings.max_per_address = Some(count);
        self
    }

    /// How many connections may be open that are not those of admitted clients: silent ones,
    /// those in their handshake, and those that are over and linger or still run their drop
    /// callback. When there are so many nothing is accepted: new ones wait in the system's
    /// queue until one of these is admitted or ends. Each has its time: that for a handshake of the
    /// [`Limits`], 2 s to linger, 30 s for handlers and callbacks after the end. So who opens many silent connections delays others,
    /// and takes no memory. At least 1; 1024 without it.
    ///
    /// By default nothing keeps one address from holding all of these places, for as long as it
    /// opens new connections. [`max_connections_per_address`](Self::max_connections_per_address)
    /// does: then one address holds at most twice that many, so set it to less than half of this.
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.settings.max_handshakes = count;
        self
    }

    /// How long a shutdown waits for connections to drain; 10 s without it.
    pub fn drain_time(mut self, span: Duration) -> Self {
        self.settings.drain = span;
        self
    }

    /// How long before the certificates of a client end it is told to go away with
    /// [`Code::CredentialsEnd`](diset_proto::Code::CredentialsEnd): it drains, within 60 s at most,
    /// and comes back, with a new certificate if it has one by then. 60 s without it. A client
    /// that connects with less than that left is not told. At the end of its certificates every
    /// connection is ended.
    pub fn credentials_margin(mut self, span: Duration) -> Self {
        self.settings.margin = span;
        self
    }

    /// Also knows clients that were built with `Older`, a former form of this service, at
    /// once: their handshake takes one round trip like that of all others.
    pub fn also_known_as<Older: ServiceDef>(mut self) -> Self {
        let table = Agreement::between(S::CATALOG, Older::CATALOG);
        self.settings.older.push((Older::CATALOG.digest(), table));
        self
    }

    /// Listens on TCP with mutual TLS: on every address that a name has, and on all of a list. So
    /// `"localhost:9145"` is IPv4 and IPv6 where both are there; for a list give `&[SocketAddr]`. Port 0 is one free port,
    /// the same on all. Addresses that this machine does not have are left out, with a warning in the log, when another
    /// one is left: see [`BoundService::local_addrs`].
    ///
    /// # Errors
    /// [`BindError`]: the address cannot be listened on, or the limits do not fit.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing listens.
    pub async fn bind(
        self,
        address: impl ToSocketAddrs + fmt::Debug,
        tls: ServerTls,
    ) -> Result<BoundService<S>, BindError> {
        self.listen(Listener::tcp(address).await?, Security::Tls(tls))
    }

    /// As [`bind`](Self::bind), on TCP sockets that listen already, such as a service manager hands in.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]: there is no socket, one of them is no good, or the limits do not fit.
    pub fn bind_listeners(
        self,
        sockets: impl IntoIterator<Item = std::net::TcpListener>,
        tls: ServerTls,
    ) -> Result<BoundService<S>, BindError> {
        self.listen(Listener::given(sockets)?, Security::Tls(tls))
    }

    /// Listens on TCP **without TLS**: nothing is authenticated, encrypted or protected
    /// from change. For trusted networks and tests. Say who may connect all the same:
    /// [`allow_connect`](Self::allow_connect).
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and [`BindError::NobodyAdmitted`] when only authenticated clients
    /// may connect, as without `allow_connect`.
    ///
    /// # Cancel safety
    /// As [`bind`](Self::bind).
    pub async fn bind_plain_tcp(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<BoundService<S>, BindError> {
        if !self.rules.takes_unauthenticated() {
            return Err(BindError::NobodyAdmitted);
        }
        self.listen(Listener::tcp(address).await?, Security::Plain)
    }

    /// Listens on a Unix socket, without TLS; clients are told apart by their user. The folder of the
    /// file decides who may connect. A socket that is there and that nobody listens on, as a killed service leaves it behind,
    /// is replaced; anything else that is there stays, and is an error. The file is removed when the
    /// service ends, unless something else is there by then. Meanwhile, for less than a millisecond each time, the folder
    /// is locked, so that of two services that start at once only one listens; a lock of somebody else is waited for, a second
    /// at most.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Cancel safety
    /// As [`bind`](Self::bind).
    #[cfg(unix)]
    pub async fn bind_unix(self, path: impl AsRef<Path>) -> Result<BoundService<S>, BindError> {
        self.listen(Listener::unix(path.as_ref()).await?, Security::Plain)
    }

    fn listen(self, listener: Listener, security: Security) -> Result<BoundService<S>, BindError> {
        if self.settings.sessions.messages == 0 {
            return Err(BindError::EmptyStore);
        }
        let service = Shared::new(self.handlers, self.callbacks, self.rules, self.settings)?;
        BoundService::new(listener, security, service)
    }
}

impl<S: ServiceDef> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &S::CATALOG.service())
            .finish_non_exhaustive()
    }
}
