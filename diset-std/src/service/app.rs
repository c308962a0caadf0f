//! A service's side of one connection: admission, displacement, the drop callback.

use core::time::Duration;
use std::sync::Arc;

use diset_proto::{
    Admission, Code, Connection, Digest, Event, Instant, MessageSet, Notice, Proposal, ServiceDef, Trid,
};
use tokio::sync::SetOnce;

use super::conn::{Conn, Inner, SessionId};
use super::shared::Shared;
use crate::args::ConnectArgs;
use crate::buffers::PooledOutput;
use crate::channel::{ChannelError, Established};
use crate::clock;
use crate::driver::{App, Dropped};
use crate::handler::{BoxFuture, HandlerResult, Handlers, Refusal, guarded, in_lane};
use crate::link::Link;
use crate::tls::Credentials;

/// When a client comes back that found no room: after 1 s, spread over 10 s.
const BUSY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

pub(super) struct ServiceApp<S: ServiceDef> {
    service: Arc<Shared<S>>,
    link: Arc<Link>,
    peer: String,
    credentials: Credentials,
    /// TLS is done, or was not wanted.
    is_up: bool,
    /// The messages with a rule that is asked at each delivery. Here, for all the messages without.
    asked: MessageSet,
    /// Among those that are not open yet.
    joining: u64,
    /// Proposed, and not decided on yet.
    candidate: Option<(Conn<S>, Option<Digest>)>,
    /// Admitted: its drop callback will run.
    admitted: Option<Conn<S>>,
    /// While it is a candidate or admitted.
    place: Option<Place<S>>,
}

/// One of the connections that a service may have.
struct Place<S: ServiceDef>(Arc<Shared<S>>, SessionId);

impl<S: ServiceDef> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.registry.free_place(&self.1);
    }
}

impl<S: ServiceDef> ServiceApp<S> {
    pub(super) fn new(service: Arc<Shared<S>>, link: Arc<Link>, peer: String) -> Self {
        let joining = service.registry.join(&link);
        let asked = service.rules.asked_at_delivery();
        Self {
            asked,
            service,
            link,
            peer,
            credentials: Credentials::None,
            is_up: false,
            joining,
            candidate: None,
            admitted: None,
            place: None,
        }
    }
}

impl<S: ServiceDef> App for ServiceApp<S> {
    type Peer = Conn<S>;

    fn handlers(&self) -> Arc<Handlers<Conn<S>>> {
        Arc::clone(&self.service.handlers)
    }

    fn established(&mut self, established: Established) {
        tracing::debug!(peer = self.peer, resumed = established.resumed, "the transport is up");
        self.credentials = established.credentials;
        self.is_up = true;
    }

    fn admission(&mut self, proposal: &Proposal<'_>) -> BoxFuture<Result<MessageSet, Refusal>> {
        let service = &self.service;
        let session = SessionId {
            principal: self.credentials.principal(),
            identity: proposal.identity(),
        };
        if let Err(why) = service.registry.take_place(&session) {
            let refusal = Refusal::retry_after(why, BUSY.0, BUSY.1);
            return Box::pin(core::future::ready(Err(refusal)));
        }
        self.place = Some(Place(Arc::clone(service), session));
        let conn = Conn(Arc::new(Inner {
            link: Arc::clone(&self.link),
            service: Arc::clone(service),
            trid: service.next_trid(),
            identity: proposal.identity(),
            credentials: self.credentials.clone(),
            args: ConnectArgs::of(proposal.args()),
            peer: self.peer.clone(),
            gone: SetOnce::new(),
        }));
        self.candidate = Some((conn.clone(), proposal.digest()));
        if let Err(refusal) = service.rules.admit(&conn) {
            return Box::pin(core::future::ready(Err(refusal)));
        }
        let on_connect = match &service.callbacks.on_connect {
            Some(on_connect) => guarded("on_connect", || on_connect(conn.clone()))
                .unwrap_or_else(|| Box::pin(core::future::ready(Err(Refusal::panicked())))),
            None => return Box::pin(core::future::ready(Ok(service.rules.forbidden(&conn)))),
        };
        Box::pin(async move {
            on_connect.await?;
            // After it, so that it can look up what they ask for.
            Ok(conn.0.service.rules.forbidden(&conn))
        })
    }

