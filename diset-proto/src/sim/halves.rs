//! Both halves of a link in one place, with the time: what an adapter has, for tests of it and of what it does.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use serde::Serialize;

use crate::conn::slot::{NoSession, SessionSlot};
use crate::conn::{Admission, AdoptConfig, ClientConfig, Connection};
use crate::drive::{Event, Failure, HandlerResult, Handling, HeapQueue, Io, Parts, Running, Rx, Turn, Tx};
use crate::error::{Misuse, SendError};
use crate::limits::Limits;
use crate::schema::Catalog;
use crate::session::{Outcome, Session};
use crate::status::Notice;
use crate::store::Unsure;
use crate::time::Instant;
use crate::wire::storage::GrowBuf;

/// What the halves of a simulated peer are made of.
#[derive(Debug)]
pub struct Simulated<S>(PhantomData<S>);

impl<S: SessionSlot> Parts for Simulated<S> {
    type Buffer = GrowBuf;
    type Session = S;
    type Queue = HeapQueue;
    type Running = Later;
}

/// A handler that waits until it is told what it [comes to](Self::comes_to); its clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Later(Rc<Cell<Option<HandlerResult>>>);

impl Later {
    /// What was decoded is with this handler from now on.
    pub fn wait<P: Parts<Running = Self>>(&self, handling: Handling<'_, P>) {
        let mut cx = Context::from_waker(Waker::noop());
        handling.start(&mut cx, |place| *place = self.clone());
    }

    /// It comes to this, when it is asked next: see [`Halves::finish`].
    pub fn comes_to(&self, result: HandlerResult) {
        self.0.set(Some(result));
    }
}

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }
}

/// Both halves of a link, and the time. Getters are those of the [`Connection`] in it.
pub struct Halves<S: SessionSlot = NoSession> {
    /// What reads.
    pub rx: Rx<Simulated<S>>,
    /// What leaves.
    pub tx: Tx<Simulated<S>>,
    /// The time of whatever is done next.
    pub now: Instant,
}

impl<S: SessionSlot> Halves<S> {
    /// Halves without a transport, with room for what these limits let come, and for so many bytes that wait to leave.
    pub fn new(now: Instant, limits: &Limits, output: usize, session: S) -> Self {
        let messages = limits.credit_messages as usize;
        let queue = HeapQueue::new(GrowBuf::new(limits.credit_bytes as usize + 22 * messages));
        Self {
            rx: Rx::new(GrowBuf::new(limits.max_frame() as usize + 4), queue),
            tx: Tx::new(GrowBuf::new(output), session),
            now,
        }
    }

    // ── a link begins ───────────────────────────────────────────────────────────────

