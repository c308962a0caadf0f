//! Engine, lane and application of one connection: what the driver knows above the
//! socket.

use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use diset_proto::{
    Cause, Connection, Deframer, Event, Frame, GrowBuf, Instant, Limits, MessageRef, MessageSet, Notice, Progress, Trid,
};

use super::ending::End;
use super::handling::{failed, going_away, settle_failed};
use super::held::{KeyAnswer, Waiting};
use super::lane::Lane;
use super::wire::Wire;
use super::{App, Dropped, HANDLER_GRACE};
use crate::channel::{ChannelError, OutBuf};
use crate::handler::{BoxFuture, Handlers, Refusal, guarded};
use crate::link::{Link, Orders};
use crate::session::{Engine, StdSession, keep};

/// Most messages that are taken under one lock.
const BATCH: usize = 32;

pub(super) struct Session<A: App> {
    pub(super) app: A,
    pub(super) link: Arc<Link>,
    rx: Deframer<GrowBuf>,
    pub(super) handlers: Arc<Handlers<A::Peer>>,
    admission: Option<BoxFuture<Result<MessageSet, Refusal>>>,
    pub(super) lane: Lane,
    pub(super) end: End,
    /// The connection with which the session began that this one was opened in.
    pub(super) began: Trid,
    pub(super) held: Waiting,
    key_answer: Option<KeyAnswer>,
    /// How many records the TLS of the client carries, when it has just said so.
    pub(super) records: Option<u32>,
}

