//! The lane of handlers of one connection: one at a time, in the order of the messages
//! (PROTOCOL M-3).

use core::task::{Context, Poll};
use std::collections::VecDeque;

use diset_proto::{Connection, Held, Kept, Storage};

use crate::handler::{BoxFuture, HandlerResult, poll_caught};

/// A handler that waits for something.
struct Running {
    future: BoxFuture<HandlerResult>,
    /// The message it is for, and its credit; none for what runs when a connection opens.
    message: Option<(u8, Held)>,
}

/// What runs, what waits, what is done.
#[derive(Default)]
pub(super) struct Lane {
    running: Option<Running>,
    /// Bounded by the credit that the peer was granted.
    waiting: VecDeque<Kept>,
    /// Credit of messages that are dealt with, to be given back under the next lock.
    done: Option<Held>,
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

    pub(super) fn wait(&mut self, message: Kept) {
        self.waiting.push_back(message);
    }

    pub(super) fn next(&mut self) -> Option<Kept> {
        let next = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        next
    }

    pub(super) fn run(&mut self, future: BoxFuture<HandlerResult>, message: Option<(u8, Held)>) {
        self.running = Some(Running { future, message });
    }

    /// Runs on; what the handler answered, with the number of its message on the wire.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Option<u8>, HandlerResult)> {
        let Some(running) = &mut self.running else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = poll_caught(running.future.as_mut(), cx) else {
            return Poll::Pending;
        };
        let message = self.running.take().and_then(|running| running.message);
        let wire = message.as_ref().map(|(wire, _)| *wire);
        if let Some((_, held)) = message {
            self.done(held);
        }
        Poll::Ready((wire, result))
    }

    pub(super) fn done(&mut self, held: Held) {
        self.done = Some(match self.done.take() {
            Some(others) => others.and(held),
            None => held,
        });
    }

    /// Gives back the credit of what is dealt with.
    pub(super) fn give_back<B: Storage>(&mut self, conn: &mut Connection<B>) {
        if let Some(held) = self.done.take() {
            conn.release(held);
        }
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

    /// What waits will never be handled.
    pub(super) fn discard(&mut self) {
        self.waiting = VecDeque::new();
    }

    /// The handler has had its time.
    pub(super) fn abandon(&mut self) {
        self.running = None;
        self.discard();
    }
}
