//! The engine of one connection, shared between the task that drives it and everybody who
//! sends. Messages are encoded straight into the engine's output under a short lock; no
//! queue and no copy in between.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::task::Waker;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_proto::drive::{Access, Tx};
use diset_proto::{Bound, Code, Notice, SendError};
use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use crate::buffers::Pooled;
use crate::clock;
use crate::session::{Engine, Std};

/// Most messages that are sent under one lock.
const AT_A_TIME: usize = 64;
/// How long a message waits for the file of this side.
const FILE: Duration = Duration::from_secs(30);

/// What a sender does when the peer, or the transport, is slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// `send` waits for room, at most so long; then it fails with
    /// [`SendError::Full`].
    Wait(Duration),
    /// `send` fails with [`SendError::Full`] at once, unless it is the file of a durable service that is slower: for that
    /// it waits, at most 30 s.
    Fail,
    /// The connection is ended with [`Code::Busy`](diset_proto::Code::Busy): who is too
    /// slow shall not hold memory. For the file of a durable service `send` waits, as under [`Fail`](Self::Fail).
    Disconnect,
}

impl Default for SlowPolicy {
    /// Waits at most 30 s.
    fn default() -> Self {
        Self::Wait(Duration::from_secs(30))
    }
}

/// A message that knows how it is put into an engine.
pub(crate) trait Outgoing {
    /// See [`diset_proto::Connection::send`].
    fn put(&self, conn: &mut Engine) -> Result<(), SendError>;
}

/// A value and its number.
pub(crate) struct Typed<'m, T>(pub(crate) u8, pub(crate) &'m T);

impl<T: Serialize> Outgoing for Typed<'_, T> {
    #[inline]
    fn put(&self, conn: &mut Engine) -> Result<(), SendError> {
        conn.send(self.0, self.1)
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
pub(crate) struct State {
    /// Without a link while a client is not connected.
    pub(crate) tx: Tx<Std>,
    is_plugged: bool,
    sleep: Sleep,
    driver: Option<Waker>,
    waiting: usize,
    orders: Orders,
}

/// What the program wants of the transport, until the driver does it.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// It is to break.
    pub(crate) cut: bool,
    /// The time for an end in order is over.
    pub(crate) give_up: bool,
    /// The credentials of the peer are to be looked at again: those who wait for it.
    pub(crate) rechecks: Vec<Arc<Recheck>>,
}

/// One look at the credentials of many connections: how many it has ended. It is over when the last of them has let go of it.
#[derive(Debug)]
pub(crate) struct Recheck {
    ended: AtomicUsize,
    over: Option<oneshot::Sender<usize>>,
}

impl Recheck {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<usize>) {
        let (over, result) = oneshot::channel();
        let recheck = Self {
            ended: AtomicUsize::new(0),
            over: Some(over),
        };
        (Arc::new(recheck), result)
    }

    /// One more connection was ended.
    pub(crate) fn count(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Whether somebody still waits for the number.
    fn is_awaited(&self) -> bool {
        self.over.as_ref().is_some_and(|over| !over.is_closed())
    }
}

impl Drop for Recheck {
    fn drop(&mut self) {
        if let Some(over) = self.over.take() {
            // Perhaps nobody wants to know any more.
            let _ = over.send(*self.ended.get_mut());
        }
    }
}

/// What the driver is doing, that is whether it must be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It will look at the engine anyway.
    Awake,
    /// It sleeps until the socket takes more; what is sent meanwhile can wait until then,
    /// an end of the connection cannot.
    Blocked,
    /// It sleeps until something happens.
    Idle,
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("State")
            .field("conn", &self.is_plugged.then(|| self.tx.connection()))
            .field("sleep", &self.sleep)
            .field("orders", &self.orders)
            .finish_non_exhaustive()
    }
}

/// A sending half without a transport, which takes nothing.
fn idle() -> Tx<Std> {
    Tx::new(Pooled::output(0), None)
}

impl State {
    /// The engine; `None` while a client is not connected.
    #[inline]
    pub(crate) const fn conn(&mut self) -> Option<&mut Engine> {
        if self.is_plugged {
            Some(self.tx.connection_mut())
        } else {
            None
        }
    }

    /// What is to be done with the transport; asked once.
    pub(crate) fn take_orders(&mut self) -> Orders {
        core::mem::take(&mut self.orders)
    }