    /// Client: [`Rx::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(&mut self, config: &ClientConfig<'_>) -> Result<(), Misuse> {
        self.rx.connect(self.now, &mut self.tx, config)
    }

    /// Client: [`Rx::adopt`].
    ///
    /// # Errors
    /// As there.
    pub fn adopt(&mut self, config: &AdoptConfig<'_>) -> Result<(), Misuse> {
        self.rx.adopt(self.now, &mut self.tx, config)
    }

    /// Service: [`Rx::listen`].
    ///
    /// # Errors
    /// As there.
    pub fn listen(&mut self, catalog: &'static Catalog, limits: Limits) -> Result<(), Misuse> {
        self.rx.listen(self.now, &mut self.tx, catalog, limits)
    }

    /// Service: [`Rx::admit`].
    ///
    /// # Errors
    /// As there.
    pub fn accept(&mut self, now: Instant, admission: Admission) -> Result<(), Misuse> {
        self.now = now;
        self.rx.admit(now, &mut self.tx, admission)
    }

    /// Service: [`Rx::admit_in_session`].
    ///
    /// # Errors
    /// As there.
    pub fn accept_in_session(&mut self, admission: Admission, session: S) -> Result<(), (Misuse, S)> {
        self.rx.admit_in_session(self.now, &mut self.tx, admission, session)
    }

    /// Service: [`Rx::refuse`].
    ///
    /// # Errors
    /// As there.
    pub fn refuse(&mut self, notice: Notice) -> Result<(), Misuse> {
        self.rx.refuse(&mut self.tx, notice)
    }

    // ── what comes ──────────────────────────────────────────────────────────────────

    /// [`Rx::next`].
    pub fn next<'p, 'i: 'p>(&'p mut self, input: &mut &'i [u8]) -> Option<Event<'p, Simulated<S>>> {
        self.rx.next(self.now, &mut self.tx, input)
    }

    /// Gives it all of these bytes, and what it tells to `on`.
    pub fn feed(&mut self, bytes: &[u8], mut on: impl FnMut(&mut Tx<Simulated<S>>, Event<'_, Simulated<S>>)) {
        let mut input = bytes;
        while let Some(event) = self.rx.next(self.now, &mut self.tx, &mut input) {
            on(&mut self.tx, event);
        }
    }

    /// The transport has ended: [`Rx::ended`].
    pub fn lose(&mut self) {
        self.rx.ended(self.now, &mut self.tx);
    }

    /// The handler that waits comes to this. Then ask [`next`](Self::next).
    pub fn finish(&mut self, later: &Later, result: HandlerResult) {
        later.comes_to(result);
        let _ = self.rx.poll(&mut Context::from_waker(Waker::noop()));
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// [`Rx::turn`].
    pub fn turn(&mut self) -> Turn {
        self.rx.turn(self.now, &mut self.tx)
    }

    /// The bytes to be written, with all that is due.
    pub fn transmit(&mut self) -> &[u8] {
        self.turn();
        self.tx.output()
    }

    /// The first `count` bytes of these have been written.
    pub fn transmitted(&mut self, count: usize) {
        self.tx.wrote(count);
    }

    /// All that leaves now: it has been written.
    pub fn take(&mut self) -> Vec<u8> {
        let bytes = self.transmit().to_vec();
        self.transmitted(bytes.len());
        bytes
    }

    /// What is to be done with the transport.
    pub fn progress(&mut self) -> Io {
        self.turn().io
    }

    /// When the next turn must come.
    pub fn wake(&mut self) -> Option<Instant> {
        self.turn().wake
    }

    // ── what the user wants ─────────────────────────────────────────────────────────

    /// [`Tx::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send<T: Serialize + ?Sized>(&mut self, number: u8, message: &T) -> Result<(), SendError> {
        self.tx.send(number, message)
    }

    /// [`Tx::send_acked`].
    ///
    /// # Errors
    /// As there.
    pub fn send_acked<T: Serialize + ?Sized>(
        &mut self,
        number: u8,
        message: &T,
        on_unknown: Unsure,
    ) -> Result<u64, SendError> {
        self.tx.send_acked(number, message, on_unknown)
    }

    /// [`Tx::take_outcome`].
    pub fn take_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.tx.take_outcome()
    }

    /// [`Tx::go_away`].
    ///
    /// # Errors
    /// As there.
    pub fn go_away(&mut self, now: Instant, notice: Notice, within: Duration) -> Result<(), Misuse> {
        self.now = now;
        self.tx.go_away(now, notice, within)
    }

    /// [`Tx::disconnect`].
    pub fn disconnect(&mut self, notice: Notice) {
        self.tx.disconnect(notice);
    }

    /// [`Tx::session_mut`].
    pub fn session_mut(&mut self) -> Option<&mut Session<S::Replay, S::Inbox>> {
        self.tx.session_mut()
    }

    /// [`Tx::take_session`].
    pub fn take_session(&mut self) -> S
    where
        S: Default,
    {
        self.tx.take_session()
    }
}

impl<S: SessionSlot> Deref for Halves<S> {
    type Target = Connection<GrowBuf, S>;

    fn deref(&self) -> &Self::Target {
        self.tx.connection()
    }
}

impl<S: SessionSlot + fmt::Debug> fmt::Debug for Halves<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
