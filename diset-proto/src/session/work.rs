//! Who has this message now.
//!
//! A message that was accepted is in one place until it has an outcome: it waits in the queue, or it is the job, which
//! is one at most. The job is *lent* to whoever handles it. What becomes of the loan (a result, a handler that waits, a
//! loan that is dropped or forgotten) stands in the job, and counts in one function: [`Work::complete`]. So nothing but
//! the result of a handler is a success, and nothing is completed by another message.
//!
//! What a completion means to the peer, credit and acknowledgement, is decided above.

use core::task::{Context, Poll};
use core::time::Duration;

use postcard_schema::Schema;
use postcard_schema::schema::NamedType;
use serde::Deserialize;

use super::parts::Parts;
use super::queue::{Aside as _, Meta, Queue};
use crate::schema::decode::decode;
use crate::schema::invalid::Invalid;
#[cfg(feature = "alloc")]
use crate::schema::learned::LearnedCatalog;
use crate::schema::walk::check_structure;
use crate::schema::{MessageDef, digest};
use crate::status::Code;
use crate::time::{Instant, Millis};

/// What a handler comes to.
pub type HandlerResult = Result<(), Failure>;

/// Why a handler has not done what it was to do.
///
/// Any error is one, of code [`Code::HandlerFailed`]; its text stays here. [`retry_in`](Self::retry_in) asks for the
/// message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(Why);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Code(Code),
    Retry(Duration),
    Abandoned,
    Unsent,
}

impl Failure {
    /// The handler was given up before it came to an end: dropped, or its time was over.
    pub const ABANDONED: Self = Self(Why::Abandoned);

    /// It could not send, because a go-away was said. Of a plain message that is not answered any more that is no
    /// failure (PROTOCOL G-2); of any other one it is of code [`Code::HandlerFailed`].
    pub const UNSENT: Self = Self(Why::Unsent);

    /// For this reason.
    pub const fn new(code: Code) -> Self {
        Self(Why::Code(code))
    }

    /// Not now: the message comes again after this span, and all behind it waits. For acked messages where there is a
    /// queue; any other has failed.
    pub const fn retry_in(span: Duration) -> Self {
        Self(Why::Retry(span))
    }
}

impl<E: core::error::Error> From<E> for Failure {
    fn from(_: E) -> Self {
        Self::new(Code::HandlerFailed)
    }
}

/// A place for a handler that waits; it stays, and is used again for the next one. `()` where none does.
///
/// What implements it catches panics: a handler that has panicked has failed.
pub trait Running: Default {
    /// Goes on with the handler.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<HandlerResult>;

    /// Drops the handler, whose time is over: [`Failure::ABANDONED`], or Ok when what it did was committed before.
    /// `Pending` while that is being decided.
    fn abandon(&mut self) -> Poll<HandlerResult>;

    /// What the peer is told of the failure that was given last, besides its code; its first 64 bytes.
    fn told(&self) -> &str {
        ""
    }
}

impl Running for () {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }
}

/// Messages that were accepted and have no outcome yet.
#[cfg_attr(any(test, feature = "snapshot"), derive(Clone))]
#[cfg_attr(feature = "snapshot", derive(Hash))]
pub(crate) struct Work<Q: Queue, R> {
    queue: Q,
    job: Option<Job>,
    /// Where the handler of the job is, when it waits.
    running: R,
    front: Q::Aside<Front>,
}

/// What is known of messages at the front of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Front {
    /// The first was handled, and is to be once more.
    retry: Option<Retry>,
    /// How many came on a link that is over: they have cost this one nothing.
    old: usize,
    /// How many of those have their turn as messages of that link: up to its last plain one.
    rest: usize,
    /// How many of these came on links before that.
    earlier: usize,
}

/// The message that is with a handler, or the callback that runs in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Job {
    /// `None`: a callback.
    meta: Option<Meta>,
    /// It is the front of the queue, too, until it has its outcome.
    queued: bool,
    of: Of,
    state: State,
}

/// Of which link a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// Of the one there is.
    Link,
    /// It came on an earlier one and is handled on this one, which it has cost nothing.
    Carried,
    /// Of one that is over.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    /// It says nothing yet; and if it is gone, it never will.
    Lent,
    Waits,
    Done(End),
}