    /// Whether something is to be done with it.
    pub(crate) const fn has_orders(&self) -> bool {
        self.orders.cut || self.orders.give_up || !self.orders.rechecks.is_empty()
    }

    /// The driver is about to sleep until something happens. `blocked`: it will write
    /// when the socket lets it, not before.
    pub(crate) fn sleep(&mut self, waker: &Waker, blocked: bool) {
        self.sleep = if blocked { Sleep::Blocked } else { Sleep::Idle };
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    /// The driver is at work.
    pub(crate) const fn wake_up(&mut self) {
        self.sleep = Sleep::Awake;
    }
}

impl Link {
    pub(crate) fn new(conn: Option<Engine>, policy: SlowPolicy) -> Arc<Self> {
        let state = State {
            is_plugged: conn.is_some(),
            tx: conn.map_or_else(idle, Tx::from),
            sleep: Sleep::Awake,
            driver: None,
            waiting: 0,
            orders: Orders::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            space: Notify::new(),
            policy,
        })
    }

    /// No user code runs under the lock, so it cannot be poisoned by a panic that matters.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message, or says why not; see [`diset_proto::Connection::send`].
    pub(crate) fn try_send(&self, message: &impl Outgoing) -> Result<(), SendError> {
        let mut state = self.lock();
        let conn = state.conn().ok_or(SendError::NotOpen)?;
        message.put(conn)?;
        Self::kick(state, true);
        Ok(())
    }

    /// As [`try_send`](Self::try_send), but deals with a slow peer as the policy says.
    ///
    /// Cancel-safe: the message was queued when this returns `Ok`, and not before.
    pub(crate) async fn send(&self, message: &impl Outgoing) -> Result<(), SendError> {
        let full = match self.try_send(message) {
            Err(full @ SendError::Full(_)) => full,
            result => return result,
        };
        let (limit, waits): (_, fn(Bound) -> bool) = match self.policy {
            SlowPolicy::Wait(limit) => (limit, |bound| bound != Bound::Session),
            SlowPolicy::Fail | SlowPolicy::Disconnect => (FILE, is_ours),
        };
        let waiting = tokio::time::timeout(limit, self.wait_to_send(message, waits));
        let result = waiting.await.unwrap_or(Err(full));
        if self.policy == SlowPolicy::Disconnect
            && let Err(SendError::Full(bound)) = result
            && !is_ours(bound)
        {
            self.too_slow();
        }
        result
    }

    /// Sends from the front of `messages` and takes off what was sent, many under one lock.
    ///
    /// Cancel-safe as [`send`](Self::send): what is left in `messages` was not queued.
    pub(crate) async fn send_all<T: Serialize>(&self, number: u8, messages: &mut &[T]) -> Result<(), SendError> {
        while !messages.is_empty() {
            match (self.try_send_some(number, messages), messages.split_first()) {
                // As one message: waits for room, or what else the policy says.
                (Err(SendError::Full(_)), Some((first, rest))) => {
                    self.send(&Typed(number, first)).await?;
                    *messages = rest;
                }
                (result, _) => result?,
            }
        }
        Ok(())
    }

    /// Sends some of the messages; others get their turn at the lock between the calls.
    fn try_send_some<T: Serialize>(&self, number: u8, messages: &mut &[T]) -> Result<(), SendError> {
        let mut state = self.lock();
        let conn = state.conn().ok_or(SendError::NotOpen)?;
        let before = messages.len();
        let mut result = Ok(());
        for message in messages.iter().take(AT_A_TIME) {
            result = conn.send(number, message);
            if result.is_err() {
                break;
            }
            *messages = messages.get(1..).unwrap_or_default();
        }
        if messages.len() < before {
            Self::kick(state, true);
        }
        result
    }

