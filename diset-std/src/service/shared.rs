//! What all connections of a service share: callbacks, settings, who is connected.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use diset_proto::limits::MIN_OUTPUT;
use diset_proto::{Agreement, Descriptions, Digest, LearnedCatalog, Limits, Outcome, ServiceDef, Trid};

use super::conn::{Conn, SessionId};
use super::counters::Cells;
use super::few_lines::FewLines;
use super::listener::BindError;
use super::registry::{Most, Registry};
use super::rule::Rules;
use super::sessions::Sessions;
use crate::driver::Dropped;
use crate::handler::{BoxFuture, HandlerResult, Handlers, Refusal, guarded};
use crate::link::SlowPolicy;
use crate::session::SessionSettings;

type OnConnect<S> = Box<dyn Fn(Conn<S>) -> BoxFuture<Result<(), Refusal>> + Send + Sync>;
type OnConnected<S> = Box<dyn Fn(Conn<S>) -> BoxFuture<HandlerResult> + Send + Sync>;
type OnOutcome = Box<dyn Fn(SessionId, u64, Outcome) + Send + Sync>;
type OnDrop<S> = Box<dyn Fn(Conn<S>, Dropped) -> BoxFuture<()> + Send + Sync>;

/// 2020-01-01 since the epoch.
const YEAR_2020: core::time::Duration = core::time::Duration::from_secs(1_577_836_800);

/// One service.
pub(super) struct Shared<S: ServiceDef> {
    pub(super) handlers: Arc<Handlers<Conn<S>>>,
    pub(super) callbacks: Callbacks<S>,
    pub(super) rules: Rules<S>,
    pub(super) settings: Settings,
    pub(super) registry: Registry<S>,
    pub(super) sessions: Sessions,
    pub(super) counters: Cells,
    /// Clients that did not get in, in the log.
    pub(super) failures: FewLines,
    next_trid: AtomicU64,
    /// How often somebody has said that what the rules look at has changed.
    pub(super) rules_changed: AtomicU64,
    /// What clients without definitions are told.
    pub(super) told: Option<Descriptions>,
    catalog: OnceLock<Option<Arc<LearnedCatalog>>>,
}

/// What the author wants to know of connections.
pub(super) struct Callbacks<S: ServiceDef> {
    pub(super) on_connect: Option<OnConnect<S>>,
    pub(super) on_connected: Option<OnConnected<S>>,
    pub(super) on_drop: Option<OnDrop<S>>,
    pub(super) on_outcome: Option<OnOutcome>,
}

/// Numbers and policies.
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) slow: SlowPolicy,
    pub(super) sessions: SessionSettings,
    /// The file of the sessions.
    #[cfg(feature = "durable")]
    pub(super) durable: Option<crate::store::Place>,
    pub(super) send_buffer: usize,
    pub(super) max_connections: usize,
    pub(super) max_per_principal: Option<usize>,
    pub(super) max_per_address: Option<usize>,
    pub(super) max_handshakes: usize,
    pub(super) drain: core::time::Duration,
    pub(super) margin: core::time::Duration,
    /// Older catalogs, by digest.
    pub(super) older: Vec<(Digest, Agreement)>,
    #[cfg(feature = "record")]
    pub(super) recordings: Option<crate::Recordings>,
}

#[cfg(feature = "durable")]
impl Settings {
    /// The sessions of the file, if there is one; and a first trid that is above all of theirs.
    fn open_store<S: ServiceDef>(&mut self, mut sessions: Sessions, first: u64) -> Result<(Sessions, u64), BindError> {
        let Some(place) = self.durable.take() else {
            return Ok((sessions, first));
        };
        let bounds = super::sessions::kept::bounds(&self.sessions, &self.limits);
        let path = place.name();
        let opened = place.open(S::CATALOG.service(), bounds);
        let (store, restored) = opened.map_err(|source| BindError::Store { path, source })?;
        let newest = store.newest_trid().number();
        sessions.restore(store, restored, crate::clock::now());
        Ok((sessions, first.max(newest.saturating_add(1))))
    }
}

