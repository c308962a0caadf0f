//! What can be done with one session that is kept, wherever the session itself is.

use core::fmt;
use core::future::Future;
use std::sync::Arc;

use diset_proto::{Identity, SessionRecord, Trid};

use super::error::{StoreError, TransactError};
use super::journal::{Cell, Progress, Waker};
use super::keeper::Job;
use super::transaction::Transaction;
use crate::service::SessionId;
use crate::tls::Principal;

/// The place of one session in the store. Cheap to clone; all clones are the same place.
///
/// Nothing here waits for the disk but [`kept`](Self::kept) and [`transact`](Self::transact).
#[derive(Clone)]
pub struct SessionBook(Arc<Cell>);

impl SessionBook {
    pub(super) const fn new(cell: Arc<Cell>) -> Self {
        Self(cell)
    }

    pub(crate) const fn cell(&self) -> &Arc<Cell> {
        &self.0
    }

    /// Keeps what has happened to the session since the last call, and its record, in one step.
    /// Call it after each use of the session or its connection that may have changed something
    /// (messages stored, received, settled or acked, a welcome, outcomes taken), under the same lock,
    /// with [`Session::record`](diset_proto::Session::record). Without it nothing more is ever
    /// [kept](diset_proto::store::Replay::kept), and the session stands still. It is cheap when nothing
    /// has changed, and never waits.
    pub fn keep(&self, record: SessionRecord) {
        self.0.seal(record);
    }

    /// Ready when everything is in the file that was given to [`keep`](Self::keep) before this call. Wait
    /// for it before an acceptance leaves: its token must not be forgotten (PROTOCOL N-4).
    ///
    /// While the disk fails it waits: give it a limit. The future does not borrow the book.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    ///
    /// # Cancel safety
    /// Cancel safe: it only waits.
    pub fn kept(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let batch = self.0.batch();
        let mut progress = self.0.shared.progress.subscribe();
        async move {
            let arrived = |progress: &Progress| progress.closed || progress.batch >= batch;
            match progress.wait_for(arrived).await {
                Ok(progress) if progress.batch >= batch => Ok(()),
                _ => Err(StoreError::Closed),
            }
        }
    }

    /// Calls this, from the thread that writes, whenever more of this session is kept: the one who drives
    /// its connection must look at it again, as messages and acknowledgements may leave now. It
    /// must be short and not wait. `None`: nobody is to be called. Take it away when the connection ends,
    /// and do not let it hold what holds the session.
    pub fn on_kept(&self, waker: Option<Arc<dyn Fn() + Send + Sync>>) {
        let waker: Option<Waker> = waker;
        self.0.set_waker(waker);
    }

    /// Whose session it is.
    pub fn id(&self) -> SessionId {
        self.0.look_at_head(|head| SessionId {
            principal: Principal::from(head.principal),
            identity: Identity::from_bytes(head.identity),
        })
    }

    /// The session is connected by this connection. Kept by the next [`keep`](Self::keep).
    pub fn connected(&self, trid: Trid) {
        self.0
            .shared
            .newest
            .fetch_max(trid.number(), core::sync::atomic::Ordering::Relaxed);
        self.0.change_head(|head| {
            head.trid = trid.number();
            head.left_at = None;
        });
    }

    /// The session has no connection any more, since now. Kept by the next [`keep`](Self::keep); see
    /// [`RestoredSession::away`](super::RestoredSession::away).
    pub fn left(&self) {
        let at = self.0.shared.uptime();
        self.0.change_head(|head| head.left_at = Some(at));
    }

    /// The session may go on under this principal, until then (seconds since 1970), in place of any other
    /// that was named before (PROTOCOL N-8). `None`: under no other. Kept by the next
    /// [`keep`](Self::keep); when that is [`kept`](Self::kept) tell the client by
    /// [`next_key_remembered`](diset_proto::Connection::next_key_remembered).
    pub fn expect(&self, next: Option<(Principal, u64)>) {
        self.0
            .change_head(|head| head.next_key = next.map(|(principal, until)| (*principal.as_bytes(), until)));
    }

    /// What was given to [`expect`](Self::expect).
    pub fn expected(&self) -> Option<(Principal, u64)> {
        self.0.look_at_head(|head| {
            head.next_key
                .map(|(principal, until)| (Principal::from(principal), until))
        })
    }

    /// The session belongs to this principal from now on, and nobody else is expected. Kept by the next
    /// [`keep`](Self::keep).
    pub fn move_to(&self, principal: Principal) {
        self.0.change_head(|head| {
            head.principal = *principal.as_bytes();
            head.next_key = None;
        });
    }

    /// How many bytes of payload the session stores: sent and without an outcome, received and not handled.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Forgets the session: it is gone from the file with the next commit, and nothing of it is kept any
    /// more. Messages that were received and are not handled are forgotten with it.
    pub fn forget(&self) {
        self.0.forget();
    }

    /// Runs the closure in a transaction of the file that also marks this message, and all before it, as
    /// handled: both or neither, whatever happens to the process. So the effect of a handler is there
    /// exactly once. The closure may use tables of its own, whose names must not begin with `diset.`; it
    /// runs in the thread that writes, and all other sessions wait for it: it is to be short. Each
    /// such call is a commit of its own.
    ///
    /// `began` and `number` name the message: [`Session::began`](diset_proto::Session::began) when it came,
    /// and its number. Call it from the one lane that handles the messages of the session, when all
    /// before are settled and [`keep`](Self::keep) was called after; then settle the message as
    /// [`Outcome::Ok`](diset_proto::Outcome::Ok) in the session.
    ///
    /// # Errors
    /// [`TransactError`]: nothing of it is kept, and the message is as it was.
    ///
    /// # Cancel safety
    /// Not cancel safe: when the future is dropped it may be committed or not. A later call for the same
    /// message then says [`TransactError::NotThere`], or does it.
    pub async fn transact<T, E, F>(&self, began: Trid, number: u64, run: F) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, result) = Job::new(Some((Arc::clone(&self.0), began, number)), run);
        if self.0.shared.order(job).is_err() {
            return Err(TransactError::Store(StoreError::Closed));
        }
        result.await.unwrap_or(Err(TransactError::Store(StoreError::Closed)))
    }
}

impl fmt::Debug for SessionBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBook")
            .field("session", &self.0.id)
            .field("kept", &self.0.kept())
            .finish_non_exhaustive()
    }
}
