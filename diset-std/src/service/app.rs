//! A service's side of one connection: admission, displacement, the drop callback.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::sync::{Arc, OnceLock};

use diset_proto::drive::{Rx, Tx};
use diset_proto::{
    Admission, Code, Digest, Instant, MessageSet, NewReason, Notice, Outcome, Proposal, Resumption, ServiceDef, Trid,
};
use tokio::sync::SetOnce;

use super::conn::{Conn, Inner, SessionId};
use super::counters::{Counter, TlsFailure};
use super::few_lines::{Stranger, is_ordinary};
use super::sessions::{Entered, Entrance};
use super::shared::Shared;
use super::source::Source;
use crate::args::ConnectArgs;
use crate::channel::{ChannelError, Established};
use crate::clock;
use crate::driver::{App, Dropped};
use crate::handler::{BoxFuture, HandlerResult, Handlers, Refusal, guarded, in_lane, soon};
use crate::link::Link;
use crate::session::{SessionCell, Std};
use crate::tls::{Credentials, CredentialsError};

pub(super) struct ServiceApp<S: ServiceDef> {
    service: Arc<Shared<S>>,
    link: Arc<Link>,
    /// Taken when the transport was opened, so that it is known which one is newer (PROTOCOL N-9).
    trid: Trid,
    peer: String,
    source: Option<Source>,
    credentials: Credentials,
    /// Why they could not be told, although they were proven: the client is refused before anything is made of them.
    unfit: Option<CredentialsError>,
    /// TLS is done, or was not wanted.
    is_up: bool,
    /// The messages with a rule that is asked at each delivery. Here, for all the messages without.
    asked: MessageSet,
    /// How often the rules had changed before they were asked.
    rules_changed: u64,
    /// The end was counted.
    is_counted: bool,
    /// Among those that are not open yet.
    joining: u64,
    /// Proposed, and not decided on yet.
    candidate: Option<(Conn<S>, Option<Digest>)>,
    /// Admitted: its drop callback will run.
    admitted: Option<Conn<S>>,
    /// While it is a candidate or admitted.
    place: Option<Place<S>>,
    cell: Option<Arc<SessionCell>>,
    /// Whose session that is.
    session: Option<SessionId>,
    /// The name that it had until this connection.
    former: Option<SessionId>,
    /// Outcomes of stored messages that its rights forbid now, to be told: not under the lock of the link.
    retracted: Vec<(u64, Outcome)>,
}

/// One of the connections that a service may have.
struct Place<S: ServiceDef>(Arc<Shared<S>>, SessionId, Option<Source>);

impl<S: ServiceDef> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.registry.free_place(&self.1, self.2);
        self.0.counters.add(Counter::InHandshake);
    }
}

impl<S: ServiceDef> ServiceApp<S> {
    pub(super) fn new(service: Arc<Shared<S>>, link: Arc<Link>, peer: String, source: Option<Source>) -> Self {
        let joining = service.registry.join(&link, source);
        service.counters.add(Counter::InHandshake);
        let asked = service.rules.asked_at_delivery();
        Self {
            asked,
            rules_changed: 0,
            trid: service.next_trid(),
            service,
            link,
            peer,
            source,
            credentials: Credentials::None,
            unfit: None,
            is_up: false,
            is_counted: false,
            joining,
            candidate: None,
            admitted: None,
            place: None,
            cell: None,
            session: None,
            former: None,
            retracted: Vec::new(),
        }
    }
}

impl<S: ServiceDef> ServiceApp<S> {
    /// Counts the end, once.
    fn count(&mut self, end: Counter) {
        if !core::mem::replace(&mut self.is_counted, true) {
            self.service.counters.add(end);
        }
    }

    fn forget(&self, conn: &Conn<S>) {
        if self.service.registry.remove(conn) {
            self.service.counters.take(Counter::Live);
        }
    }

