//! A client: one connection that is kept, and made again by itself when it is lost.

mod app;
mod builder;
mod callbacks;
mod chance;
mod dial;
mod events;
mod failures;
mod generic;
mod round;
mod state;
mod supervisor;
mod target;

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use diset_proto::store::Unsure;
use diset_proto::{FromClient, Identity, LearnedCatalog, MessageOf, Resumption, SendError, ServiceDef, Trid, Verdict};
use tokio::sync::watch;

pub use self::builder::ClientBuilder;
use self::callbacks::Callbacks;
pub use self::events::{ClientEvent, Events};
pub use self::generic::{BadValue, Generic};
pub use self::state::{BadSettings, ClientState, Ended, States};
use crate::handler::{Catalogued, Told};
use crate::link::{Link, Typed};
use crate::session::{Receipt, Received, SessionCell};
use crate::tls::Certificate;

/// A client of the service `S`. Cheap to clone; all clones are one client.
///
/// It connects again by itself, under the same identity, until it is
/// [closed](Self::close) or all clones but those held by its own handlers are dropped, or until the service has said
/// that it is not to come back. [`stopped`](Self::stopped) waits for that and says why.
///
/// It counts nothing: what becomes of it is in its [`ClientState`], which
/// [`watch`](Self::watch) follows, and in its log. There each attempt that fails has one line with the
/// service, the code and the reason, no more of them than the back-off lets there be attempts; and so
/// has the beginning and the end of each connection.
pub struct Client<S: ServiceDef> {
    inner: Arc<Inner<S>>,
    received: Option<Received>,
    /// The clones of the program keep the client going; those of its handlers do not.
    _guard: Option<Arc<Guard>>,
}

struct Inner<S: ServiceDef> {
    link: Arc<Link>,
    identity: Identity,
    state: watch::Sender<ClientState>,
    stop: Arc<Stop>,
    /// What outlives the connections, unless it keeps nothing.
    session: Option<Arc<SessionCell>>,
    /// Lives as long as the task of the client.
    callbacks: Weak<Callbacks<S>>,
    next_key: watch::Sender<Option<([u8; 32], Duration)>>,
    /// The name of the service.
    name: String,
    /// Its definitions are those of the service.
    adopts: bool,
    /// The definitions as values: those of the newest connection, or those it was built with,
    /// once somebody wanted them.
    catalog: Mutex<Option<Arc<LearnedCatalog>>>,
    service: core::marker::PhantomData<fn(S)>,
}

/// Tells the task of the client to end.
#[derive(Debug)]
struct Stop {
    asked: watch::Sender<bool>,
}

/// Ends the client when the program has dropped it.
#[derive(Debug)]
struct Guard(Arc<Stop>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.asked.send_replace(true);
    }
}

impl<S: ServiceDef> Client<S> {
    /// A client of the service at `address`, `host:port`; the host is the name that the
    /// service's certificate must prove. Set [`tls`](ClientBuilder::tls), handlers and the
    /// rest, then [`connect`](ClientBuilder::connect).
    ///
    /// A service that can be reached in several ways has several addresses, with commas between them, at most 16:
    /// `"a.example:9145,b.example:9145"`. A scoped IPv6 address says its network interface, or the number of that:
    /// `"[fe80::1%eth0]:9145"`; what a certificate proves is the address without it.
    ///
    /// Each attempt goes through all addresses that the names have by then, at most 32, in the order given, the families
    /// of one name taking turns (RFC 8305, *happy eyeballs*). An address that does not answer delays the next one by
    /// 250 ms, one that refuses by nothing; to connect to any of them takes at most the time of a handshake
    /// ([`Limits`](crate::Limits)). One that connects and then fails in its handshake, or does not prove itself by TLS within
    /// a third of that time, is left for the next one in the same attempt, and is tried last for ten minutes. When
    /// the service itself refuses the client, that ends the attempt.
    pub fn builder(_service: S, address: &str) -> ClientBuilder<S> {
        ClientBuilder::tcp(address)
    }