/// What became of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Ok,
    Failed(Code),
    /// The message did not fit its definition (PROTOCOL M-2).
    Invalid(Invalid),
    /// Nobody has handled it.
    Abandoned,
    /// Its handler could not send.
    Unsent,
    /// It waits at the front of the queue, and has not begun.
    Retry(Millis),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Retry {
    at: Instant,
    attempts: u32,
}

/// A completion, to be counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completed {
    /// `None`: of a callback.
    pub(crate) meta: Option<Meta>,
    pub(crate) of: Of,
    pub(crate) end: End,
}

impl<Q: Queue, R: Running> Work<Q, R> {
    pub(crate) fn new(queue: Q) -> Self {
        Self {
            queue,
            job: None,
            running: R::default(),
            front: Q::Aside::default(),
        }
    }

    pub(crate) fn into_queue(self) -> Q {
        self.queue
    }

    fn front(&self) -> Front {
        self.front.look(|front| *front)
    }

    /// Whether a message that comes now may be lent at once: nothing stands before it.
    pub(crate) fn is_empty(&self) -> bool {
        self.job.is_none() && self.queue.front().is_none()
    }

    pub(crate) const fn has_job(&self) -> bool {
        self.job.is_some()
    }

    /// A message has come that must wait; false when there is no room.
    pub(crate) fn accept(&mut self, meta: &Meta, payload: &[u8]) -> bool {
        self.queue.push(meta, payload)
    }

    /// The message whose turn it is, if one waits, none is with a handler, and the time for another attempt has come.
    pub(crate) fn waiting(&self, now: Instant) -> Option<Meta> {
        if self.job.is_some() || self.front().retry.is_some_and(|retry| retry.at > now) {
            return None;
        }
        self.queue.front().map(|(meta, _)| meta)
    }

    /// When a message must be tried again.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.front().retry.filter(|_| self.job.is_none()).map(|retry| retry.at)
    }

    /// Lends the message that [waits](Self::waiting).
    pub(crate) fn lend_front<P>(&mut self, def: &'static MessageDef) -> Option<Lent<'_, P>>
    where
        P: Parts<Queue = Q, Running = R>,
    {
        let attempts = self.front().retry.map_or(0, |retry| retry.attempts);
        let of = self.front_of();
        let (meta, payload) = self.queue.front()?;
        // Before the link whose messages have their turn, which may be over.
        let carried = self.front().earlier > 0 || of == Of::Carried;
        let job = Job {
            meta: Some(meta),
            queued: true,
            of,
            state: State::Lent,
        };
        let handling = Handling {
            job: self.job.insert(job),
            meta,
            running: &mut self.running,
            queue: None,
            payload,
        };
        Some(Lent {
            handling,
            def,
            carried,
            attempts,
        })
    }

    /// Lends a message straight from where it came, when the work [is empty](Self::is_empty).
    pub(crate) fn lend<'p, P>(&'p mut self, meta: Meta, payload: &'p [u8], def: &'static MessageDef) -> Lent<'p, P>
    where
        P: Parts<Queue = Q, Running = R>,
    {
        let job = Job {
            meta: Some(meta),
            queued: false,
            of: Of::Link,
            state: State::Lent,
        };
        let handling = Handling {
            job: self.job.insert(job),
            meta,
            running: &mut self.running,
            queue: Some(&mut self.queue),
            payload,
        };
        Lent {
            handling,
            def,
            carried: false,
            attempts: 0,
        }
    }

    /// A callback runs in the place of a handler; `over`: of a link that is over.
    pub(crate) fn call(&mut self, over: bool, cx: &mut Context<'_>, make: impl FnOnce(&mut R)) {
        make(&mut self.running);
        self.job = Some(Job {
            meta: None,
            queued: false,
            of: if over { Of::Over } else { Of::Link },
            state: State::Waits,
        });
        let _ = self.poll(cx);
    }

    /// The message whose turn it is has this outcome, and no handler.
    pub(crate) fn refuse_front(&mut self, code: Code) -> Option<Completed> {
        let (meta, _) = self.queue.front()?;
        let of = self.front_of();
        self.pop();
        Some(Completed {
            meta: Some(meta),
            of,
            end: End::Failed(code),
        })
    }

    /// Where the handler is, when it waits.
    pub(crate) const fn running(&self) -> &R {
        &self.running
    }

    pub(crate) const fn running_mut(&mut self) -> &mut R {
        &mut self.running
    }

    /// Goes on with the handler that waits; ready when none does.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end_by(|running| running.poll(cx))
    }

    /// The time of the handler that waits is over.
    pub(crate) fn expire(&mut self) -> Poll<()> {
        self.end_by(Running::abandon)
    }

    fn end_by(&mut self, end: impl FnOnce(&mut R) -> Poll<HandlerResult>) -> Poll<()> {
        let Some(job) = self.job.as_mut().filter(|job| job.state == State::Waits) else {
            return Poll::Ready(());
        };
        let Poll::Ready(result) = end(&mut self.running) else {
            return Poll::Pending;
        };
        let queued = job.queued;
        job.finish(result, |_| queued);
        Poll::Ready(())
    }

    /// What has come to an end counts, here and nowhere else. A loan that says nothing, dropped or forgotten, is over, too.
    pub(crate) fn complete(&mut self, now: Instant) -> Option<Completed> {
        let job = self.job.take_if(|job| job.state != State::Waits)?;
        // A loan needs no destructor, which would keep the receiving half borrowed for as long as an event is in scope.
        let end = match job.state {
            // Where nothing waits a compiler need not see to it.
            State::Done(End::Retry(_)) if !Q::WAITS => End::Abandoned,
            State::Done(end) => end,
            State::Lent | State::Waits => End::Abandoned,
        };
        if let End::Retry(span) = end {
            let at = now.plus(span);
            self.front.edit(|front| {
                let attempts = front.retry.map_or(0, |retry| retry.attempts).saturating_add(1);
                front.retry = Some(Retry { at, attempts });
            });
        } else if Q::WAITS && job.queued {
            self.pop();
        }
        Some(Completed {
            meta: job.meta,
            of: job.of,
            end,
        })
    }

    /// The message whose turn it is has its outcome without a handler, or is somebody else's.
    pub(crate) fn pop(&mut self) {
        self.queue.pop();
        self.front.edit(|front| {
            *front = Front {
                retry: None,
                old: front.old.saturating_sub(1),
                rest: front.rest.saturating_sub(1),
                earlier: front.earlier.saturating_sub(1),
            };
        });
    }
}

