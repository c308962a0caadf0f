//! The engine of one connection, shared between the task that drives it and everybody who
//! sends. Messages are encoded straight into the engine's output under a short lock; no
//! queue and no copy in between.

use core::task::Waker;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_proto::{Bound, Code, Connection, Notice, SendError};
use serde::Serialize;
use tokio::sync::Notify;

use crate::buffers::PooledOutput;
use crate::clock;

/// What a sender does when the peer, or the transport, is slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// `send` waits for room, at most so long; then it fails with
    /// [`SendError::Full`].
    Wait(Duration),
    /// `send` fails with [`SendError::Full`] at once.
    Fail,
    /// The connection is ended with [`Code::Busy`](diset_proto::Code::Busy): who is too
    /// slow shall not hold memory.
    Disconnect,
}

impl Default for SlowPolicy {
    /// Waits at most 30 s.
    fn default() -> Self {
        Self::Wait(Duration::from_secs(30))
    }
}

/// One engine and who waits for it.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// Room may have become free.
    space: Notify,
    policy: SlowPolicy,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    /// `None` while a client is not connected.
    pub(crate) conn: Option<Connection<PooledOutput>>,
    /// The driver will look at the engine anyway: no need to wake it.
    awake: bool,
    driver: Option<Waker>,
    waiting: usize,
    /// The transport is to break.
    cut: bool,
}

impl State {
    /// Whether the transport is to break now; asked once.
    pub(crate) const fn take_cut(&mut self) -> bool {
        core::mem::replace(&mut self.cut, false)
    }

    /// The driver is about to sleep until something happens. `blocked`: it will write
    /// when the socket lets it, not before.
    pub(crate) fn sleep(&mut self, waker: &Waker, blocked: bool) {
        self.awake = blocked;
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    /// The driver is at work.
    pub(crate) const fn wake_up(&mut self) {
        self.awake = true;
    }
}

impl Link {
    pub(crate) fn new(conn: Option<Connection<PooledOutput>>, policy: SlowPolicy) -> Arc<Self> {
        let state = State {
            conn,
            awake: true,
            driver: None,
            waiting: 0,
            cut: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            space: Notify::new(),
            policy,
        })
    }

    /// No user code runs under the lock, so it cannot be poisoned by a panic that matters.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message, or says why not; see [`Connection::send`].
    pub(crate) fn try_send<T: Serialize>(&self, number: u8, message: &T) -> Result<(), SendError> {
        let mut state = self.lock();
        let conn = state.conn.as_mut().ok_or(SendError::NotOpen)?;
        conn.send(number, message)?;
        Self::kick(state);
        Ok(())
    }

    /// As [`try_send`](Self::try_send), but deals with a slow peer as the policy says.
    ///
    /// Cancel-safe: the message was queued when this returns `Ok`, and not before.
    pub(crate) async fn send<T: Serialize>(&self, number: u8, message: &T) -> Result<(), SendError> {
        match (self.try_send(number, message), self.policy) {
            (Err(full @ SendError::Full(_)), SlowPolicy::Wait(limit)) => {
                let waiting = tokio::time::timeout(limit, self.wait_to_send(number, message));
                waiting.await.unwrap_or(Err(full))
            }
            (Err(full @ SendError::Full(_)), SlowPolicy::Disconnect) => {
                self.too_slow();
                Err(full)
            }
            (result, _) => result,
        }
    }

    async fn wait_to_send<T: Serialize>(&self, number: u8, message: &T) -> Result<(), SendError> {
        let _waiting = Waiting::new(self);
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            // Listen before trying, or room that is freed in between would be missed.
            space.as_mut().enable();
            match self.try_send(number, message) {
                Err(SendError::Full(Bound::Output | Bound::Credit)) => space.await,
                result => return result,
            }
        }
    }

    /// Ends the connection with this notice.
    pub(crate) fn disconnect(&self, notice: Notice) {
        self.with_conn(|conn| conn.disconnect(notice));
    }

    /// The transport is to break without a word.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        Self::kick(state);
    }

    /// Ends the connection of a peer that is too slow.
    pub(crate) fn too_slow(&self) {
        self.disconnect(Notice::new(Code::Busy).with_text("too slow"));
    }

    /// Says go-away; nothing happens unless the connection is open.
    pub(crate) fn go_away(&self, notice: Notice, deadline: Duration) {
        // A connection that is not open has nothing to drain.
        let _ = self.with_conn(|conn| conn.go_away(clock::now(), notice, deadline));
    }

    /// Does something with the engine, if there is one, and wakes its driver.
    pub(crate) fn with_conn<R>(&self, work: impl FnOnce(&mut Connection<PooledOutput>) -> R) -> Option<R> {
        let mut state = self.lock();
        let result = state.conn.as_mut().map(work);
        Self::kick(state);
        result
    }

    /// Those who wait for room may try again.
    pub(crate) fn room_is_free(&self, state: MutexGuard<'_, State>) {
        let anybody = state.waiting > 0;
        drop(state);
        if anybody {
            self.space.notify_waiters();
        }
    }

    /// Wakes the driver, unless it is awake.
    fn kick(mut state: MutexGuard<'_, State>) {
        if core::mem::replace(&mut state.awake, true) {
            return;
        }
        let driver = state.driver.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Counts one who waits, as long as it does.
struct Waiting<'l>(&'l Link);

impl<'l> Waiting<'l> {
    fn new(link: &'l Link) -> Self {
        link.lock().waiting += 1;
        Self(link)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
