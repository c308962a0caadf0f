//! A service at work: who is accepted, its connections' tasks, and their end. Its sockets are in [`bind`](super::bind).

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use diset_proto::limits::LINGER;
use diset_proto::{Connection, Misuse, ServiceDef};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::app::ServiceApp;
use super::bind::Listener;
use super::counters::Counter;
use super::few_lines::Stranger;
use super::handle::ServiceHandle;
use super::sessions::shutdown;
use super::shared::Shared;
use super::source::Source;
use crate::buffers::PooledOutput;
use crate::channel::{self, ChannelError};
use crate::clock;
use crate::driver::{Driver, Ending};
use crate::link::Link;
use crate::session::Engine;
use crate::socket::Socket;
use crate::tls::ServerTls;

/// How long the listener rests after the system refused it a connection, as when file
/// descriptors are used up.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Why a service cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; is the address of this machine, the port free, and this user allowed to?"
    )]
    Address {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// What was given is no address.
    #[error("cannot listen on {address}: {source}; write host:port, such as 127.0.0.1:9145 or [::]:9145")]
    NotAnAddress {
        /// What was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// There can be no socket at this path.
    #[cfg(unix)]
    #[error(
        "cannot listen on the Unix socket {path}: {source}; does its folder exist, may this user write there, and does no other service listen there?"
    )]
    Path {
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Without TLS nobody is authenticated on TCP, and only authenticated clients may connect
    /// (PROTOCOL H-12).
    #[error(
        "plain TCP authenticates nobody, and this service admits only authenticated clients: say allow_connect(Rule::everyone()), or give it another rule, or listen with TLS"
    )]
    NobodyAdmitted,
    /// The file of the sessions cannot be used.
    #[cfg(feature = "durable")]
    #[error("cannot keep the sessions in {path}: {source}")]
    Store {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: crate::store::StoreError,
    },
    /// A session would store nothing.
    #[error("a session must store at least one message: give SessionSettings::store more")]
    EmptyStore,
    /// The limits do not fit together.
    #[error("the settings of the service do not fit: {0}")]
    Settings(Misuse),
}

/// TLS or nothing.
pub(super) enum Security {
    Tls(ServerTls),
    Plain,
}

/// A service that listens; [`run`](Self::run) it.
#[must_use = "nobody is served before it is run"]
pub struct BoundService<S: ServiceDef> {
    listener: Listener,
    security: Security,
    service: Arc<Shared<S>>,
    tasks: JoinSet<Ending>,
    /// Behind the tasks: goes when they are told to end.
    sessions: EndSessions<S>,
}

/// Ends the sessions, in order or when the service is just dropped: whoever waits for an outcome must learn that
/// there will be none.
struct EndSessions<S: ServiceDef>(Arc<Shared<S>>);

impl<S: ServiceDef> Drop for EndSessions<S> {
    fn drop(&mut self) {
        self.0.end_sessions();
    }
}

impl<S: ServiceDef> BoundService<S> {
    pub(super) fn new(listener: Listener, security: Security, service: Arc<Shared<S>>) -> Result<Self, BindError> {
        let bound = Self {
            listener,
            security,
            sessions: EndSessions(Arc::clone(&service)),
            service,
            tasks: JoinSet::new(),
        };
        // What would fail for every client must fail now.
        bound.engine().map_err(BindError::Settings)?;
        Ok(bound)
    }

