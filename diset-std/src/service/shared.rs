//! What all connections of a service share: callbacks, settings, who is connected.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use diset_proto::{Agreement, Digest, Limits, ServiceDef, Trid};

use super::conn::Conn;
use super::registry::Registry;
use crate::driver::Dropped;
use crate::handler::{BoxFuture, HandlerResult, Handlers, Refusal};
use crate::link::SlowPolicy;

type OnConnect<S> = Box<dyn Fn(Conn<S>) -> BoxFuture<Result<(), Refusal>> + Send + Sync>;
type OnConnected<S> = Box<dyn Fn(Conn<S>) -> BoxFuture<HandlerResult> + Send + Sync>;
type OnDrop<S> = Box<dyn Fn(Conn<S>, Dropped) -> BoxFuture<()> + Send + Sync>;

/// One service.
pub(super) struct Shared<S: ServiceDef> {
    pub(super) handlers: Arc<Handlers<Conn<S>>>,
    pub(super) callbacks: Callbacks<S>,
    pub(super) settings: Settings,
    pub(super) registry: Registry<S>,
    next_trid: AtomicU64,
}

/// What the author wants to know of connections.
pub(super) struct Callbacks<S: ServiceDef> {
    pub(super) on_connect: Option<OnConnect<S>>,
    pub(super) on_connected: Option<OnConnected<S>>,
    pub(super) on_drop: Option<OnDrop<S>>,
}

/// Numbers and policies.
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) slow: SlowPolicy,
    pub(super) send_buffer: usize,
    pub(super) max_connections: usize,
    pub(super) max_handshakes: usize,
    pub(super) drain: core::time::Duration,
    /// Older catalogs, by digest.
    pub(super) older: Vec<(Digest, Agreement)>,
}

impl<S: ServiceDef> Shared<S> {
    pub(super) fn new(handlers: Handlers<Conn<S>>, callbacks: Callbacks<S>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            handlers: Arc::new(handlers),
            callbacks,
            settings,
            registry: Registry::new(),
            next_trid: AtomicU64::new(1),
        })
    }

    /// A transport id that was never used before.
    pub(super) fn next_trid(&self) -> Trid {
        Trid::new(self.next_trid.fetch_add(1, Ordering::Relaxed))
    }
}
