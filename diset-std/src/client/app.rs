//! A client's side of one connection.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;

use diset_proto::drive::{Rx, Tx};
use diset_proto::{Cause, Code, Instant, MessageSet, Notice, Outcome, Proposal, ServiceDef, Trid};
use tokio::sync::SetOnce;

use super::Client;
use super::callbacks::Callbacks;
use super::state::ClientState;
use crate::channel::Established;
use crate::driver::{App, Dropped};
use crate::handler::{BoxFuture, HandlerResult, Handlers, Refusal, guarded, in_lane};
use crate::session::{SessionCell, Std};

pub(super) struct ClientApp<S: ServiceDef> {
    client: Client<S>,
    handlers: Arc<Handlers<Client<S>>>,
    callbacks: Arc<Callbacks<S>>,
    open: Option<Trid>,
    /// Whether the service has proven itself, where it must.
    proven: Arc<AtomicBool>,
    /// The connections before it that were not over when it began.
    older: Vec<Lane>,
    lane: Lane,
}

impl<S: ServiceDef> ClientApp<S> {
    /// A connection whose handlers wait until all `older` lanes are over.
    pub(super) fn new(
        client: Client<S>,
        handlers: Arc<Handlers<Client<S>>>,
        callbacks: Arc<Callbacks<S>>,
        older: Vec<Lane>,
    ) -> Self {
        Self {
            client,
            handlers,
            callbacks,
            open: None,
            proven: Arc::default(),
            older,
            lane: Lane::default(),
        }
    }

    /// Set when the service has proven itself, or need not.
    pub(super) fn proven(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.proven)
    }

    /// For those that come after it.
    pub(super) fn lane(&self) -> Lane {
        self.lane.clone()
    }

    /// The older lanes that are not over yet.
    fn waits_for(&mut self) -> Vec<Lane> {
        self.older.retain(|lane| !lane.is_over());
        self.older.clone()
    }
}

/// Where the callbacks of one connection run: its turn comes when those before it are over, so that there is
/// one lane for the session (PROTOCOL D-2).
#[derive(Clone, Default)]
pub(super) struct Lane(Arc<SetOnce<()>>);

impl Lane {
    pub(super) fn is_over(&self) -> bool {
        self.0.initialized()
    }
}

/// Each of them ends: a handler and a drop callback have 30 s each after the end of their connection.
async fn all_over(lanes: Vec<Lane>) {
    for lane in lanes {
        lane.0.wait().await;
    }
}

/// The last handler and the drop callback have finished, or the task was aborted.
impl<S: ServiceDef> Drop for ClientApp<S> {
    fn drop(&mut self) {
        // Set once: here.
        let _ = self.lane.0.set(());
    }
}

impl<S: ServiceDef> App for ClientApp<S> {
    type Peer = Client<S>;

    fn handlers(&self) -> Arc<Handlers<Client<S>>> {
        Arc::clone(&self.handlers)
    }

    fn established(&mut self, established: Established) {
        tracing::debug!(resumed = established.resumed, "the transport is up");
        match established.credentials {
            Ok(_) => self.proven.store(true, Ordering::Relaxed),
            Err(why) => {
                let notice = Notice::new(Code::NotAdmitted).with_text(&why.to_string());
                self.client.inner.link.disconnect(notice);
            }
        }
    }

    /// A client's engine never gives a proposal.
    fn admission(&mut self, _: &Proposal<'_>) -> BoxFuture<Result<MessageSet, Refusal>> {
        Box::pin(core::future::ready(Err(Refusal::not_admitted(
            "a client admits nobody",
        ))))
    }

    fn accept(&mut self, _: Instant, _: MessageSet, _: &mut Rx<Std>, _: &mut Tx<Std>) {}

    fn opened(&mut self, trid: Trid) -> Option<BoxFuture<HandlerResult>> {
        tracing::info!(%trid, service = self.client.inner.name, "connected");
        self.open = Some(trid);
        let learned = self.client.inner.link.with_conn(|conn| conn.learned().cloned());
        if let Some(Some(learned)) = learned {
            *self.client.lock_catalog() = Some(learned);
        }
        self.callbacks.report(&self.client, ClientState::Connected(trid));
        let (client, callbacks, older) = (self.client.clone(), Arc::clone(&self.callbacks), self.waits_for());
        if callbacks.on_connected.is_none() && older.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            all_over(older).await;
            match &callbacks.on_connected {
                Some(call) => in_lane("on_connected", || call(client, trid)).await,
                None => Ok(()),
            }
        }))
    }

    fn peer(&self) -> Option<&Client<S>> {
        self.open.is_some().then_some(&self.client)
    }

    fn cell(&self) -> Option<&Arc<SessionCell>> {
        self.client.inner.session.as_ref()
    }

    fn outcome(&self, number: u64, outcome: Outcome) {
        self.callbacks.outcome(&self.client, number, outcome);
    }

    fn next_key(&self, hash: [u8; 32], lasts: Duration) -> Option<Duration> {
        self.client.inner.next_key.send_replace(Some((hash, lasts)));
        None
    }

    fn dropped(&mut self, dropped: &Dropped, why: Option<&str>) -> Option<BoxFuture<()>> {
        self.open.take()?;
        // An end in order is the program's own, or was told; a line that broke meanwhile was not.
        let in_order = matches!(dropped.cause(), Cause::WentAway(_)) && dropped.unconfirmed() == 0;
        if !in_order {
            let code = dropped.code().map(Code::number);
            tracing::info!(
                service = self.client.inner.name,
                code,
                reason = dropped.to_string(),
                why,
                "disconnected"
            );
        }
        self.callbacks.on_drop.as_ref()?;
        let (client, callbacks, older) = (self.client.clone(), Arc::clone(&self.callbacks), self.waits_for());
        let dropped = dropped.clone();
        Some(Box::pin(async move {
            all_over(older).await;
            let call = callbacks.on_drop.as_ref();
            if let Some(callback) = call.and_then(|call| guarded("on_drop", || call(client, dropped))) {
                callback.await;
            }
        }))
    }
}