    /// The address it listens on, the first of several; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.addresses().next()
    }

    /// The addresses it listens on; none for a Unix socket.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listener.addresses().collect()
    }

    /// The service for the rest of the program.
    pub fn handle(&self) -> ServiceHandle<S> {
        ServiceHandle(Arc::clone(&self.service))
    }

    /// Serves for ever.
    ///
    /// # Cancel safety
    /// Dropping the future ends the service at once, without go-away and without drop
    /// callbacks; prefer [`run_until`](Self::run_until). Acked messages that it stored in memory
    /// come to their end, as at a shutdown.
    pub async fn run(self) {
        self.run_until(core::future::pending()).await;
    }

    /// Serves until `shutdown` is ready, then in order: takes no new connections, tells
    /// all clients to go away (PROTOCOL G-1), waits for them to drain as long as
    /// [`drain_time`](super::Service::drain_time) allows, then ends what is left. Handlers under way finish and may answer;
    /// nothing new is begun. Whoever is
    /// still in its handshake is sent away at once. A handler that has not finished 2 s
    /// after the drain time is dropped; then its connection's drop callback runs, and has 2 s itself.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let service = Arc::clone(&self.service);
        let told_often = service.failures.tell_often();
        tokio::pin!(told_often);
        let swept = service.sweep();
        tokio::pin!(swept);
        let mut rest: Option<Instant> = None;
        // Accepted, and nothing more: another connection may have taken the room meanwhile.
        let mut held: Option<Socket> = None;
        loop {
            let room = service.registry.has_room();
            if let Some(socket) = held.take_if(|_| room) {
                self.serve(socket);
                continue;
            }
            tokio::select! {
                () = &mut shutdown => break,
                never = &mut told_often => match never {},
                never = &mut swept => match never {},
                Some(ended) = self.tasks.join_next() => report(ended),
                () = tokio::time::sleep_until(rest.unwrap_or_else(Instant::now)), if rest.is_some() => rest = None,
                () = service.registry.fewer_waiting(), if !room => {}
                accepted = self.listener.accept(), if room && rest.is_none() => match accepted {
                    Ok(socket) => held = Some(socket),
                    Err(error) if concerns_one_peer(&error) => tracing::debug!(%error, "a connection broke at once"),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        rest = Some(Instant::now() + ACCEPT_REST);
                    }
                },
            }
        }
        self.drain().await;
    }

    fn engine(&self) -> Result<Engine, Misuse> {
        let settings = &self.service.settings;
        let output = PooledOutput::new(self.service.send_buffer());
        let engine = Connection::service(clock::now(), S::CATALOG, settings.limits, output)?;
        let engine = match &self.service.told {
            Some(told) => engine.telling(told.clone()),
            None => engine,
        };
        Ok(engine.with_sessions(None))
    }

    /// Starts the task of a new connection.
    fn serve(&mut self, socket: Socket) {
        let service = &self.service;
        let (peer, source) = (socket.peer(), socket.address().map(Source::of));
        if service.registry.is_crowd(source) {
            service.counters.add(Counter::TurnedAway);
            if let Some(left_out) = service.failures.one_more(Stranger::Unknown, clock::now()) {
                tracing::warn!(
                    peer,
                    left_out,
                    "turned away: far too many connections from this address"
                );
            }
            return;
        }
        let channel = match &self.security {
            Security::Tls(tls) => channel::server(tls),
            Security::Plain => socket
                .credentials()
                .map(channel::plain)
                .map_err(|_| ChannelError::Finished),
        };
        let (Ok(channel), Ok(engine)) = (channel, self.engine()) else {
            tracing::warn!(peer, "cannot serve a connection");
            return;
        };
        service.counters.add(Counter::Accepted);
        let settings = &service.settings;
        #[cfg(feature = "record")]
        let engine = match &settings.recordings {
            Some(recordings) => recordings.record("service", engine),
            None => engine,
        };
        let link = Link::new(Some(engine), settings.slow);
        let app = ServiceApp::new(Arc::clone(service), Arc::clone(&link), peer, source);
        let driver = Driver::new(socket, channel, link, &settings.limits, app);
        // Not within an `async` block: its future would hold the driver twice.
        self.tasks.spawn(driver);
    }

    async fn drain(mut self) {
        let drain = self.service.settings.drain;
        let notice = shutdown();
        // Nothing is accepted any more, so these are all: those in their handshake, too.
        let links = self.service.registry.links();
        tracing::info!(connections = links.len(), "shutting down");
        for link in links {
            link.leave(notice.clone(), drain);
        }
        // The socket closes, so that a successor can listen.
        drop(self.listener);
        // At the deadline the connections end by themselves; they need a moment to say so.
        if !all_end(&mut self.tasks, drain.saturating_add(LINGER)).await {
            tracing::warn!(
                connections = self.tasks.len(),
                "the shutdown ends what has not drained in time"
            );
            for link in self.service.registry.links() {
                link.give_up();
            }
            // Drop callbacks still run.
            all_end(&mut self.tasks, LINGER).await;
        }
        self.tasks.shutdown().await;
        drop(self.sessions);
        self.service.failures.tell();
    }
}

/// Whether all connections end within this time.
async fn all_end(tasks: &mut JoinSet<Ending>, span: Duration) -> bool {
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    tokio::time::timeout(span, ended).await.is_ok()
}

/// Whether it failed because of the one peer, so that the next one may fare better at once.
fn concerns_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected
    )
}

fn report(ended: Result<Ending, tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection failed");
    }
}

impl<S: ServiceDef> fmt::Debug for BoundService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundService")
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}