    /// A client of the service at a Unix socket.
    #[cfg(unix)]
    pub fn builder_unix(_service: S, path: impl AsRef<std::path::Path>) -> ClientBuilder<S> {
        ClientBuilder::unix(path.as_ref())
    }

    /// Sends a message: at most once, in order. Fails at once when the client is not
    /// connected; waits for room as the client's [`SlowPolicy`](crate::SlowPolicy) says.
    ///
    /// # Errors
    /// [`SendError`]: the message was not sent.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was sent.
    ///
    /// What only the service may send does not compile:
    ///
    /// ```compile_fail,E0277
    /// # use diset_std::{Client, Schema, SendError, define_service};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Schema)]
    /// # struct Ping { id: i64 }
    /// # #[derive(Serialize, Deserialize, Schema)]
    /// # struct Pong { id: i64 }
    /// # define_service! { PingPong = "Framework/PingPong"; from_client: [Ping], from_service: [Pong] }
    /// async fn wrong(client: Client<PingPong>) -> Result<(), SendError> {
    ///     client.send(&Pong { id: 7 }).await
    /// }
    /// ```
    pub async fn send<M: FromClient<S>>(&self, message: &M) -> Result<(), SendError> {
        self.inner.link.send(&Typed(M::NUMBER, message)).await
    }