    /// As long as it is something for which it `waits`.
    async fn wait_to_send(&self, message: &impl Outgoing, waits: fn(Bound) -> bool) -> Result<(), SendError> {
        let _waiting = Waiting::new(self);
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            // Listen before trying, or room that is freed in between would be missed.
            space.as_mut().enable();
            match self.try_send(message) {
                Err(SendError::Full(bound)) if waits(bound) => space.await,
                result => return result,
            }
        }
    }

    /// Ends the connection with this notice.
    pub(crate) fn disconnect(&self, notice: Notice) {
        self.with_conn(|conn| conn.disconnect(notice));
    }

    /// The transport is to break without a word, if there is one.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.orders.cut = state.is_plugged;
        Self::kick(state, false);
    }

    /// The time for an end in order is over: the transport breaks, handlers are dropped, and the drop callback runs.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        state.orders.give_up = state.is_plugged;
        Self::kick(state, false);
    }

    /// The credentials of the peer are to be looked at again, if there is a connection. One look serves all who wait for one that has not
    /// begun yet; each of them is told.
    pub(crate) fn recheck(&self, recheck: &Arc<Recheck>) {
        let mut state = self.lock();
        if !state.is_plugged {
            return;
        }
        // There are no more than callers, then.
        state.orders.rechecks.retain(|other| other.is_awaited());
        state.orders.rechecks.push(Arc::clone(recheck));
        Self::kick(state, false);
    }

    /// There is a new connection.
    pub(crate) fn plug(&self, conn: Engine) {
        let mut state = self.lock();
        (state.tx, state.is_plugged) = (conn.into(), true);
    }

    /// There is no connection any more: who waits for room is told so.
    pub(crate) fn unplug(&self) {
        let mut state = self.lock();
        // What it holds is dropped without the lock.
        let _over = core::mem::replace(&mut state.tx, idle());
        state.is_plugged = false;
        state.orders = Orders::default();
        self.room_is_free(state);
    }

    /// Ends the connection of a peer that is too slow.
    pub(crate) fn too_slow(&self) {
        self.disconnect(Notice::new(Code::Busy).with_text("too slow"));
    }

    /// Says go-away, and drains until the deadline (PROTOCOL G-1). A connection that is not
    /// open yet has nothing to drain: it ends.
    pub(crate) fn leave(&self, notice: Notice, deadline: Duration) {
        self.with_conn(|conn| {
            if conn.phase().is_handshake() {
                conn.disconnect(notice);
            } else {
                // In another phase it is ending already.
                let _ = conn.go_away(clock::now(), notice, deadline);
            }
        });
    }

    /// The connection is over: its engine goes into a link of its own, and this one is free for the next.
    pub(crate) fn split_off(&self) -> Arc<Self> {
        let aside = Self::new(None, self.policy);
        {
            let (mut state, mut there) = (self.lock(), aside.lock());
            core::mem::swap(&mut state.tx, &mut there.tx);
            core::mem::swap(&mut state.is_plugged, &mut there.is_plugged);
        }
        self.unplug();
        aside
    }

    /// Looks at the engine of a connection that is, or was, open.
    pub(crate) fn opened<R>(&self, look: impl FnOnce(&Engine) -> R) -> Option<R> {
        let state = self.lock();
        let conn = state.tx.connection();
        conn.trid().is_some().then(|| look(conn))
    }

    /// Does something with the engine, if there is one, and wakes its driver.
    pub(crate) fn with_conn<R>(&self, work: impl FnOnce(&mut Engine) -> R) -> Option<R> {
        let mut state = self.lock();
        let result = work(state.conn()?);
        Self::kick(state, false);
        Some(result)
    }

    /// Does something with the engine, if there is one, that needs no more of its driver than to
    /// write what there is.
    pub(crate) fn with_conn_soon<R>(&self, work: impl FnOnce(&mut Engine) -> R) -> Option<R> {
        let mut state = self.lock();
        let result = work(state.conn()?);
        Self::kick(state, true);
        Some(result)
    }

    /// Those who wait for room may try again.
    pub(crate) fn room_is_free(&self, state: MutexGuard<'_, State>) {
        let anybody = state.waiting > 0;
        drop(state);
        if anybody {
            self.space.notify_waiters();
        }
    }

    /// Wakes the driver, unless it is awake, or `can_wait` and it could not write anyway.
    #[inline]
    fn kick(mut state: MutexGuard<'_, State>, can_wait: bool) {
        if state.sleep == Sleep::Awake || (can_wait && state.sleep == Sleep::Blocked) {
            return;
        }
        state.sleep = Sleep::Awake;
        let driver = state.driver.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// How the driver's half gets at this one.
impl Access<Std> for &Link {
    fn with<R>(&mut self, work: impl FnOnce(&mut Tx<Std>) -> R) -> R {
        work(&mut self.lock().tx)
    }
}

/// Whether it is this side that is slow, and not the peer.
pub(crate) const fn is_ours(bound: Bound) -> bool {
    !matches!(bound, Bound::Credit | Bound::Output | Bound::Session)
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
