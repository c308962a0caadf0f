//! The task of a client: connects, drives the connection, waits, connects again.

use std::sync::{Arc, Weak};

use diset_proto::limits::LINGER;
use diset_proto::{Code, Instant, Limits, Notice, Reconnect, Retry, ServiceDef};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Client;
use super::app::{ClientApp, Lane};
use super::builder::Settings;
use super::callbacks::Callbacks;
use super::dial::{Dialer, Patience};
use super::state::{BadSettings, ClientState, Ended};
use super::target::Target;
use crate::clock;
use crate::driver::{Driver, Ending};
use crate::handler::Handlers;
use crate::link::Link;
use crate::session::{Engine, Slot};

/// Most connections that have ended while callbacks of them run, or wait for their turn.
const MAX_OLDER: usize = 4;

pub(super) struct Supervisor<S: ServiceDef> {
    client: Client<S>,
    dialer: Dialer,
    handlers: Arc<Handlers<Client<S>>>,
    callbacks: Arc<Callbacks<S>>,
    settings: Settings,
    reconnect: Reconnect,
    stop: watch::Receiver<bool>,
    /// Connections that have ended, and whose handlers and drop callbacks have not.
    older: JoinSet<Ending>,
    /// Where those run.
    lanes: Vec<Lane>,
    /// Their links: a few may be of connections that are gone.
    aside: Vec<Weak<Link>>,
    /// Until when a stop lets things finish, once it was asked for.
    until: Option<tokio::time::Instant>,
    /// Its end was told.
    has_stopped: bool,
}

impl<S: ServiceDef> Supervisor<S> {
    pub(super) fn new(
        client: Client<S>,
        target: Target,
        handlers: Handlers<Client<S>>,
        callbacks: Arc<Callbacks<S>>,
        settings: Settings,
    ) -> Self {
        let stop = client.inner.stop.asked.subscribe();
        let reconnect = Reconnect::new(settings.reconnect, settings.seed);
        Self {
            client,
            dialer: Dialer::new(target),
            handlers: Arc::new(handlers),
            callbacks,
            settings,
            reconnect,
            stop,
            older: JoinSet::new(),
            lanes: Vec::new(),
            aside: Vec::new(),
            until: None,
            has_stopped: false,
        }
    }

