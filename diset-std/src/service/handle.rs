//! The service as the rest of the program sees it: send to anybody, look who is there,
//! send somebody away.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use diset_proto::store::Unsure;
use diset_proto::{FromService, Identity, SendError, ServiceDef, Trid, Verdict};

use super::conn::{Conn, SessionId};
use super::counters::Counters;
use super::shared::Shared;
use crate::link::{Recheck, is_ours};
use crate::session::{Receipt, SessionCell};

/// A running service, from anywhere in the program. Cheap to clone.
pub struct ServiceHandle<S: ServiceDef>(pub(super) Arc<Shared<S>>);

/// What became of a message to all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// Connections it was queued for.
    pub queued: usize,
    /// Connections that had no room for it.
    pub full: usize,
    /// Connections that it is forbidden to by a [`Rule`](crate::Rule).
    pub forbidden: usize,
    /// Connections that do not share its definition, or were about to end.
    pub not_sent: usize,
}

/// A session whose client is away and has left messages that are still to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// Whose it is.
    pub session: SessionId,
    /// How many messages.
    pub messages: usize,
    /// How many bytes of payload they have.
    pub bytes: usize,
    /// For how long its client has been away while a service ran.
    pub away: Duration,
}

impl<S: ServiceDef> ServiceHandle<S> {
    /// Sends to one connection; see [`Conn::send`].
    ///
    /// # Errors
    /// [`SendError::NotOpen`] when there is no such connection (any more), else as [`Conn::send`].
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was sent.
    pub async fn send<M: FromService<S>>(&self, trid: Trid, message: &M) -> Result<(), SendError> {
        match self.find(trid) {
            Some(conn) => conn.send(message).await,
            None => Err(SendError::NotOpen),
        }
    }

    /// Sends to the connection that a client has now, whatever its trid: it is named by who it
    /// proved to be and its identity, which stay the same across its reconnects.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] when the client is not connected, else as [`Conn::send`].
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was sent.
    pub async fn send_to_session<M: FromService<S>>(&self, session: SessionId, message: &M) -> Result<(), SendError> {
        match self.find_session(session) {
            Some(conn) => conn.send(message).await,
            None => Err(SendError::NotOpen),
        }
    }

    /// Sends a message that gets exactly one outcome to a client, connected or not: see
    /// [`Conn::send_acked`]. While it is away the message waits in its session.
    ///
    /// # Errors
    /// [`SendError::NoSession`] when there is no session of this client, else as [`Conn::send_acked`]. A
    /// [`Rule`](crate::Rule) that is asked at each delivery is not asked when the client is away.
    ///
    /// # Cancel safety
    /// As [`Conn::send_acked`].
    pub async fn send_acked<M: FromService<S>>(&self, session: SessionId, message: &M) -> Result<Receipt, SendError> {
        self.store_for(session, message, Unsure::Report).await
    }

    /// As [`send_acked`](Self::send_acked), but when nobody knows what became of the message it is sent
    /// again: see [`Conn::send_acked_or_resend`].
    ///
    /// # Errors
    /// As [`send_acked`](Self::send_acked).
    ///
    /// # Cancel safety
    /// As [`send_acked`](Self::send_acked).
    pub async fn send_acked_or_resend<M: FromService<S>>(
        &self,
        session: SessionId,
        message: &M,
    ) -> Result<Receipt, SendError> {
        self.store_for(session, message, Unsure::Resend).await
    }

    async fn store_for<M: FromService<S>>(
        &self,
        session: SessionId,
        message: &M,
        unsure: Unsure,
    ) -> Result<Receipt, SendError> {
        let conn = self.find_session(session);
        // The session that is kept, whoever else is connected under this name.
        let Some(cell) = self.0.sessions.find(session) else {
            return conn.ok_or(SendError::NoSession)?.store(message, unsure).await;
        };
        if let Some(conn) = conn {
            conn.permitted(M::NUMBER)?;
        }
        let tell = |number, outcome| self.0.tell_outcome(session, number, outcome);
        SessionCell::send_for_receipt(&cell, M::NUMBER, message, unsure, tell).await
    }

    /// How many sessions there are, and how many of them have no connection.
    pub fn sessions(&self) -> (usize, usize) {
        self.0.sessions.count()
    }

    /// How many acked messages to this client have no outcome yet, also of those that its durable inbox has; `None` when it has no session.
    pub fn stored(&self, session: SessionId) -> Option<usize> {
        self.0.sessions.find(session).map(|cell| cell.stored())
    }

    /// The file of the sessions, for a look at tables of the program's own; `None` when there is none.
    #[cfg(feature = "durable")]
    pub fn store(&self) -> Option<&crate::store::DurableStore> {
        self.0.sessions.store()
    }

    /// Forgets the session of a client that is not connected: what it stored comes to its end, and the client
    /// begins anew. False when there is none, the client is connected, or messages of it were received that are
    /// still to be handled: see [`forget_session_and_received`](Self::forget_session_and_received). Settles a
    /// [`StateConflict`](crate::NewReason::StateConflict) for the client that is left.
    pub fn forget_session(&self, session: SessionId) -> bool {
        self.forget(session, false)
    }