    /// Puts the connection in and ends the older one of its client; all whose drop callbacks must have run before
    /// it goes on. `None`: it came too late.
    fn displace(&mut self, conn: &Conn<S>) -> Option<Vec<Conn<S>>> {
        let registry = &self.service.registry;
        let conflict = Resumption::New {
            why: NewReason::StateConflict,
        };
        if conn.resumption() == Some(conflict) {
            // The rightful one is left alone (PROTOCOL N-5).
            registry.insert_copy(self.joining, conn);
            return Some(Vec::new());
        }
        let older = registry.insert(self.joining, conn).ok()?;
        // Under another key it is the same client all the same (PROTOCOL N-8).
        let former = self.former.take().map(|former| registry.older(former));
        let mut leaving = Vec::new();
        for older in [Some(older), former].into_iter().flatten() {
            if let Some(displaced) = older.displaced {
                tracing::info!(older = %displaced.trid(), newer = %conn.trid(), "displaced");
                displaced.0.link.disconnect(Notice::new(Code::Displaced));
            }
            leaving.extend(older.leaving);
        }
        Some(leaving)
    }

    /// Tells what became of stored messages that are forbidden to this client now.
    fn tell_retracted(&mut self) {
        let Some(session) = self.session else { return };
        for (number, outcome) in core::mem::take(&mut self.retracted) {
            self.service.tell_outcome(session, number, outcome);
        }
    }

    /// Whether its client has gone on with a newer transport: it waits for no answer (PROTOCOL N-9).
    fn is_late(&self, session: SessionId) -> bool {
        let newer = self.service.registry.find_session(session);
        newer.is_some_and(|newer| newer.trid() > self.trid) || self.service.sessions.is_late(session, self.trid)
    }