    fn accept(
        &mut self,
        now: Instant,
        forbidden: MessageSet,
        conn: &mut Connection<PooledOutput>,
    ) -> Option<Event<'static>> {
        let (candidate, digest) = self.candidate.take()?;
        let mut admission = Admission::new(candidate.trid()).with_forbidden(forbidden);
        let older = &self.service.settings.older;
        if let Some((_, table)) = older.iter().find(|(known, _)| Some(*known) == digest) {
            admission = admission.with_table(table.clone());
        }
        // In another phase the engine has given the client up meanwhile.
        let event = conn.accept(now, admission).ok()?;
        self.admitted = Some(candidate);
        event
    }

    fn opened(&mut self, trid: Trid) -> Option<BoxFuture<HandlerResult>> {
        let conn = self.admitted.clone()?;
        tracing::info!(%trid, identity = %conn.identity(), peer = self.peer, "connected");
        let displaced = self.service.registry.insert(self.joining, &conn);
        if let Some(older) = &displaced {
            tracing::info!(older = %older.trid(), newer = %trid, "displaced");
            older.0.link.disconnect(Notice::new(Code::Displaced));
        }
        let on_connected = self.service.callbacks.on_connected.as_ref();
        let on_connected = on_connected.map(|call| in_lane("on_connected", || call(conn)));
        if displaced.is_none() && on_connected.is_none() {
            return None;
        }
        Some(Box::pin(async move {
            if let Some(older) = displaced {
                // One lane of handlers for each session (PROTOCOL D-2).
                older.0.gone.wait().await;
            }
            match on_connected {
                Some(on_connected) => on_connected.await,
                None => Ok(()),
            }
        }))
    }

    fn peer(&self) -> Option<&Conn<S>> {
        self.admitted.as_ref()
    }

    fn forbids(&self, number: u8) -> Option<&str> {
        if !self.asked.contains(number) {
            return None;
        }
        self.service.rules.forbids(number, self.admitted.as_ref()?)
    }

    fn margin(&self) -> Option<Duration> {
        Some(self.service.settings.margin)
    }

    fn channel_failed(&self, failure: &ChannelError) {
        // Later on, the drop tells.
        if !self.is_up
            && let Some(left_out) = self.service.failures.one_more(clock::now())
        {
            tracing::warn!(peer = self.peer, reason = %failure, left_out, "a TLS handshake failed");
        }
    }

    fn dropped(&mut self, dropped: &Dropped) -> Option<BoxFuture<()>> {
        self.candidate = None;
        self.place = None;
        let conn = self.admitted.take()?;
        tracing::info!(trid = %conn.trid(), identity = %conn.identity(), %dropped, "disconnected");
        self.service.registry.remove(&conn);
        let gone = Gone(conn.clone());
        let callback = self
            .service
            .callbacks
            .on_drop
            .as_ref()
            .and_then(|call| guarded("on_drop", || call(conn, dropped.clone())));
        Some(Box::pin(async move {
            let _gone = gone;
            if let Some(callback) = callback {
                callback.await;
            }
        }))
    }
}

/// Lets a newer connection of the session go on, whatever becomes of the callback.
struct Gone<S: ServiceDef>(Conn<S>);

impl<S: ServiceDef> Drop for Gone<S> {
    fn drop(&mut self) {
        // Set once: there is one drop callback.
        let _ = self.0.0.gone.set(());
    }
}

/// A task that is aborted leaves no trace either.
impl<S: ServiceDef> Drop for ServiceApp<S> {
    fn drop(&mut self) {
        self.place = None;
        self.service.registry.left(self.joining);
        if let Some(conn) = self.admitted.take() {
            self.service.registry.remove(&conn);
            drop(Gone(conn));
        }
    }
}