    /// As [`forget_session`](Self::forget_session), also when messages of the client were received that are
    /// still to be handled. **These are lost**: their sender was told that they were received, they are never
    /// handled, and nobody is told so but a client that comes back with its state: it learns
    /// [`New`](crate::Resumption::New), and for each of them that nobody knows what became of it.
    ///
    /// For clients that will never come again: what they sent is handled when they do, is kept for ever
    /// else, and takes their place in the bounds meanwhile. [`left_behind`](Self::left_behind) lists them.
    pub fn forget_session_and_received(&self, session: SessionId) -> bool {
        self.forget(session, true)
    }

    /// The sessions whose clients are away, and that have received messages that are still to be handled. They
    /// are kept however long that takes. Looks through all sessions.
    ///
    /// Only a service with a durable store has such: without one the client keeps what is not handled.
    pub fn left_behind(&self) -> Vec<LeftBehind> {
        self.0.sessions.left_behind()
    }

    fn forget(&self, session: SessionId, insist: bool) -> bool {
        let Some(outcomes) = self.0.sessions.forget(session, insist) else {
            return false;
        };
        for (number, outcome) in outcomes {
            self.0.tell_outcome(session, number, outcome);
        }
        true
    }

    /// Sends to all that are connected now, without waiting for anybody: a connection
    /// without room is left out and counted, or disconnected under
    /// [`SlowPolicy::Disconnect`](crate::SlowPolicy::Disconnect).
    pub fn broadcast<M: FromService<S>>(&self, message: &M) -> Broadcast {
        let mut result = Broadcast::default();
        for conn in self.0.registry.all() {
            match conn.try_send(message) {
                Ok(()) => result.queued += 1,
                Err(SendError::Full(bound)) => {
                    result.full += 1;
                    if self.0.settings.slow == crate::SlowPolicy::Disconnect && !is_ours(bound) {
                        conn.0.link.too_slow();
                    }
                }
                Err(SendError::NotAgreed(Verdict::Forbidden)) => result.forbidden += 1,
                Err(_) => result.not_sent += 1,
            }
        }
        result
    }

    /// Looks at the certificates of all connections again, by the settings that the
    /// [`ServerTls`](crate::tls::ServerTls) has now, and ends those it would not let in any more:
    /// revoked, of an authority that is not trusted any more, out of date. Such a client is told
    /// [`Code::CredentialsEnd`](diset_proto::Code::CredentialsEnd) and why; the others notice
    /// nothing. Gives the number of those ended, when all have looked; where calls overlap, one
    /// that was ended for several counts for each. Where there is no TLS there is nothing to look at.
    ///
    /// Each connection looks for itself, so many of them share the work among all workers. To be
    /// called when authorities or revocation lists have changed.
    ///
    /// # Cancel safety
    /// When the future is dropped, the looks that have begun go on; only their number is lost.
    pub async fn recheck_credentials(&self) -> usize {
        let (recheck, ended) = Recheck::new();
        for link in self.0.registry.links() {
            link.recheck(&recheck);
        }
        drop(recheck);
        // It is always told, when the last connection has looked or is gone.
        ended.await.unwrap_or(0)
    }

    /// All live connections, in the order in which they came.
    pub fn connections(&self) -> Vec<Conn<S>> {
        sorted(self.0.registry.all())
    }

    /// The connection with this transport id.
    pub fn find(&self, trid: Trid) -> Option<Conn<S>> {
        self.0.registry.find(trid)
    }

    /// The connection that a client has now.
    pub fn find_session(&self, session: SessionId) -> Option<Conn<S>> {
        self.0.registry.find_session(session)
    }

    /// The connections of all clients with this identity, in the order in which they came. An
    /// identity names a client among those of one principal; several principals may use the
    /// same one, so look at the [`credentials`](Conn::credentials) before you trust it. Looks
    /// through all connections.
    pub fn find_identity(&self, identity: Identity) -> Vec<Conn<S>> {
        sorted(self.0.registry.find_identity(identity))
    }

    /// What has happened so far, in numbers.
    pub fn counters(&self) -> Counters {
        self.0.counters.snapshot()
    }

    /// Ends one connection; see [`Conn::disconnect`]. False when there is none.
    pub fn disconnect(&self, trid: Trid, reason: &str) -> bool {
        self.find(trid).inspect(|conn| conn.disconnect(reason)).is_some()
    }

    /// Ends the connection that a client has now; see [`Conn::disconnect`]. False when it has
    /// none. The client may connect again: [`on_connect`](crate::Service::on_connect) decides.
    pub fn disconnect_session(&self, session: SessionId, reason: &str) -> bool {
        let found = self.find_session(session);
        found.inspect(|conn| conn.disconnect(reason)).is_some()
    }
}

/// In the order in which they came.
fn sorted<S: ServiceDef>(mut conns: Vec<Conn<S>>) -> Vec<Conn<S>> {
    conns.sort_unstable_by_key(Conn::trid);
    conns
}

impl<S: ServiceDef> Clone for ServiceHandle<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: ServiceDef> fmt::Debug for ServiceHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle")
            .field("connections", &self.0.registry.count())
            .finish_non_exhaustive()
    }
}