impl<A: App> Session<A> {
    pub(super) fn new(link: Arc<Link>, limits: &Limits, app: A) -> Self {
        // A length of at most four bytes stands before a frame.
        let input = GrowBuf::new(limits.max_frame() as usize + 4);
        let handlers = app.handlers();
        Self {
            app,
            link,
            rx: Deframer::new(input),
            handlers,
            admission: None,
            lane: Lane::default(),
            end: End::NotYet,
            began: Trid::new(0),
            held: Waiting::new(limits),
            key_answer: None,
            records: None,
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
    pub(super) fn leave(&self, notice: Notice, deadline: Duration) {
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

    /// Nothing is read of a client while the application decides (PROTOCOL H-4).
    pub(super) const fn is_admitting(&self) -> bool {
        self.admission.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.with_conn(|conn| conn.phase().is_over())
    }

    pub(super) fn progress(&self) -> Progress {
        self.with_conn(|conn| conn.progress())
    }

    fn with_conn<R: FromNoConn>(&self, work: impl FnOnce(&mut Engine) -> R) -> R {
        self.link.lock().conn.as_mut().map_or(R::NO_CONN, work)
    }

    pub(super) fn with_session<R>(&self, look: impl FnOnce(&StdSession) -> R) -> Option<R> {
        self.link.lock().conn.as_ref().and_then(|conn| conn.session().map(look))
    }

    /// Lets the engine look at the time when it wants to.
    pub(super) fn poll_time(&mut self, now: Instant) -> bool {
        let mut state = self.link.lock();
        let Some(conn) = &mut state.conn else { return false };
        self.lane.give_back(conn);
        conn.session().inspect(|session| keep(session));
        if let Some(answer) = self.key_answer.take_if(|answer| answer.is_kept(conn)) {
            answer.tell(conn);
        }
        if conn.wake().is_none_or(|wake| wake > now) {
            drop(state);
            self.settle_strays();
            return false;
        }
        let event = conn.handle_time(now);
        drop(state);
        self.on_event(now, event);
        true
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
        let mut state = self.link.lock();
        let Some(conn) = &mut state.conn else { return true };
        let event = match decision {
            Ok(forbidden) => self.app.accept(now, forbidden, conn),
            Err(Refusal(notice)) => {
                // In another phase the engine has refused the client for its own reasons.
                let _ = conn.refuse(notice);
                None
            }
        };
        drop(state);
        self.on_event(now, event);
        true
    }

    /// Runs handlers on, then the drop callback.
    pub(super) fn poll_lane(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        loop {
            if let Poll::Ready((message, result)) = self.lane.poll(cx) {
                busy = true;
                if let Err(failure) = &result {
                    let tag = message.as_ref().map(|(tag, _)| *tag);
                    failed(&self.link, &mut self.lane, &self.app, tag, self.began, failure);
                }
                if let Some((_, held)) = message {
                    self.lane.done(held);
                }
            }
            if self.lane.is_running() {
                break;
            }
            if self.link.is_ended() {
                self.lane.close();
            }
            let Some(kept) = self.lane.next() else { break };
            busy = true;
            let message = kept.message();
            Self::call(
                &self.handlers,
                &self.app,
                &mut self.lane,
                &self.link,
                self.began,
                message,
                cx,
            );
        }
        if self.grace().is_some_and(|until| now >= until) {
            self.lane
                .note("a handler did not finish in time after its connection had ended");
            self.app.gives_up();
            if let Some(tag) = self.lane.abandon() {
                settle_failed(&self.link, &self.app, tag, self.began, "");
            }
        }
        busy | self.poll_end(now, cx)
    }

    /// Plaintext has come.
    ///
    /// Messages are taken several under one lock and handled without it. What is not a plain
    /// message waits until those before it have been handled.
    pub(super) fn feed(&mut self, now: Instant, plaintext: &[u8], cx: &mut Context<'_>) {
        let link = Arc::clone(&self.link);
        let mut input = plaintext;
        let mut batch = [const { None }; BATCH];
        loop {
            let mut state = link.lock();
            let Some(conn) = &mut state.conn else { return };
            self.lane.give_back(conn);
            conn.handle_received(now);
            let may_wait = self.held.may_wait(conn);
            let (count, mut other) = if may_wait {
                (0, None)
            } else {
                take_messages(conn, &mut self.rx, &mut input, &mut batch)
            };
            if count > 0 {
                drop(state);
                for message in batch.iter_mut().take(count).filter_map(Option::take) {
                    Self::offer(
                        &self.handlers,
                        &self.app,
                        &mut self.lane,
                        &link,
                        self.began,
                        message,
                        cx,
                    );
                }
                if other.is_none() {
                    continue;
                }
                state = link.lock();
            }
            let Some(conn) = &mut state.conn else { return };
            if other.is_none() {
                other = self.rx.next(&mut input, conn.max_frame());
            }
            let Some(frame) = other else {
                // Credit may have come.
                link.room_is_free(state);
                return;
            };
            if may_wait && self.held.keep(&frame, conn) {
                continue;
            }
            let frame = match conn.take_message(frame) {
                Ok(message) => {
                    drop(state);
                    Self::offer(
                        &self.handlers,
                        &self.app,
                        &mut self.lane,
                        &link,
                        self.began,
                        message,
                        cx,
                    );
                    continue;
                }
                Err(frame) => frame,
            };
            match conn.handle_frame(now, frame) {
                // It was not taken before for a reason, so this is never one.
                Some(Event::Message(message)) => self.lane.wait(conn.keep(message)),
                Some(Event::Proposed(proposal)) => {
                    drop(state);
                    self.records = proposal.records();
                    self.admission = Some(self.app.admission(&proposal));
                }
                Some(Event::Connected(trid)) => {
                    drop(state);
                    self.on_connected(trid);
                }
                Some(Event::Dropped(cause)) => {
                    drop(state);
                    self.on_dropped(now, cause);
                }
                Some(Event::Acknowledged) => {
                    drop(state);
                    self.look_at_outcomes();
                }
                Some(Event::NextKey(hash, lasts)) => {
                    drop(state);
                    // Not at all is an answer, too (PROTOCOL N-8).
                    let lasts = self.app.next_key(hash, lasts).unwrap_or_default();
                    self.key_answer = link.with_conn(|conn| KeyAnswer::new(hash, lasts, conn));
                }
                Some(Event::NextKeyRemembered(hash, lasts)) => {
                    drop(state);
                    self.app.next_key_remembered(hash, lasts);
                }
                Some(Event::GoingAway(notice)) => going_away(&notice),
                Some(_) | None => {}
            }
        }
    }

    /// An event that came without a frame.
    pub(super) fn on_event(&mut self, now: Instant, event: Option<Event<'static>>) {
        match event {
            Some(Event::Connected(trid)) => self.on_connected(trid),
            Some(Event::Dropped(cause)) => self.on_dropped(now, cause),
            Some(Event::GoingAway(notice)) => going_away(&notice),
            _ => {}
        }
    }

    fn on_connected(&mut self, trid: Trid) {
        self.began = self.with_session(|session| session.began()).unwrap_or(self.began);
        self.look_at_outcomes();
        if let Some(opening) = self.app.opened(trid) {
            self.lane.run(opening, None);
        }
    }

    fn on_dropped(&mut self, now: Instant, cause: Cause) {
        self.admission = None;
        self.held.clear();
        if matches!(cause, Cause::OurError(_)) {
            // After an error of the peer nothing more of it is handled.
            self.lane.close();
        }
        let unconfirmed = self.link.with_conn(|conn| conn.unconfirmed()).unwrap_or(0);
        let dropped = Box::new(Dropped { cause, unconfirmed });
        self.end = End::Dropped(dropped, now.after(HANDLER_GRACE));
        let state = self.link.lock();
        self.link.room_is_free(state);
    }

    /// Remembers what went wrong with the transport.
    pub(super) fn note(&mut self, failure: &ChannelError) {
        self.lane.note(failure);
    }

    /// The transport gives nothing more: the engine must know. Whether it was news.
    pub(super) fn transport_ended(&mut self) -> bool {
        let event = self.link.lock().conn.as_mut().and_then(Connection::handle_eof);
        let news = event.is_some();
        self.on_event(crate::clock::now(), event);
        news
    }

    /// Bytes have come that are no plaintext yet: the peer lives (PROTOCOL K-4).
    pub(super) fn heard(&self, now: Instant) {
        if let Some(conn) = &mut self.link.lock().conn {
            conn.handle_received(now);
        }
    }

    /// Seals what the engine wants to transmit.
    pub(super) fn collect(&mut self, wire: &mut Wire, out: &mut OutBuf) -> bool {
        if wire.is_blocked() {
            return false;
        }
        let mut state = self.link.lock();
        let Some(conn) = &mut state.conn else { return false };
        self.lane.give_back(conn);
        let bytes = conn.transmit();
        if bytes.is_empty() {
            let refused = conn.has_outcomes();
            drop(state);
            if refused {
                self.look_at_outcomes();
            }
            return refused;
        }
        let count = wire.seal(bytes, out);
        conn.transmitted(count);
        self.link.room_is_free(state);
        true
    }

    /// When the engine wants to be called; `None` when there is something to do now.
    /// `blocked`: nothing can be written now.
    pub(super) fn sleep(&mut self, cx: &Context<'_>, blocked: bool) -> Option<Option<Instant>> {
        let mut state = self.link.lock();
        // Under the same lock as the sleep begins, or the wish would be missed.
        let ordered = state.has_orders();
        let Some(conn) = &mut state.conn else { return Some(None) };
        if ordered || self.lane.has_done() || (!blocked && !conn.is_output_empty() && !conn.phase().is_over()) {
            return None;
        }
        conn.session().inspect(|session| keep(session));
        if self.held.is_ready(conn) || self.key_answer.as_ref().is_some_and(|answer| answer.is_kept(conn)) {
            return None;
        }
        let wake = conn.wake();
        state.sleep(cx.waker(), blocked);
        Some(wake)
    }
}

/// Takes messages that lie whole at the front of the input, until the batch is full; how
/// many, and the frame that is something else.
fn take_messages<'i>(
    conn: &mut Engine,
    rx: &mut Deframer<GrowBuf>,
    input: &mut &'i [u8],
    batch: &mut [Option<MessageRef<'i>>],
) -> (usize, Option<Frame<'i>>) {
    let max = conn.max_frame();
    let mut count = 0;
    for place in batch {
        let Some(frame) = rx.next_whole(input, max) else { break };
        match conn.take_message(frame) {
            Ok(message) => *place = Some(message),
            Err(frame) => return (count, Some(frame)),
        }
        count += 1;
    }
    (count, None)
}

/// What to say when there is no engine any more.
trait FromNoConn {
    const NO_CONN: Self;
}

impl FromNoConn for bool {
    const NO_CONN: Self = true;
}

impl FromNoConn for Progress {
    const NO_CONN: Self = Self::Over;
}