impl<S: ServiceDef> Shared<S> {
    pub(super) fn new(
        handlers: Handlers<Conn<S>>,
        callbacks: Callbacks<S>,
        rules: Rules<S>,
        #[cfg_attr(not(feature = "durable"), expect(unused_mut))] mut settings: Settings,
    ) -> Result<Arc<Self>, BindError> {
        let most = Most {
            connections: settings.max_connections,
            per_principal: settings.max_per_principal,
            per_address: settings.max_per_address,
            handshakes: settings.max_handshakes.max(1),
        };
        let sessions = Sessions::new(settings.sessions, S::CATALOG);
        let first = first_trid(SystemTime::now());
        #[cfg(feature = "durable")]
        let (sessions, first) = settings.open_store::<S>(sessions, first)?;
        Ok(Arc::new(Self {
            sessions,
            handlers: Arc::new(handlers),
            callbacks,
            rules,
            settings,
            registry: Registry::new(most),
            counters: Cells::new(S::CATALOG.service()),
            failures: FewLines::default(),
            next_trid: AtomicU64::new(first),
            rules_changed: AtomicU64::new(0),
            // `define_service!` lets nothing through that is refused here.
            told: Descriptions::of::<S>().ok(),
            catalog: OnceLock::new(),
        }))
    }

    /// An acked message to this client came to this end, which is not Ok.
    pub(super) fn tell_outcome(&self, id: SessionId, number: u64, outcome: Outcome) {
        if let Some(on_outcome) = &self.callbacks.on_outcome {
            guarded("on_outcome", || on_outcome(id, number, outcome));
        }
    }

    /// All sessions come to their end: who waits for an outcome gets one.
    pub(super) fn end_sessions(&self) {
        for (id, outcomes) in self.sessions.end() {
            for (number, outcome) in outcomes {
                self.tell_outcome(id, number, outcome);
            }
        }
    }

    /// Forgets sessions that have been away for too long, for ever.
    pub(super) async fn sweep(&self) -> core::convert::Infallible {
        loop {
            tokio::time::sleep(self.sessions.sweep_interval()).await;
            for (id, outcomes) in self.sessions.sweep(crate::clock::now()) {
                tracing::info!(identity = %id.identity, messages = outcomes.len(), "a session was away for too long and is forgotten");
                for (number, outcome) in outcomes {
                    self.tell_outcome(id, number, outcome);
                }
            }
        }
    }

    /// How many bytes may wait for one client: all that is told, at least, so that a client that
    /// is being told the catalog does not look slow.
    pub(super) fn send_buffer(&self) -> usize {
        let told = self.told.as_ref().map_or(0, |told| told.as_bytes().len());
        // Frames of 512 bytes, and the acceptance.
        self.settings.send_buffer.max(told + told / 64 + 2 * MIN_OUTPUT)
    }

    /// The definitions as values, made when they are first wanted.
    pub(super) fn catalog(&self) -> Option<Arc<LearnedCatalog>> {
        let made = || LearnedCatalog::of::<S>().ok().map(Arc::new);
        self.catalog.get_or_init(made).clone()
    }

    /// A transport id that was never used before, also not by this service before a restart.
    pub(super) fn next_trid(&self) -> Trid {
        Trid::new(self.next_trid.fetch_add(1, Ordering::Relaxed))
    }
}

/// The first transport id of a service that starts now (PROTOCOL H-7, R-6): the milliseconds since
/// 2020, eight bits up. So one that starts again goes on above all it gave before, unless it
/// gave more than 256 a millisecond or its clock was set back. A varint of seven bytes until
/// 2089, 14 digits in a log. A machine that does not know the time begins at 1.
fn first_trid(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = since.saturating_sub(YEAR_2020).as_millis();
    (u64::try_from(millis).unwrap_or(0) << 8) + 1
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_service_that_starts_again_gives_other_trids() {
        let at = |secs| first_trid(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), 1, "a machine that does not know the time");
        // 2026-01-01, and 2089-01-01.
        let (now, late) = (at(1_767_225_600), at(3_755_289_600));
        assert_eq!(now.to_string().len(), 14);
        assert!(late < 1 << 49, "a varint of seven bytes");
        assert!(at(1_767_225_601) - now >= 256_000, "so many in a second");
    }
}
