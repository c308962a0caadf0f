//! The place for the handler of a connection that waits: one future, whose memory is used again by the next handler that
//! is of the same kind. A panic is a failure of the handler, not of the connection's task.

use core::any::Any;
use core::cell::Cell;
use core::future::Future;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::catch_unwind;

use diset_proto::{Code, drive};

use crate::handler::{Failure, HandlerResult};

thread_local! {
    /// A handler runs on this thread, right now.
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is called by a handler.
pub(crate) fn is_running() -> bool {
    IS_RUNNING.get()
}

/// Runs a handler as far as it goes; `None` when it panics.
pub(crate) fn run<T>(handler: impl FnOnce() -> T) -> Option<T> {
    let before = IS_RUNNING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(handler));
    IS_RUNNING.set(before);
    result.ok()
}

/// The handler of a message that has begun, and what it said when it failed.
#[derive(Default)]
pub(crate) struct Running {
    /// One that is done is not there any more; its memory is.
    future: Option<Pin<Box<dyn Place + Send>>>,
    now: Now,
    failure: Option<Failure>,
    /// What the peer is told of a message that has no handler.
    refusal: Option<Box<str>>,
}

/// What there is of the handler.
#[derive(Default)]
enum Now {
    #[default]
    Nothing,
    Future,
    /// It did not have to wait.
    Done(HandlerResult),
}

impl Running {
    /// Begins with a handler that may wait, and makes its future.
    pub(crate) fn start<F>(&mut self, make: impl FnOnce() -> F)
    where
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        let Some(future) = run(make) else {
            return self.finish_at_once(Err(panicked()));
        };
        let mut next = Some(future);
        if !self
            .future
            .as_mut()
            .is_some_and(|place| place.as_mut().refill(&mut next))
        {
            self.future = Some(Box::pin(next));
        }
        self.now = Now::Future;
    }

    /// Calls a handler that does not wait.
    pub(crate) fn call(&mut self, handler: impl FnOnce() -> HandlerResult) {
        self.finish_at_once(run(handler).unwrap_or_else(|| Err(panicked())));
    }

    fn finish_at_once(&mut self, result: HandlerResult) {
        self.now = Now::Done(result);
    }

    /// No handler begins, and the peer is told this text.
    pub(crate) fn refuse(&mut self, text: &str) {
        self.refusal = Some(text.into());
    }

    /// What went wrong since this was asked last.
    pub(crate) const fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Gives the memory back, when nothing runs, as it is before a connection rests.
    pub(crate) fn rest(&mut self) {
        if !matches!(self.now, Now::Future) {
            self.future = None;
        }
    }

    /// What the handler holds is dropped, too, before its message counts as handled.
    fn empty(&mut self) {
        if let Some(future) = &mut self.future
            && run(|| future.as_mut().empty()).is_none()
        {
            tracing::error!("what a handler left behind panicked when it was dropped");
            self.future = None;
        }
    }
}

impl drive::Running for Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<drive::HandlerResult> {
        let result = match (core::mem::take(&mut self.now), &mut self.future) {
            (Now::Done(result), _) => result,
            (Now::Future, Some(future)) => match run(|| future.as_mut().poll(cx)) {
                Some(Poll::Pending) => {
                    self.now = Now::Future;
                    return Poll::Pending;
                }
                Some(Poll::Ready(result)) => {
                    self.empty();
                    result
                }
                None => {
                    self.empty();
                    Err(panicked())
                }
            },
            _ => return Poll::Ready(Err(drive::Failure::ABANDONED)),
        };
        Poll::Ready(result.map_err(|failure| {
            let is_unsent = failure.is_going_away();
            self.failure = Some(failure);
            if is_unsent {
                drive::Failure::UNSENT
            } else {
                drive::Failure::new(Code::HandlerFailed)
            }
        }))
    }

    fn abandon(&mut self) -> Poll<drive::HandlerResult> {
        self.now = Now::Nothing;
        self.empty();
        Poll::Ready(Err(drive::Failure::new(Code::HandlerFailed)))
    }

    fn told(&self) -> &str {
        match (&self.failure, &self.refusal) {
            (Some(failure), _) => failure.for_peer(),
            (None, Some(refusal)) => refusal,
            (None, None) => "",
        }
    }
}

pub(crate) fn panicked() -> Failure {
    Failure::new("the handler panicked")
}

/// A future, or the room that one has left.
trait Place {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult>;

    /// Puts the next one in, if it is of the same type: an `Option` with it.
    fn refill(self: Pin<&mut Self>, next: &mut dyn Any) -> bool;

    fn empty(self: Pin<&mut Self>);
}

impl<F> Place for Option<F>
where
    F: Future<Output = HandlerResult> + 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        self.as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx))
    }

    fn refill(mut self: Pin<&mut Self>, next: &mut dyn Any) -> bool {
        let Some(next) = next.downcast_mut::<Self>() else {
            return false;
        };
        self.set(next.take());
        true
    }

    fn empty(mut self: Pin<&mut Self>) {
        self.set(None);
    }
}

#[cfg(test)]
mod tests;
