//! The lane of handlers of one connection: one at a time, in the order of the messages
//! (PROTOCOL M-3).

use core::task::{Context, Poll};
use std::collections::VecDeque;

use diset_proto::{Held, Kept, Tag};

use crate::handler::{BoxFuture, HandlerResult, poll_caught};
use crate::session::Engine;

/// A handler that waits for something.
struct Running {
    future: BoxFuture<HandlerResult>,
    /// The message it is for, and its credit; none for what runs when a connection opens.
    message: Option<(Tag, Held)>,
}

/// What runs, what waits, what is done.
#[derive(Default)]
pub(super) struct Lane {
    running: Option<Running>,
    /// Bounded by the credit that the peer was granted.
    waiting: VecDeque<Kept>,
    /// Credit of messages that are dealt with, to be given back under the next lock.
    done: Option<Held>,
    /// No handler of a message begins any more: what comes is not handled here. Acked messages come again, or are in
    /// the inbox of their session.
    is_closed: bool,
    /// The last acked message that is dealt with, after the session was taken away.
    stray: Option<u64>,
    /// What went wrong first on this side, in words that are not for the peer. Boxed, for all
    /// the connections that live.
    why: Option<Box<str>>,
}

impl Lane {
    /// Whether a message that comes now must wait.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn wait(&mut self, message: Kept) {
        if !self.is_closed {
            self.waiting.push_back(message);
        }
    }

    pub(super) fn next(&mut self) -> Option<Kept> {
        let next = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        next
    }

    pub(super) fn run(&mut self, future: BoxFuture<HandlerResult>, message: Option<(Tag, Held)>) {
        self.running = Some(Running { future, message });
    }

    /// Runs on; what the handler answered, and to which message.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Option<(Tag, Held)>, HandlerResult)> {
        let Some(running) = &mut self.running else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = poll_caught(running.future.as_mut(), cx) else {
            return Poll::Pending;
        };
        let message = self.running.take().and_then(|running| running.message);
        Poll::Ready((message, result))
    }

    pub(super) fn done(&mut self, held: Held) {
        self.done = Some(match self.done.take() {
            Some(others) => others.and(held),
            None => held,
        });
    }

    /// Gives back the credit of what is dealt with. Of acked messages it is an outcome; when their
    /// session is not here any more see [`take_stray`](Self::take_stray).
    pub(super) fn give_back(&mut self, conn: &mut Engine) {
        if let Some(held) = self.done.take() {
            if conn.session().is_none() {
                self.stray = self.stray.max(held.number_in_session());
            }
            conn.release(held);
        }
    }

    /// The last acked message that is dealt with and whose session is elsewhere.
    pub(super) const fn take_stray(&mut self) -> Option<u64> {
        self.stray.take()
    }

    pub(super) const fn has_done(&self) -> bool {
        self.done.is_some()
    }

    /// Remembers what went wrong, for the log.
    pub(super) fn note(&mut self, why: impl core::fmt::Display) {
        self.why.get_or_insert_with(|| why.to_string().into());
    }

    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Nothing more is handled on this connection: neither what waits, nor what comes. None of it may pass what was
    /// not handled before it.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.waiting = VecDeque::new();
    }

    /// The handler has had its time; the message it was for.
    pub(super) fn abandon(&mut self) -> Option<Tag> {
        self.close();
        let message = self.running.take()?.message;
        message.map(|(tag, _)| tag)
    }
}