    /// Sends messages of one type from the front of `messages`, and takes off what was sent.
    /// Cheaper than to [`send`](Self::send) each of many small messages. Messages of others
    /// may come in between.
    ///
    /// # Errors
    /// [`SendError`]: the first message that is left was not sent.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready, what is left in `messages`
    /// was not sent.
    pub async fn send_all<M: FromClient<S>>(&self, messages: &mut &[M]) -> Result<(), SendError> {
        self.inner.link.send_all(M::NUMBER, messages).await
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::Full`] at once.
    pub fn try_send<M: FromClient<S>>(&self, message: &M) -> Result<(), SendError> {
        self.inner.link.try_send(&Typed(M::NUMBER, message))
    }

    /// Sends a message that gets exactly one outcome: it is stored until the service has dealt with it, and
    /// sent again after a reconnect. Also before the client is connected. What happens when the store is full
    /// [`SessionSettings::when_full`](crate::SessionSettings::when_full) says. Returns when it is stored; wait
    /// for more with the [`Receipt`], or do not.
    ///
    /// When the service has lost the session nobody knows what became of a message that was transmitted:
    /// [`Outcome::Unknown`](crate::Outcome::Unknown). See [`send_acked_or_resend`](Self::send_acked_or_resend).
    ///
    /// # Errors
    /// [`SendError`]: the message was not taken. [`SendError::NoSession`] when the service keeps none, or this
    /// client; [`SendError::NotTaken`] when the service takes none.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was stored.
    pub async fn send_acked<M: FromClient<S>>(&self, message: &M) -> Result<Receipt, SendError> {
        self.store(message, Unsure::Report).await
    }

    /// As [`send_acked`](Self::send_acked), but when nobody knows what became of the message it is sent
    /// again, and its handler told that it may be [repeated](Received::maybe_repeated).
    ///
    /// # Errors
    /// As [`send_acked`](Self::send_acked).
    ///
    /// # Cancel safety
    /// As [`send_acked`](Self::send_acked).
    pub async fn send_acked_or_resend<M: FromClient<S>>(&self, message: &M) -> Result<Receipt, SendError> {
        self.store(message, Unsure::Resend).await
    }

    async fn store<M: FromClient<S>>(&self, message: &M, unsure: Unsure) -> Result<Receipt, SendError> {
        let cell = self.inner.session.as_ref().ok_or(SendError::NoSession)?;
        let tell = |number, outcome| {
            if let Some(callbacks) = self.inner.callbacks.upgrade() {
                callbacks.outcome(self, number, outcome);
            }
        };
        SessionCell::send_for_receipt(cell, M::NUMBER, message, unsure, tell).await
    }

    /// How many acked messages of this client have no outcome yet, also of those that a durable service has
    /// received.
    pub fn stored(&self) -> usize {
        self.inner.session.as_ref().map_or(0, |cell| cell.stored())
    }

    /// How the session stood when the connection opened; `None` while there is none, and when one side keeps
    /// no sessions.
    pub fn resumption(&self) -> Option<Resumption> {
        self.inner.link.opened(|conn| conn.resumption()).flatten()
    }

    /// Which acked message this handler is called for; `None` for a plain one, and outside of handlers.
    pub const fn received(&self) -> Option<Received> {
        self.received
    }

    /// Tells the service under which certificate this client will come back, so that its session goes on:
    /// before [`ClientTls::change`](crate::tls::ClientTls::change). Only needed for one with another key. Returns
    /// for how long the service remembers it, at most `within`; it counts once. No time at all: the service does
    /// not take it, as when somebody comes under this certificate already.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] when the client is not connected, its connection ends meanwhile, or four were
    /// announced on it (PROTOCOL L-7);
    /// [`SendError::NoSession`] when the service keeps none for it.
    ///
    /// # Cancel safety
    /// Cancel safe: the service may have been told, or not.
    pub async fn announce_certificate(&self, next: &Certificate, within: Duration) -> Result<Duration, SendError> {
        let hash = next.public_key_sha256().ok_or(SendError::Encode)?;
        if self.resumption().is_none() {
            let connected = self.trid().is_some();
            return Err(if connected {
                SendError::NoSession
            } else {
                SendError::NotOpen
            });
        }
        let mut remembered = self.inner.next_key.subscribe();
        let mut states = self.inner.state.subscribe();
        let announced = self.inner.link.with_conn(|conn| conn.announce_next_key(hash, within));
        if !matches!(announced, Some(Ok(()))) {
            return Err(SendError::NotOpen);
        }
        let ours = |known: &Option<([u8; 32], Duration)>| known.is_some_and(|(known, _)| known == hash);
        tokio::select! {
            known = remembered.wait_for(ours) => match known.as_deref() {
                Ok(Some((_, lasts))) => Ok(*lasts),
                _ => Err(SendError::NotOpen),
            },
            _ = states.changed() => Err(SendError::NotOpen),
        }
    }

    /// The identity of this client, the same on every connection.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// The transport id of the connection, while there is one.
    pub fn trid(&self) -> Option<Trid> {
        match *self.inner.state.borrow() {
            ClientState::Connected(trid) => Some(trid),
            _ => None,
        }
    }

    /// What the service said of each message when this connection was made: name and
    /// verdict, in the order of the catalog. Empty while not connected.
    pub fn verdicts(&self) -> Vec<(String, Verdict)> {
        let Some(catalog) = self.catalog() else {
            return Vec::new();
        };
        let numbered = catalog.messages().iter().zip(0u8..);
        let verdicts = self.inner.link.opened(|conn| {
            numbered
                .map(|(message, number)| (message.name().to_owned(), conn.verdict(number)))
                .collect()
        });
        verdicts.unwrap_or_default()
    }

    /// What the service said of this message when this connection was made; `None` while not
    /// connected. One that is not [`Verdict::Same`] cannot be sent. A service may forbid it later
    /// on all the same: its rights may change.
    pub fn verdict<M: MessageOf<S>>(&self) -> Option<Verdict> {
        self.inner.link.opened(|conn| conn.verdict(M::NUMBER))
    }

    /// The definitions of the service, to be listed or printed. Of a [`generic`](Client::generic)
    /// client those of the newest connection, and `None` before the first.
    pub fn catalog(&self) -> Option<Arc<LearnedCatalog>> {
        let mut catalog = self.lock_catalog();
        if catalog.is_none() && !self.inner.adopts {
            // `define_service!` lets nothing through that is refused here.
            *catalog = LearnedCatalog::of::<S>().ok().map(Arc::new);
        }
        catalog.clone()
    }

    fn lock_catalog(&self) -> MutexGuard<'_, Option<Arc<LearnedCatalog>>> {
        self.inner.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the client stands now.
    pub fn state(&self) -> ClientState {
        self.inner.state.borrow().clone()
    }

    /// The state and its changes.
    pub fn watch(&self) -> States {
        States(self.inner.state.subscribe())
    }

    /// Waits until the client is connected; at once when it is.
    ///
    /// # Errors
    /// Why it has stopped, when it will not connect again.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing but waiting is done here.
    pub async fn connected(&self) -> Result<Trid, Ended> {
        let is_connected = |state: &ClientState| matches!(state, ClientState::Connected(_));
        match self.watch().wait_for(is_connected).await? {
            ClientState::Connected(trid) => Ok(trid),
            _ => Err(Ended::Closed),
        }
    }

    /// Waits until the client has stopped, and says why: it was closed, or all its clones were dropped
    /// ([`Ended::Closed`]), or the service has told it not to come back ([`Ended::Dropped`], with code and text of the
    /// service). Its last handler has finished by then, in at most 30 s, and at most 2 s after the time of
    /// [`drain_time`](ClientBuilder::drain_time) when the program has stopped it; then the drop callback, in 2 s more. As long
    /// as it comes back by itself this waits.
    ///
    /// The future does not keep the client going, so it can be spawned. What the handlers hold, such as the ends of
    /// channels, is dropped when the program [stops](Self::stop) the client or drops it, not before: whoever reads
    /// such a channel beside this learns of the end here.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing but waiting is done here.
    pub fn stopped(&self) -> impl Future<Output = Ended> + Send + use<S> {
        let mut states = self.watch();
        async move {
            let is_stopped = |state: &ClientState| matches!(state, ClientState::Stopped(_));
            match states.wait_for(is_stopped).await {
                Ok(ClientState::Stopped(why)) | Err(why) => why,
                Ok(_) => Ended::Closed,
            }
        }
    }

    /// Ends the connection in order and for good: what was sent still leaves, handlers under way finish and may answer, and
    /// acked messages are waited for until each has its outcome. Returns when that is done. A handler that
    /// has not finished 2 s after the time of [`drain_time`](ClientBuilder::drain_time) is dropped; then the drop callback of
    /// its connection runs, and has 2 s itself. Acked messages that have no outcome by then get it now:
    /// [`Outcome::Skipped`](crate::Outcome::Skipped) if they never left, else
    /// [`Outcome::Unknown`](crate::Outcome::Unknown).
    ///
    /// Does not wait for itself when called from one of the client's own handlers: there
    /// call [`stop`](Self::stop).
    ///
    /// # Cancel safety
    /// Cancel safe: the end goes on without the waiting.
    pub async fn close(&self) {
        self.stop();
        self.stopped().await;
    }

    /// As [`close`](Self::close), without waiting.
    pub fn stop(&self) {
        self.inner.stop.asked.send_replace(true);
    }

    /// Breaks the connection as a network would, without a word; the client connects
    /// again. For tests and demonstrations.
    pub fn cut(&self) {
        self.inner.link.cut();
    }

    /// A clone for the client's own handlers.
    fn for_handlers(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            received: None,
            _guard: None,
        }
    }
}

impl<S: ServiceDef> Told for Client<S> {
    fn told(&self, received: Received) -> Self {
        Self {
            received: Some(received),
            ..self.clone()
        }
    }
}

impl<S: ServiceDef> Catalogued for Client<S> {
    fn catalog(&self) -> Option<Arc<LearnedCatalog>> {
        Self::catalog(self)
    }
}

impl<S: ServiceDef> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            received: self.received,
            _guard: self._guard.clone(),
        }
    }
}

impl<S: ServiceDef> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("service", &self.inner.name)
            .field("identity", &self.inner.identity)
            .field("state", &*self.inner.state.borrow())
            .finish()
    }
}
