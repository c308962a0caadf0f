//! The halves of one connection and its application: what the driver knows above the socket.

use core::task::{Context, Poll};
use std::sync::Arc;

use diset_proto::drive::{HeapQueue, Io, Rx};
use diset_proto::{GrowBuf, Instant, Limits, MessageSet, Notice, Phase, Trid};

use super::ending::End;
use super::keys::KeyAnswer;
use super::wire::Wire;
use super::{App, Dropped, HANDLER_GRACE};
use crate::buffers::Pooled;
use crate::channel::{ChannelError, OutBuf};
use crate::handler::{BoxFuture, Handlers, Refusal, guarded};
use crate::link::{Link, Orders};
use crate::session::{Engine, Std, StdSession, keep};

pub(super) struct Session<A: App> {
    pub(super) app: A,
    pub(super) link: Arc<Link>,
    pub(super) rx: Rx<Std>,
    pub(super) handlers: Arc<Handlers<A::Peer>>,
    pub(super) admission: Option<BoxFuture<Result<MessageSet, Refusal>>>,
    /// What has come and is not taken yet, as there was no room for it.
    pub(super) left: Vec<u8>,
    /// No message of it has a handler any more.
    pub(super) is_handled: bool,
    pub(super) end: End,
    pub(super) key_answer: Option<KeyAnswer>,
    /// Ready when the store, that all sessions share, has room.
    room: Option<BoxFuture<bool>>,
    /// What went wrong first on this side, in words that are not for the peer. Boxed, for all
    /// the connections that live.
    pub(super) why: Option<Box<str>>,
    /// How many records the TLS of the client carries, when it has just said so.
    pub(super) records: Option<u32>,
    /// What is to be done with the transport.
    io: Io,
}

impl<A: App> Session<A> {
    pub(super) fn new(link: Arc<Link>, limits: &Limits, app: A) -> Self {
        // A length of at most four bytes stands before a frame.
        let frame = Pooled::input(limits.max_frame() as usize + 4);
        let (bytes, messages) = limits.credit();
        // What a queue takes beside a payload is no more than this (PROTOCOL L-3). What an inbox has kept of former connections,
        // twice as much as may come on one, waits before.
        let room = (bytes as usize).saturating_add((messages as usize).saturating_mul(22));
        let room = room.saturating_mul(3);
        let queue = HeapQueue::new(GrowBuf::new(room));
        let handlers = app.handlers();
        Self {
            app,
            link,
            rx: Rx::new(frame, queue).alone(),
            handlers,
            admission: None,
            left: Vec::new(),
            is_handled: false,
            end: End::NotYet,
            key_answer: None,
            room: None,
            why: None,
            records: None,
            io: Io::Run,
        }
    }

    pub(super) fn wake_up(&self) {
        self.link.lock().wake_up();
    }

    /// What the program wants of the transport.
    pub(super) fn take_orders(&self) -> Orders {
        self.link.lock().take_orders()
    }

    /// Says go-away.
    pub(super) fn leave(&self, notice: Notice, deadline: core::time::Duration) {
        self.link.leave(notice, deadline);
    }

    /// Ends the connection; false when it was ending already.
    pub(super) fn disconnect(&self, notice: Notice) -> bool {
        let ends = |conn: &mut Engine| {
            let lived = !conn.phase().is_over();
            conn.disconnect(notice);
            lived
        };
        self.link.with_conn(ends).unwrap_or(false)
    }

    /// Nothing is read of a client while the application decides (PROTOCOL H-4), nor while there is no room.
    pub(super) const fn is_reading(&self) -> bool {
        self.admission.is_none() && self.left.is_empty()
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase().is_over()
    }

    fn phase(&self) -> Phase {
        self.link.lock().tx.connection().phase()
    }

    /// What is to be done with the transport, as the last [look at the time](Self::poll_time) has shown.
    pub(super) const fn io(&self) -> Io {
        self.io
    }

    pub(super) fn with_session<R>(&self, look: impl FnOnce(&StdSession) -> R) -> Option<R> {
        self.link.lock().tx.connection().session().map(look)
    }

    /// Deals with time, and with all that is due. Whether something waits for [`take`](Self::take).
    pub(super) fn poll_time(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        {
            let mut state = self.link.lock();
            let conn = state.tx.connection_mut();
            conn.session().inspect(|session| keep(session));
            if let Some(answer) = self.key_answer.take_if(|answer| answer.is_kept(conn)) {
                answer.tell(conn);
            }
        }
        self.poll_room(cx);
        let turn = self.rx.turn(now, &mut &*self.link);
        self.settle_stray();
        self.io = turn.io;
        self.look_at_end(now);
        turn.wake.is_some_and(|wake| wake <= now)
    }