    /// Goes on until the client is closed or told not to come back. Then its handlers finish.
    pub(super) async fn run(mut self) {
        let why = self.connect_again().await;
        self.finish().await;
        self.stopped(why);
        // What the handlers hold, such as an end of a channel, stays until the program wants no more of the client: it
        // may learn of the end by it, and would not know which.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }

    /// One connection after the other; why there is no other one.
    async fn connect_again(&mut self) -> Ended {
        loop {
            let (ended, opened) = self.attempt().await;
            if *self.stop.borrow() {
                return Ended::Closed;
            }
            if let Some(opened) = opened {
                self.reconnect.connected(opened);
            }
            let Some((ended, cause)) = self.dialer.conclude(&ended, opened.is_some()) else {
                continue;
            };
            // The end of a connection that was open was told already.
            if opened.is_none() {
                self.tell(&ended);
            }
            match self.reconnect.dropped(clock::now(), &cause) {
                Retry::Never => return ended,
                Retry::At(_) if matches!(ended, Ended::Settings(_)) => return ended,
                Retry::At(when) => {
                    let until = clock::deadline(when);
                    self.report(ClientState::Waiting { why: ended, until });
                    let waited = tokio::time::timeout_at(until, self.stop.wait_for(|stop| *stop));
                    if waited.await.is_ok() {
                        return Ended::Closed;
                    }
                    self.report(ClientState::Connecting);
                }
            }
        }
    }

    /// Tells the end, once: first what becomes of acked messages.
    fn stopped(&mut self, why: Ended) {
        if core::mem::replace(&mut self.has_stopped, true) {
            return;
        }
        if let Some(cell) = &self.client.inner.session {
            for (number, outcome) in cell.end() {
                self.callbacks.outcome(&self.client, number, outcome);
            }
        }
        self.report(ClientState::Stopped(why));
    }

    /// Waits for the callbacks of connections that have ended; a stop limits the time.
    async fn finish(&mut self) {
        while !self.older.is_empty() && !*self.stop.borrow() {
            tokio::select! {
                _ = self.older.join_next() => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
        let now = tokio::time::Instant::now();
        let until = *self.until.get_or_insert(now + self.settings.drain) + LINGER;
        if self.have_ended(until).await {
            return;
        }
        for link in self.aside.iter().filter_map(Weak::upgrade) {
            link.give_up();
        }
        // Drop callbacks still run.
        self.have_ended(until + LINGER).await;
        self.older.shutdown().await;
    }

    /// Whether the connections that have ended are done with by then.
    async fn have_ended(&mut self, until: tokio::time::Instant) -> bool {
        let ended = async { while self.older.join_next().await.is_some() {} };
        tokio::time::timeout_at(until, ended).await.is_ok()
    }

    /// Waits until there is room for one more connection with callbacks; false at a stop.
    async fn has_room(&mut self) -> bool {
        while self.older.try_join_next().is_some() {}
        while self.older.len() >= MAX_OLDER {
            tokio::select! {
                _ = self.older.join_next() => {}
                _ = self.stop.wait_for(|stop| *stop) => return false,
            }
        }
        self.lanes.retain(|lane| !lane.is_over());
        self.aside.retain(|link| link.strong_count() > 0);
        true
    }

    /// One line for an attempt that failed. They are as few as the back-off lets there be attempts.
    fn tell(&self, ended: &Ended) {
        let (service, code) = (&self.client.inner.name, ended.code().map(Code::number));
        tracing::warn!(service, code, reason = ended.to_string(), "did not get in");
    }

    fn report(&self, state: ClientState) {
        self.callbacks.report(&self.client, state);
    }

    /// One connection, to an address that is left, from the dialling to its end; when it was open, since when. Dialling
    /// and handshake have a time limit each (PROTOCOL H-9). The next attempt comes after the
    /// end, also when the service said go-away (PROTOCOL G-3). In a session callbacks may run on.
    async fn attempt(&mut self) -> (Ended, Option<Instant>) {
        if !self.has_room().await {
            return (Ended::Closed, None);
        }
        let dialled = tokio::select! {
            dialled = self.dialer.dial(self.settings.limits.handshake()) => dialled,
            _ = self.stop.wait_for(|stop| *stop) => return (Ended::Closed, None),
        };
        let (socket, channel) = match dialled {
            Ok(dialled) => dialled,
            Err(ended) => return (ended, None),
        };
        let link = &self.client.inner.link;
        let plugged = match &self.client.inner.session {
            Some(cell) => cell.plug(link, |session| self.engine(Some(session))),
            None => self
                .engine(None)
                .map(|engine| link.plug(engine))
                .map_err(|(bad, _)| bad),
        };
        if let Err(bad) = plugged {
            return (Ended::Settings(bad), None);
        }
        let app = ClientApp::new(
            self.client.clone(),
            Arc::clone(&self.handlers),
            Arc::clone(&self.callbacks),
            self.lanes.clone(),
        );
        self.lanes.push(app.lane());
        let patience = self.dialer.patience(self.limits().handshake());
        let mut patience = Patience::new(patience, app.proven());
        let mut driver = Driver::new(socket, channel, Arc::clone(link), &self.settings.limits, app);
        let mut opened = Opened(self.client.inner.state.subscribe(), None);
        let outcome = self.drive(&mut driver, &mut opened, &mut patience).await;
        if !driver.is_finished() {
            self.aside.push(Arc::downgrade(&driver.step_aside()));
            self.older.spawn(driver);
        }
        let ended = match patience.ended() {
            Some(patience) => self.dialer.mute(patience),
            None => self.ended(outcome),
        };
        (ended, opened.since())
    }

    /// Drives the connection until it has ended; a stop drains it.
    async fn drive(
        &mut self,
        driver: &mut Driver<ClientApp<S>>,
        opened: &mut Opened,
        patience: &mut Patience,
    ) -> Option<Ending> {
        let in_session = self.client.inner.session.is_some();
        let over = async {
            if in_session {
                driver.until_over().await
            } else {
                // The definitions of the next connection may be others: nothing of this one may run on.
                driver.await
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                outcome = &mut over => return Some(outcome),
                () = opened.wait() => {}
                () = patience.runs_out() => self.client.inner.link.cut(),
                _ = self.stop.wait_for(|stop| *stop) => break,
            }
        }
        let until = tokio::time::Instant::now() + self.settings.drain;
        self.until = Some(until);
        if let Some(cell) = &self.client.inner.session {
            // What is stored and what is sent have this time together.
            tokio::select! {
                outcome = &mut over => return Some(outcome),
                _ = tokio::time::timeout_at(until, cell.emptied()) => {}
            }
        }
        let drain = until.saturating_duration_since(tokio::time::Instant::now());
        self.client.inner.link.leave(Notice::new(Code::Done), drain);
        // At the deadline the connection ends by itself; it needs a moment to say so.
        tokio::time::timeout(drain.saturating_add(LINGER), over).await.ok()
    }

    /// The engine of the next connection.
    fn engine(&self, session: Slot) -> Result<Engine, (BadSettings, Slot)> {
        let engine = self.settings.engine::<S>(session);
        #[cfg(feature = "record")]
        if let Some(recordings) = &self.settings.recordings {
            return engine.map(|engine| recordings.record("client", engine));
        }
        engine
    }

    fn ended(&self, outcome: Option<Ending>) -> Ended {
        match outcome {
            None => Ended::Closed,
            Some(Ending {
                channel: Some(failure), ..
            }) => Ended::Tls {
                address: self.dialer.here(),
                reason: failure.to_string(),
            },
            Some(Ending { dropped, channel: None }) => Ended::Dropped(dropped),
        }
    }

    const fn limits(&self) -> &Limits {
        &self.settings.limits
    }
}

/// Whoever waits for an outcome or for the end must learn of it, also when the task is dropped, as with its runtime.
impl<S: ServiceDef> Drop for Supervisor<S> {
    fn drop(&mut self) {
        self.stopped(Ended::Closed);
    }
}

/// Notes when the connection opened.
struct Opened(watch::Receiver<ClientState>, Option<Instant>);

impl Opened {
    /// Ready once, when the connection has opened.
    async fn wait(&mut self) {
        if self.1.is_some() {
            return core::future::pending().await;
        }
        let connected = self
            .0
            .wait_for(|state| matches!(state, ClientState::Connected(_)))
            .await;
        if connected.is_ok() {
            self.1 = Some(clock::now());
        }
    }

    /// Since when it was open: one that ended in the turn it opened in was noted by nobody.
    fn since(&self) -> Option<Instant> {
        let is_open = matches!(*self.0.borrow(), ClientState::Connected(_));
        self.1.or_else(|| is_open.then(clock::now))
    }
}
