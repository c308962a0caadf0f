//! The life of a client as a stream of events, for those who prefer a loop to callbacks.

use core::fmt;

use diset_proto::{ServiceDef, Trid};
use tokio::sync::mpsc;

use super::state::{ClientState, States};
use crate::any::AnyMessage;
use crate::driver::Dropped;

/// Something that happened to a client.
#[non_exhaustive]
pub enum ClientEvent<S: ServiceDef> {
    /// A connection has opened.
    Connected(Trid),
    /// A message came that has no handler of its own.
    Message(AnyMessage<S>),
    /// The connection has ended; the client connects again by itself.
    Dropped(Dropped),
}

impl<S: ServiceDef> fmt::Debug for ClientEvent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(trid) => f.debug_tuple("Connected").field(trid).finish(),
            Self::Message(message) => f.debug_tuple("Message").field(message).finish(),
            Self::Dropped(dropped) => f.debug_tuple("Dropped").field(dropped).finish(),
        }
    }
}

/// The events of a client, in the order in which they happened.
///
/// At most as many wait here as was said when they were asked for; then the service's
/// messages wait in its credit, and nothing is lost. A reader that stops reading holds
/// the client up; one that drops this stops the client at the next message.
#[derive(Debug)]
pub struct Events<S: ServiceDef> {
    pub(super) receiver: mpsc::Receiver<ClientEvent<S>>,
    /// The handlers, which send here, are kept for longer than they run.
    pub(super) states: States,
}

impl<S: ServiceDef> Events<S> {
    /// The next event; `None` when the client has stopped and all were read.
    ///
    /// # Cancel safety
    /// Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<ClientEvent<S>> {
        let is_stopped = |state: &ClientState| matches!(state, ClientState::Stopped(_));
        tokio::select! {
            biased;
            event = self.receiver.recv() => event,
            _ = self.states.wait_for(is_stopped) => self.receiver.try_recv().ok(),
        }
    }
}