    /// Waits for room in the store, when that is what is missing.
    fn poll_room(&mut self, cx: &mut Context<'_>) {
        if self.room.is_none() {
            self.room = self.with_session(|session| session.inbox().room()).flatten();
        }
        if self.room.as_mut().is_some_and(|room| room.as_mut().poll(cx).is_ready()) {
            self.room = None;
        }
    }

    /// Asks the application whether it has decided.
    pub(super) fn poll_admission(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let Some(admission) = &mut self.admission else {
            return false;
        };
        let polled = guarded("on_connect", || admission.as_mut().poll(cx));
        let Poll::Ready(decision) = polled.unwrap_or_else(|| Poll::Ready(Err(Refusal::panicked()))) else {
            return false;
        };
        self.admission = None;
        let tx = &mut self.link.lock().tx;
        match decision {
            Ok(forbidden) => self.app.accept(now, forbidden, &mut self.rx, tx),
            Err(Refusal(notice)) => {
                // In another phase the engine has refused the client for its own reasons.
                let _ = self.rx.refuse(tx, notice);
            }
        }
        true
    }

    pub(super) fn on_connected(&mut self, trid: Trid, cx: &mut Context<'_>) {
        self.look_at_outcomes();
        if let Some(opening) = self.app.opened(trid) {
            self.rx.callback(cx, |running| running.start(|| opening));
        }
    }

    /// Takes note of the end, when it has come.
    pub(super) fn look_at_end(&mut self, now: Instant) {
        if !matches!(self.end, End::NotYet) {
            return;
        }
        let state = self.link.lock();
        let conn = state.tx.connection();
        let Some(cause) = conn.cause().cloned() else { return };
        let unconfirmed = conn.unconfirmed();
        let dropped = Box::new(Dropped { cause, unconfirmed });
        self.end = End::Dropped(dropped, now.after(HANDLER_GRACE));
        self.link.room_is_free(state);
        // Not under the lock: it is the author's, and what it holds may send as it is dropped.
        self.admission = None;
    }

    /// Remembers what went wrong with the transport.
    pub(super) fn note_failure(&mut self, failure: &ChannelError) {
        self.note(failure);
    }

    /// Remembers what went wrong, for the log.
    pub(super) fn note(&mut self, why: impl core::fmt::Display) {
        self.why.get_or_insert_with(|| why.to_string().into());
    }

    /// The transport gives nothing more: the engine must know. Whether it was news.
    pub(super) fn transport_ended(&mut self) -> bool {
        if self.phase() == Phase::Closed {
            return false;
        }
        let now = crate::clock::now();
        self.rx.ended(now, &mut &*self.link);
        self.settle_stray();
        self.look_at_end(now);
        true
    }

    /// Bytes have come that are no plaintext yet: the peer lives (PROTOCOL K-4).
    pub(super) const fn heard(&mut self, now: Instant) {
        self.rx.heard(now);
    }

    /// Seals what the engine wants to transmit.
    pub(super) fn collect(&mut self, wire: &mut Wire, out: &mut OutBuf) -> bool {
        if wire.is_blocked() {
            return false;
        }
        let mut state = self.link.lock();
        let bytes = state.tx.output();
        if bytes.is_empty() {
            let refused = state.tx.connection().has_outcomes();
            drop(state);
            if refused {
                self.look_at_outcomes();
            }
            return refused;
        }
        let count = wire.seal(bytes, out);
        state.tx.wrote(count);
        self.link.room_is_free(state);
        true
    }

    /// When the engine wants to be called; `None` when there is something to do now.
    /// `blocked`: nothing can be written now.
    pub(super) fn sleep(&mut self, cx: &Context<'_>, blocked: bool) -> Option<Option<Instant>> {
        let mut state = self.link.lock();
        // Under the same lock as the sleep begins, or the wish would be missed.
        let ordered = state.has_orders();
        let conn = state.tx.connection();
        if ordered || (!blocked && !conn.is_output_empty() && !conn.phase().is_over()) {
            return None;
        }
        conn.session().inspect(|session| keep(session));
        if self.key_answer.as_ref().is_some_and(|answer| answer.is_kept(conn)) {
            return None;
        }
        let wake = conn.wake();
        state.sleep(cx.waker(), blocked);
        drop(state);
        self.rx.running().rest();
        Some(wake)
    }
}