    /// Strangers can cause these lines, so they are few.
    fn tell_not_admitted(&self, dropped: &Dropped, why: Option<&str>) {
        let Some(left_out) = self.service.failures.one_more(Stranger::NotAdmitted, clock::now()) else {
            return;
        };
        let (peer, code) = (&self.peer, dropped.code().map(Code::number));
        if self.unfit.is_none() && is_ordinary(dropped.cause()) {
            tracing::info!(
                peer,
                code,
                reason = dropped.to_string(),
                why,
                left_out,
                "a client did not get in"
            );
        } else {
            tracing::warn!(
                peer,
                code,
                reason = dropped.to_string(),
                why,
                left_out,
                "a client did not get in"
            );
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
        match established.credentials {
            Ok(credentials) => self.credentials = credentials,
            Err(why) => self.unfit = Some(why),
        }
        self.is_up = true;
        self.service.counters.add(if established.resumed {
            Counter::ResumedHandshake
        } else {
            Counter::FullHandshake
        });
    }

    fn admission(&mut self, proposal: &Proposal<'_>) -> BoxFuture<Result<MessageSet, Refusal>> {
        let service = &self.service;
        // It proved who it is, and nobody here can say who that is.
        if let Some(why) = self.unfit {
            return Box::pin(core::future::ready(Err(Refusal::not_admitted(&why.to_string()))));
        }
        let session = SessionId {
            principal: self.credentials.principal(),
            identity: proposal.identity(),
        };
        if let Err(why) = service.registry.take_place(&session, self.source) {
            return Box::pin(core::future::ready(Err(Refusal::busy(why))));
        }
        service.counters.take(Counter::InHandshake);
        self.place = Some(Place(Arc::clone(service), session, self.source));
        let conn = Conn::new(Inner {
            link: Arc::clone(&self.link),
            service: Arc::clone(service),
            trid: self.trid,
            identity: proposal.identity(),
            credentials: self.credentials.clone(),
            args: ConnectArgs::of(proposal.args()),
            peer: self.peer.clone(),
            gone: SetOnce::new(),
            cell: OnceLock::new(),
            #[cfg(feature = "durable")]
            committed: OnceLock::new(),
            forbidden_now: OnceLock::new(),
            revoked: OnceLock::new(),
            asked: std::sync::Mutex::default(),
        });
        self.candidate = Some((conn.clone(), proposal.digest()));
        self.rules_changed = service.rules_changed.load(SeqCst);
        if let Err(refusal) = service.rules.admit(&conn) {
            return Box::pin(core::future::ready(Err(refusal)));
        }
        let on_connect = match &service.callbacks.on_connect {
            Some(on_connect) => guarded("on_connect", || on_connect(conn.clone()))
                .unwrap_or_else(|| Box::pin(core::future::ready(Err(Refusal::panicked())))),
            None => return Box::pin(core::future::ready(Ok(conn.ask_rules()))),
        };
        Box::pin(async move {
            on_connect.await?;
            // After it, so that it can look up what they ask for.
            Ok(conn.ask_rules())
        })
    }

    fn accept(&mut self, now: Instant, forbidden: MessageSet, rx: &mut Rx<Std>, tx: &mut Tx<Std>) {
        let Some((candidate, digest)) = self.candidate.take() else {
            return;
        };
        if self.is_late(candidate.session()) {
            // It may also be a copy of the client, which comes back. In another phase the engine has given
            // it up meanwhile.
            let _ = rx.refuse(tx, Notice::new(Code::Displaced).with_retry(soon()));
            return;
        }
        let mut admission = Admission::new(candidate.trid()).with_forbidden(forbidden);
        let older = &self.service.settings.older;
        if let Some((_, table)) = older.iter().find(|(known, _)| Some(*known) == digest) {
            admission = admission.with_table(table.clone());
        }
        let request = tx.connection().resume_request().cloned();
        match request {
            Some(request) => {
                let entrance = Entrance {
                    id: candidate.session(),
                    proven: self.credentials.is_authenticated(),
                    trid: candidate.trid(),
                    link: &self.link,
                    now,
                    forbidden: &|key| candidate.is_forbidden_now(key),
                };
                let Entered { cell, outcomes, former } =
                    match self
                        .service
                        .sessions
                        .accept(&entrance, &request, admission, (rx, &mut *tx))
                    {
                        Ok(entered) => entered,
                        // As above.
                        Err(notice) => {
                            let _ = rx.refuse(tx, notice);
                            return;
                        }
                    };
                self.retracted = outcomes;
                // Set once: a client is accepted once.
                let _ = candidate.0.cell.set(Arc::clone(&cell));
                self.cell = Some(cell);
                (self.session, self.former) = (Some(entrance.id), former);
            }
            // In another phase the engine has given the client up meanwhile.
            None => {
                if rx.admit(now, tx, admission).is_err() {
                    return;
                }
            }
        }
        self.admitted = Some(candidate);
        self.service.counters.add(Counter::Admitted);
    }

    fn opened(&mut self, trid: Trid) -> Option<BoxFuture<HandlerResult>> {
        let conn = self.admitted.clone()?;
        self.tell_retracted();
        tracing::info!(%trid, identity = %conn.identity(), peer = self.peer, "connected");
        let older = self.displace(&conn);
        self.service.counters.add(Counter::Live);
        let Some(older) = older else {
            // A newer one came in while this one was told how its session stands (PROTOCOL N-9).
            self.link.disconnect(Notice::new(Code::Displaced));
            return None;
        };
        // Whoever said that they have changed did not find it among those that are connected.
        if self.service.rules_changed.load(SeqCst) != self.rules_changed && conn.recheck_rules() {
            return None;
        }
        let on_connected = self.service.callbacks.on_connected.as_ref();
        let on_connected = on_connected.map(|call| in_lane("on_connected", || call(conn)));
        if older.is_empty() && on_connected.is_none() {
            return None;
        }
        Some(Box::pin(async move {
            for older in older {
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

    fn cell(&self) -> Option<&Arc<SessionCell>> {
        self.cell.as_ref()
    }

    fn outcome(&self, number: u64, outcome: Outcome) {
        if let Some(conn) = &self.admitted {
            self.service.tell_outcome(conn.session(), number, outcome);
        }
    }

    fn next_key(&self, hash: [u8; 32], lasts: Duration) -> Option<Duration> {
        let announced = self.admitted.as_ref().and_then(|conn| {
            let sessions = &self.service.sessions;
            let is_key = matches!(conn.credentials(), Credentials::Certificate(_));
            is_key.then(|| sessions.announce(conn.session(), hash, lasts, clock::now()))?
        });
        // Not at all is an answer, too (PROTOCOL N-8).
        Some(announced.unwrap_or_default())
    }

    fn forbids_carried(&self, number: u8) -> Option<&str> {
        self.admitted.as_ref()?.forbids_carried(number)
    }

    fn forbids(&self, number: u8) -> Option<&str> {
        let conn = self.admitted.as_ref()?;
        if conn.is_revoked(number) {
            return Some(self.service.rules.text(number));
        }
        if !self.asked.contains(number) {
            return None;
        }
        self.service.rules.forbids(number, conn)
    }

    fn margin(&self) -> Option<Duration> {
        Some(self.service.settings.margin)
    }

    fn dropped(&mut self, dropped: &Dropped, why: Option<&str>) -> Option<BoxFuture<()>> {
        self.candidate = None;
        self.place = None;
        // When the connection ended before it had opened.
        self.tell_retracted();
        if self.is_up {
            self.count(Counter::of(dropped.cause()));
        }
        let Some(conn) = self.admitted.take() else {
            if self.is_up {
                self.tell_not_admitted(dropped, why);
            }
            return None;
        };
        self.service.counters.add(Counter::Dropped);
        self.forget(&conn);
        let (trid, identity, peer) = (conn.trid(), conn.identity(), conn.peer_addr());
        let code = dropped.code().map(Code::number);
        if is_ordinary(dropped.cause()) {
            tracing::info!(%trid, %identity, peer, code, reason = dropped.to_string(), why, "disconnected");
        } else {
            tracing::warn!(%trid, %identity, peer, code, reason = dropped.to_string(), why, "disconnected");
        }
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

    fn finished(&mut self, dropped: &Dropped, failure: Option<&ChannelError>) {
        // Later on, the drop tells.
        if self.is_up {
            return;
        }
        let kind = TlsFailure::of(failure, dropped.cause());
        self.count(Counter::TlsFailed(kind));
        let Some(left_out) = self.service.failures.one_more(Stranger::of(kind), clock::now()) else {
            return;
        };
        let (peer, kind) = (&self.peer, kind.name());
        match failure {
            Some(failure) => tracing::warn!(
                peer,
                kind,
                reason = failure.to_string(),
                left_out,
                "a TLS handshake failed"
            ),
            None => tracing::info!(
                peer,
                kind,
                reason = dropped.to_string(),
                left_out,
                "a TLS handshake was not done"
            ),
        }
    }
}

/// Lets a newer connection of the session go on, whatever becomes of the callback.
struct Gone<S: ServiceDef>(Conn<S>);

impl<S: ServiceDef> Drop for Gone<S> {
    fn drop(&mut self) {
        // Set once: there is one drop callback.
        let _ = self.0.0.gone.set(());
        self.0.0.service.registry.gone(&self.0);
    }
}

/// A task that is aborted leaves no trace either.
impl<S: ServiceDef> Drop for ServiceApp<S> {
    fn drop(&mut self) {
        self.place = None;
        self.service.registry.left(self.joining, self.source);
        self.service.counters.take(Counter::InHandshake);
        self.count(if self.is_up {
            Counter::EndedByUs(Code::Shutdown)
        } else {
            Counter::TlsFailed(TlsFailure::Other)
        });
        if let (Some(cell), Some(id)) = (self.cell.take(), self.session)
            && !cell.is_kept()
        {
            for (number, outcome) in cell.end() {
                self.service.tell_outcome(id, number, outcome);
            }
        }
        if let Some(conn) = self.admitted.take() {
            self.forget(&conn);
            drop(Gone(conn));
        }
    }
}
