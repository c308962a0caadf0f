//! What the program wants to know of a client's connections, and how it is called.

use diset_proto::{Outcome, ServiceDef, Trid};

use super::Client;
use super::state::ClientState;
use crate::driver::Dropped;
use crate::handler::{BoxFuture, HandlerResult, guarded};

type OnConnected<S> = Box<dyn Fn(Client<S>, Trid) -> BoxFuture<HandlerResult> + Send + Sync>;
type OnDrop<S> = Box<dyn Fn(Client<S>, Dropped) -> BoxFuture<()> + Send + Sync>;
type OnOutcome<S> = Box<dyn Fn(&Client<S>, u64, Outcome) + Send + Sync>;
type OnState<S> = Box<dyn Fn(&Client<S>, &ClientState) + Send + Sync>;

/// What the program wants to know of connections.
pub(super) struct Callbacks<S: ServiceDef> {
    pub(super) on_connected: Option<OnConnected<S>>,
    pub(super) on_drop: Option<OnDrop<S>>,
    pub(super) on_state: Option<OnState<S>>,
    pub(super) on_outcome: Option<OnOutcome<S>>,
}

impl<S: ServiceDef> Callbacks<S> {
    /// An acked message came to this end, which is not Ok.
    pub(super) fn outcome(&self, client: &Client<S>, number: u64, outcome: Outcome) {
        if let Some(on_outcome) = &self.on_outcome {
            guarded("on_outcome", || on_outcome(client, number, outcome));
        }
    }

    /// A change of state: kept for those who watch, told to the callback.
    pub(super) fn report(&self, client: &Client<S>, state: ClientState) {
        client.inner.state.send_replace(state.clone());
        if let Some(on_state) = &self.on_state {
            guarded("on_state", || on_state(client, &state));
        }
    }
}