impl Job {
    /// Its handler has come to this result. `stay` puts the message at the front of the queue, if it can be.
    fn finish(&mut self, result: HandlerResult, stay: impl FnOnce(&Meta) -> bool) {
        self.state = State::Done(match result {
            Ok(()) => End::Ok,
            Err(Failure(Why::Code(code))) => End::Failed(code),
            Err(Failure(Why::Abandoned)) => End::Abandoned,
            Err(Failure(Why::Unsent)) => End::Unsent,
            Err(Failure(Why::Retry(span))) if self.meta.is_some_and(|meta| meta.acked.is_some() && stay(&meta)) => {
                self.queued = true;
                End::Retry(Millis::of(span))
            }
            Err(Failure(Why::Retry(_))) => End::Failed(Code::HandlerFailed),
        });
    }
}

/// A message that is lent to its handler, not looked into yet.
///
/// It borrows the receiving half and the input, never the sending half: send what you like while you hold it. Dropped,
/// it is a message that nobody has handled.
#[must_use = "decode or refuse it; a message that nobody handles ends the connection"]
pub struct Lent<'p, P: Parts> {
    handling: Handling<'p, P>,
    def: &'static MessageDef,
    carried: bool,
    attempts: u32,
}

impl<'p, P: Parts> Lent<'p, P> {
    /// Its number in the catalog of this side: [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    pub const fn number(&self) -> u8 {
        self.handling.meta.number
    }

    /// What else is known of it.
    pub const fn meta(&self) -> &Meta {
        &self.handling.meta
    }

    /// The definition it claims to follow.
    pub const fn def(&self) -> &'static MessageDef {
        self.def
    }

    /// It came on an earlier link of its session, or to an earlier process, and is handled on this one: what its sender
    /// may do can have changed since.
    pub const fn is_carried(&self) -> bool {
        self.carried
    }

    /// Its payload, not checked yet: for the simulator, which looks into all that comes.
    #[cfg(feature = "sim")]
    pub(crate) const fn payload(&self) -> &'p [u8] {
        self.handling.payload
    }

    /// How often a handler has asked for it again.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Checks and decodes it. `None`: it does not fit its definition, the peer is told so, and the link ends; or `T`
    /// has another structure than the message, which then had no handler.
    pub fn decode<T>(self) -> Option<(T, Handling<'p, P>)>
    where
        T: Schema + Deserialize<'p>,
    {
        if self.def.structure() != const { digest::structure(T::SCHEMA) } {
            self.refuse(Code::NoHandler);
            return None;
        }
        let checked = decode(self.handling.payload);
        self.handling.checked(checked)
    }

    /// Checks it against `structure`, from [`ServiceDef::STRUCTURES`](crate::ServiceDef::STRUCTURES) at its number, and
    /// lends its bytes. Otherwise as [`decode`](Self::decode).
    pub fn decode_raw(self, structure: &NamedType) -> Option<(&'p [u8], Handling<'p, P>)> {
        let payload = self.handling.payload;
        self.handling
            .checked(check_structure(structure, payload).map(|()| payload))
    }

    /// Checks it against the definition with its number in `catalog`, that of this side or one that was learned, and lends
    /// its bytes. Otherwise as [`decode`](Self::decode).
    #[cfg(feature = "alloc")]
    pub fn decode_learned(self, catalog: &LearnedCatalog) -> Option<(&'p [u8], Handling<'p, P>)> {
        let Some(message) = catalog.by_number(self.number()) else {
            self.refuse(Code::NoHandler);
            return None;
        };
        let payload = self.handling.payload;
        self.handling
            .checked(message.structure().check(payload).map(|()| payload))
    }

    /// The place for its handler, which may have to know what the peer is told of a [refusal](Self::refuse).
    pub const fn running(&mut self) -> &mut P::Running {
        self.handling.running
    }

    /// Decodes it, and handles it at once.
    pub fn run<T>(self, handler: impl FnOnce(T) -> HandlerResult)
    where
        T: Schema + Deserialize<'p>,
    {
        if let Some((value, handling)) = self.decode() {
            handling.done(handler(value));
        }
    }

    /// It is not handled, for this reason.
    pub fn refuse(self, code: Code) {
        self.handling.done(Err(Failure::new(code)));
    }
}

