//! Messages and their handlers: whose turn it is, how it ended, and what of that the session must
//! know, wherever it is (PROTOCOL, parts M and Q).

use core::task::Context;
use std::sync::Arc;

use diset_proto::{Code, Event, Instant, MessageRef, Notice, Outcome, Phase, Tag, Trid};

use super::App;
use super::lane::Lane;
use super::session::Session;
use crate::handler::{Called, Failure, Handlers, Told};
use crate::link::Link;
use crate::session::{Engine, Received};

impl<A: App> Session<A> {
    /// Gives a message to its handler, or lets it wait for its turn. Apart from `self`,
    /// because the message may borrow the deframer.
    pub(super) fn offer(
        handlers: &Handlers<A::Peer>,
        app: &A,
        lane: &mut Lane,
        link: &Link,
        began: Trid,
        message: MessageRef<'_>,
        cx: &mut Context<'_>,
    ) {
        if link.is_ended() {
            lane.close();
        }
        if lane.is_closed() {
            return;
        }
        if lane.is_busy() {
            lane.wait(message.into());
        } else {
            Self::call(handlers, app, lane, link, began, message, cx);
        }
    }

    /// Gives a message, whose turn it is, to its handler.
    pub(super) fn call(
        handlers: &Handlers<A::Peer>,
        app: &A,
        lane: &mut Lane,
        link: &Link,
        began: Trid,
        message: MessageRef<'_>,
        cx: &mut Context<'_>,
    ) {
        let tag = message.tag();
        if let Some(number) = message.number_in_session()
            && !begin(link, lane, number)
        {
            return lane.close();
        }
        // PROTOCOL M-5
        if let Some(why) = app.forbids(message.number()) {
            return reject(link, message, Code::Forbidden, why);
        }
        let (Some(handler), Some(peer)) = (handlers.find(message.number()), app.peer()) else {
            let name = message.name();
            return reject(link, message, Code::NoHandler, name);
        };
        let called = match message.number_in_session() {
            None => handler.call(peer, message, cx),
            Some(number) => {
                let maybe_repeated = message.maybe_repeated();
                let told = peer.told(Received {
                    began,
                    number,
                    maybe_repeated,
                });
                handler.call(&told, message, cx)
            }
        };
        match called {
            Called::Done(Ok(()), held) => lane.done(held),
            Called::Done(Err(failure), held) => {
                failed(link, lane, app, Some(tag), began, &failure);
                lane.done(held);
            }
            Called::Running(future, held) => lane.run(future, Some((tag, held))),
            Called::Invalid(error) => {
                lane.close();
                link.with_conn(|conn| conn.fail_decode(tag, error));
            }
        }
    }

    /// Messages that had to wait for room go on when there is some. Whether any did.
    pub(super) fn poll_held(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let link = Arc::clone(&self.link);
        let mut busy = false;
        loop {
            let mut state = link.lock();
            let Some(conn) = &mut state.conn else { return busy };
            self.lane.give_back(conn);
            self.held.poll_room(conn, cx);
            let Some(kept) = self.held.next(conn) else { return busy };
            busy = true;
            let frame = conn.turn_of(&kept);
            let frame = match conn.take_message(frame) {
                Ok(message) => {
                    drop(state);
                    let (app, lane) = (&self.app, &mut self.lane);
                    Self::offer(&self.handlers, app, lane, &link, self.began, message, cx);
                    continue;
                }
                Err(frame) => frame,
            };
            match conn.handle_frame(now, frame) {
                Some(Event::Message(message)) => self.lane.wait(conn.keep(message)),
                event => {
                    let event = event.and_then(without_frame);
                    drop(state);
                    self.on_event(now, event);
                }
            }
        }
    }

    /// What is dealt with counts, wherever the session is.
    pub(super) fn settle_done(&mut self) {
        if let Some(conn) = &mut self.link.lock().conn {
            self.lane.give_back(conn);
        }
        self.settle_strays();
    }

