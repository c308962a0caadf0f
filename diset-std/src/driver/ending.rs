//! The end of a connection, step by step: the engine has said so, the last handlers finish, the drop callback runs.

use core::task::Context;
use std::sync::Arc;

use diset_proto::Instant;

use super::handling::settle_failed;
use super::session::Session;
use super::{App, Dropped, HANDLER_GRACE};
use crate::handler::{BoxFuture, guarded};
use crate::link::Link;

/// How far the end of a connection has got. Boxed, for all the connections that live.
pub(super) enum End {
    NotYet,
    /// The engine has said so; handlers finish, until the time given.
    Dropped(Box<Dropped>, Instant),
    /// The drop callback runs, until the time given.
    CallingBack(Box<Dropped>, BoxFuture<()>, Instant),
    /// All is done.
    Done(Box<Dropped>),
}

impl<A: App> Session<A> {
    /// Until when handlers may run on.
    pub(super) const fn grace(&self) -> Option<Instant> {
        match &self.end {
            End::Dropped(_, until) | End::CallingBack(_, _, until) => Some(*until),
            End::NotYet | End::Done(_) => None,
        }
    }

    pub(super) fn poll_end(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        match core::mem::replace(&mut self.end, End::NotYet) {
            End::Dropped(dropped, _) if !self.lane.is_busy() => {
                // What the last handler did counts for the session before another connection goes on with
                // it (PROTOCOL Q-8).
                self.settle_done();
                self.end = match self.app.dropped(&dropped, self.lane.why()) {
                    Some(callback) => End::CallingBack(dropped, callback, now.after(HANDLER_GRACE)),
                    None => End::Done(dropped),
                };
                true
            }
            End::CallingBack(dropped, mut callback, until) => {
                let done = poll_callback(&mut callback, cx) || now >= until;
                self.end = if done {
                    End::Done(dropped)
                } else {
                    End::CallingBack(dropped, callback, until)
                };
                done
            }
            end => {
                self.end = end;
                false
            }
        }
    }

    /// The transport is done with: only handlers run on.
    pub(super) fn poll_finish(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.transport_ended();
        while self.poll_lane(now, cx) {}
    }

    /// How the connection ended, if it has; handlers may still run.
    pub(super) fn dropped(&self) -> Option<&Dropped> {
        match &self.end {
            End::NotYet => None,
            End::Dropped(dropped, _) | End::CallingBack(dropped, _, _) | End::Done(dropped) => Some(dropped),
        }
    }

    /// Whether nothing runs any more.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.end, End::Done(_))
    }

    /// The connection is over and handlers still run: leaves its link to the next one, for one of its own, which is given.
    /// The session stays with this one until the next takes it over (PROTOCOL Q-8).
    pub(super) fn step_aside(&mut self) -> Arc<Link> {
        self.link = match self.app.cell() {
            Some(cell) => cell.step_aside(&self.link),
            None => self.link.split_off(),
        };
        Arc::clone(&self.link)
    }

    /// The time for an end in order is over: a handler that still runs is dropped, and the drop callback has its turn, as
    /// whoever sent must learn what may be lost.
    pub(super) fn give_up(&mut self) {
        self.transport_ended();
        if self.lane.is_running() {
            self.lane.note("a handler did not finish in the time for the end");
        }
        self.abandon();
    }
}

impl<A: App> Session<A> {
    /// This side ends, perhaps before its handlers have. What these have done counts; a message whose handler is
    /// dropped comes to its end with that, unless it is kept: then it is handled again.
    fn abandon(&mut self) {
        self.settle_done();
        if let Some(tag) = self.lane.abandon()
            && !self.app.cell().is_some_and(|cell| cell.is_durable())
        {
            settle_failed(&self.link, &self.app, tag, self.began, "");
        }
    }
}

/// Whoever still holds the link, or waits for room, must see that there is no connection,
/// even when the task is aborted.
impl<A: App> Drop for Session<A> {
    fn drop(&mut self) {
        self.abandon();
        if let Some(cell) = self.app.cell() {
            cell.detach(&self.link);
        }
        self.link.unplug();
    }
}

/// A callback that panics is done.
fn poll_callback(callback: &mut BoxFuture<()>, cx: &mut Context<'_>) -> bool {
    guarded("on_drop", || callback.as_mut().poll(cx)).is_none_or(|polled| polled.is_ready())
}