/// A message that was decoded, until it has an outcome. Dropped, it is one that nobody has handled.
#[must_use = "say what has become of it; a message that nobody handles ends the connection"]
pub struct Handling<'p, P: Parts> {
    job: &'p mut Job,
    meta: Meta,
    running: &'p mut P::Running,
    /// When the message does not lie in it.
    queue: Option<&'p mut P::Queue>,
    payload: &'p [u8],
}

impl<'p, P: Parts> Handling<'p, P> {
    /// What is known of the message besides its content.
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Its handler has come to this result.
    pub fn done(mut self, result: HandlerResult) {
        self.finish(result);
    }

    /// Its handler may wait. `make` puts it into its place, where it is polled once while what was decoded is at hand,
    /// and then by `Rx::poll`.
    pub fn start(mut self, cx: &mut Context<'_>, make: impl FnOnce(&mut P::Running)) {
        make(self.running);
        match self.running.poll(cx) {
            Poll::Ready(result) => self.finish(result),
            Poll::Pending => {
                if self.meta.acked.is_some() && !self.job.queued {
                    self.job.queued = self.stay();
                }
                self.job.state = State::Waits;
            }
        }
    }

    fn finish(&mut self, result: HandlerResult) {
        let (queued, payload) = (self.job.queued, self.payload);
        let queue = &mut self.queue;
        self.job.finish(result, |meta| queued || push(queue, meta, payload));
    }

    /// Puts the message at the front of the queue, which is empty when it does not lie there.
    fn stay(&mut self) -> bool {
        push(&mut self.queue, &self.meta, self.payload)
    }

    fn checked<T>(self, checked: Result<T, Invalid>) -> Option<(T, Self)> {
        match checked {
            Ok(value) => Some((value, self)),
            Err(invalid) => {
                self.job.state = State::Done(End::Invalid(invalid));
                None
            }
        }
    }
}

fn push<Q: Queue>(queue: &mut Option<&mut Q>, meta: &Meta, payload: &[u8]) -> bool {
    queue.as_mut().is_some_and(|queue| queue.push(meta, payload))
}

mod links;

#[cfg(test)]
mod tests;