    /// Outcomes of acked messages whose session another connection has taken over.
    pub(super) fn settle_strays(&mut self) {
        if let Some(number) = self.lane.take_stray()
            && let Some(cell) = self.app.cell()
        {
            cell.settle(self.began, number, Outcome::Ok);
        }
    }

    /// The peer has told what became of messages.
    pub(super) fn look_at_outcomes(&mut self) {
        let Some(cell) = self.app.cell() else { return };
        for (number, outcome) in cell.look() {
            self.app.outcome(number, outcome);
        }
    }
}

/// What a frame that waited can tell, besides a message.
fn without_frame(event: Event<'_>) -> Option<Event<'static>> {
    match event {
        Event::Dropped(cause) => Some(Event::Dropped(cause)),
        Event::GoingAway(notice) => Some(Event::GoingAway(notice)),
        _ => None,
    }
}

pub(super) fn going_away(notice: &Notice) {
    tracing::debug!(reason = notice.to_string(), "the peer says go-away");
}

/// Ends the connection for a message that is not to be handled.
#[cold]
fn reject(link: &Link, message: MessageRef<'_>, code: Code, text: &str) {
    link.with_conn(|conn| conn.reject(message, code, text));
}

/// Whether the handler of this acked message may begin. If not nothing behind it may, on this connection: another one
/// has taken the session over, and gets the message; or the connection ends, as the peer must learn of others first.
fn begin(link: &Link, lane: &mut Lane, number: u64) -> bool {
    let mut state = link.lock();
    let Some(conn) = &mut state.conn else { return false };
    // Those before are dealt with: a handler may rely on that.
    lane.give_back(conn);
    if conn.begin(number) {
        return true;
    }
    let Some(session) = conn.session() else { return false };
    let notice = if session.has_too_many_failures() {
        Notice::new(Code::Busy).with_text("too many messages have failed: they go on when you know")
    } else {
        tracing::error!(
            number,
            "one before this message is not dealt with: both are handled again"
        );
        Notice::new(Code::Internal)
    };
    drop(state);
    link.disconnect(notice);
    false
}

pub(super) fn failed<A: App>(link: &Link, lane: &mut Lane, app: &A, tag: Option<Tag>, began: Trid, failure: &Failure) {
    if failure.is_going_away() && link.with_conn(|conn| is_moot(conn, tag)).unwrap_or(false) {
        tracing::debug!(reason = %failure, "a handler wanted to send after a go-away");
        return;
    }
    lane.note(failure);
    lane.close();
    match tag {
        Some(tag) => settle_failed(link, app, tag, began, failure.for_peer()),
        None => {
            let notice = Notice::new(Code::HandlerFailed).with_text(failure.for_peer());
            link.with_conn(|conn| conn.disconnect(notice));
        }
    }
}

/// Whether a handler that could not send because of a go-away is no reason for another end: what it was called for is no
/// message, or a plain one that came after the go-away and is not answered any more (PROTOCOL G-2). The outcome of an acked
/// one is a failure all the same.
fn is_moot(conn: &Engine, tag: Option<Tag>) -> bool {
    match tag {
        None => matches!(conn.phase(), Phase::Leaving | Phase::Draining),
        Some(tag) => tag.number_in_session().is_none() && conn.phase() == Phase::Draining && !conn.may_send(),
    }
}

/// The handler of this message failed, or did not finish: that is its outcome, wherever its session is now.
pub(super) fn settle_failed<A: App>(link: &Link, app: &A, tag: Tag, began: Trid, text: &str) {
    let is_here = link.with_conn(|conn| {
        conn.fail(tag, Code::HandlerFailed, text);
        conn.session().is_some()
    });
    if let (Some(false) | None, Some(number), Some(cell)) = (is_here, tag.number_in_session(), app.cell()) {
        cell.settle(began, number, Outcome::Failed(Code::HandlerFailed));
    }
}
