//! The one loop that drives a connection: socket ⇄ channel ⇄ engine ⇄ handlers. A service
//! and a client differ only in their [`App`].
//!
//! One task runs one [`Driver`]. Each turn looks at the time, the admission, the lane of
//! handlers, writes, and reads; nothing waits for anything else, so IO goes on while a
//! handler waits. Buffers are the worker's ([`crate::buffers`]).

mod credentials;
mod ending;
mod handling;
mod held;
mod lane;
mod records;
mod session;
mod wire;

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use diset_proto::limits::LINGER;
use diset_proto::{Cause, Code, Event, Instant, Limits, MessageSet, Outcome, Progress, Proposal, Trid};
use tokio::time::Sleep;

use self::credentials::Watched;
use self::records::Spent;
use self::session::Session;
use self::wire::{Took, Wire};
use crate::buffers::{Scratch, with_scratch};
use crate::channel::{Channel, ChannelError, Established};
use crate::clock;
use crate::handler::{BoxFuture, HandlerResult, Handlers, Refusal, Told};
use crate::link::{Link, Orders};
use crate::session::{Engine, SessionCell};
use crate::socket::Socket;

/// Turns of one connection before it lets others run.
const TURNS: usize = 32;
/// How long a handler may run on after its connection has ended.
pub(crate) const HANDLER_GRACE: Duration = Duration::from_secs(30);

/// How a connection ended.
#[derive(Debug, Clone)]
pub struct Dropped {
    cause: Cause,
    unconfirmed: u32,
}

impl Dropped {
    /// Why.
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The code of the end; `None` when the transport just ended.
    pub const fn code(&self) -> Option<Code> {
        self.cause.code()
    }

    /// At most so many of the messages sent may not have been dealt with by the peer.
    pub const fn unconfirmed(&self) -> u32 {
        self.unconfirmed
    }
}

impl core::fmt::Display for Dropped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.cause)?;
        match self.unconfirmed {
            0 => Ok(()),
            1 => f.write_str(" (1 message not confirmed)"),
            count => write!(f, " ({count} messages not confirmed)"),
        }
    }
}

/// What a service or a client does at the turns of a connection's life.
pub(crate) trait App: Send + Unpin + 'static {
    /// Who handlers talk to.
    type Peer: Clone + Told + Send + Sync + Unpin + 'static;

    /// The handlers.
    fn handlers(&self) -> Arc<Handlers<Self::Peer>>;
    /// TLS is done, or was not wanted.
    fn established(&mut self, established: Established);
    /// A client proposes: decide, and say which messages are not for it.
    fn admission(&mut self, proposal: &Proposal<'_>) -> BoxFuture<Result<MessageSet, Refusal>>;
    /// The client was admitted: accept it.
    fn accept(&mut self, now: Instant, forbidden: MessageSet, conn: &mut Engine) -> Option<Event<'static>>;
    /// The connection is open. The future runs before any message is handled.
    fn opened(&mut self, trid: Trid) -> Option<BoxFuture<HandlerResult>>;
    /// Who handlers talk to; asked only after [`opened`](Self::opened).
    fn peer(&self) -> Option<&Self::Peer>;
    /// Whether a message, whose turn it is, is forbidden now; the text for the peer then.
    fn forbids(&self, _number: u8) -> Option<&str> {
        None
    }
    /// The session of the connection, once it has one.
    fn cell(&self) -> Option<&Arc<SessionCell>>;
    /// An acked message of this side came to this end, which is not Ok.
    fn outcome(&self, number: u64, outcome: Outcome);
    /// Service: the next public key of the client is to be remembered; for how long it is.
    fn next_key(&self, _hash: [u8; 32], _lasts: Duration) -> Option<Duration> {
        None
    }
    /// Client: the service remembers its next public key.
    fn next_key_remembered(&self, _hash: [u8; 32], _lasts: Duration) {}
    /// How long before the peer's certificates end it is told to go away; none when their end is not watched.
    fn margin(&self) -> Option<Duration> {
        None
    }
    /// The handler that runs has had its time after the end, and is about to be dropped.
    fn gives_up(&self) {}
    /// The connection is over and the last handler has finished. `why` is what the peer was
    /// not told: what a handler said when it failed, or TLS.
    fn dropped(&mut self, dropped: &Dropped, why: Option<&str>) -> Option<BoxFuture<()>>;
    /// Nothing is left to be done; TLS may have failed.
    fn finished(&mut self, _dropped: &Dropped, _failure: Option<&ChannelError>) {}
}

/// What came of a connection.
pub(crate) struct Ending {
    pub(crate) dropped: Dropped,
    /// What TLS said, when it was TLS that failed.
    pub(crate) channel: Option<ChannelError>,
}

/// One connection and all that works on it. A future that ends with the connection.
pub(crate) struct Driver<A: App> {
    wire: Wire,
    session: Session<A>,
    watched: Watched,
    spent: Spent,
    timer: Option<Pin<Box<Sleep>>>,
    /// What the timer is set to.
    timer_at: Option<Instant>,
    /// Until when the transport is read and discarded.
    linger: Option<Instant>,
    started: bool,
}

impl<A: App> Driver<A> {
    pub(crate) fn new(socket: Socket, channel: Box<dyn Channel>, link: Arc<Link>, limits: &Limits, app: A) -> Self {
        Self {
            wire: Wire::new(socket, channel),
            session: Session::new(link, limits, app),
            watched: Watched::default(),
            spent: Spent::default(),
            timer: None,
            timer_at: None,
            linger: None,
            started: false,
        }
    }

    /// One turn; whether anything happened.
    fn turn(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> bool {
        let now = clock::now();
        self.obey();
        let mut busy = self.watched.poll(now, &self.wire, &self.session);
        busy |= self.session.poll_held(now, cx);
        busy |= self.spent.poll(&mut self.wire, &mut self.session);
        // Before the time is looked at: after a stall of this side what waits in the socket
        // may prove that the peer lives (PROTOCOL K-4). Answers leave in the same turn.
        busy |= self.poll_read(now, scratch, cx);
        busy |= self.session.poll_time(now);
        busy |= self.session.poll_admission(now, cx);
        busy |= self.session.poll_lane(now, cx);
        busy | self.poll_write(now, scratch, cx)
    }

    /// What the program wants of the transport.
    fn obey(&mut self) {
        let Orders { cut, give_up, rechecks } = self.session.take_orders();
        if cut || give_up {
            self.wire.give_up();
        }
        if give_up {
            self.session.give_up();
        }
        if !rechecks.is_empty() && credentials::recheck(&self.wire, &self.session) {
            rechecks.iter().for_each(|recheck| recheck.count());
        }
    }

    fn poll_read(&mut self, now: Instant, scratch: &mut Scratch, cx: &mut Context<'_>) -> bool {
        if self.session.is_admitting() {
            return false;
        }
        let over = self.session.is_over();
        let session = &mut self.session;
        let (mut fed, mut proven) = (false, None);
        let took = self
            .wire
            .poll_read(scratch, cx, over, self.started, |taken| match taken {
                Took::Plaintext(bytes, cx) => {
                    fed = true;
                    session.feed(now, bytes, cx);
                }
                Took::Established(established) => {
                    proven = Some(established.lasts);
                    session.app.established(established);
                }
            });
        if let Some(lasts) = proven {
            self.watched.begin(now, lasts, self.session.app.margin());
        }
        self.started = true;
        if took.busy && !fed {
            self.session.heard(now);
        }
        // An error that is to be told still leaves: the peer may have ended its side only.
        if took.ended && !self.session.is_over() {
            if let Some(failure) = self.wire.failure() {
                self.session.note(failure);
            }
            self.session.transport_ended();
        }
        took.busy
    }

    /// Seals what the engine has, writes what the socket takes, and ends the writing
    /// direction when it is time.
    fn poll_write(&mut self, now: Instant, scratch: &mut Scratch, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        if self.wire.can_seal() {
            busy |= self.session.collect(&mut self.wire, &mut scratch.out);
        } else if self.wire.has_failed() || self.session.is_over() {
            // TLS has failed or was never up, or the socket is gone: nobody can be told. As
            // long as it is not over, a socket that takes nothing is still read (PROTOCOL E-5).
            if let Some(failure) = self.wire.failure().filter(|_| !self.session.is_over()) {
                self.session.note(failure);
            }
            busy |= self.session.transport_ended();
        }
        let progress = self.session.progress();
        if progress != Progress::Running {
            self.wire.close(&mut scratch.out);
        }
        busy |= self.wire.poll_flush(scratch, cx);
        if progress == Progress::Running {
            return busy;
        }
        // A peer that does not read keeps the last bytes from leaving: not for ever.
        let ended = self.wire.poll_shutdown(cx) || progress == Progress::Over;
        if ended && self.linger.is_none() {
            self.linger = Some(now.after(LINGER));
            busy = true;
        }
        busy
    }

    /// Whether the transport needs nothing more.
    fn is_io_done(&self) -> bool {
        let lingered = self.linger.is_some_and(|until| clock::now() >= until);
        lingered || (self.wire.is_read_done() && self.wire.is_write_done())
    }

    /// Until the connection has ended. Its handlers and its drop callback may still run, as long as this is
    /// driven on, as a future.
    pub(crate) async fn until_over(&mut self) -> Ending {
        let dropped = poll_fn(|cx| self.poll_until(cx, |session| session.dropped().cloned())).await;
        let channel = self.wire.take_failure();
        Ending { dropped, channel }
    }

    /// Whether nothing runs any more.
    pub(crate) const fn is_finished(&self) -> bool {
        self.session.is_done()
    }

    /// Leaves its link to the next connection; gives the one that it has from now on.
    pub(crate) fn step_aside(&mut self) -> Arc<Link> {
        self.session.step_aside()
    }

    /// Goes on until the transport is done with and the session has come to where `reached` says so.
    fn poll_until<T>(&mut self, cx: &mut Context<'_>, reached: impl Fn(&Session<A>) -> Option<T>) -> Poll<T> {
        self.session.wake_up();
        with_scratch(|scratch| {
            for _ in 0..TURNS {
                let busy = self.turn(scratch, cx);
                let done = self.is_io_done();
                if done {
                    self.wire.give_up();
                    self.session.poll_finish(clock::now(), cx);
                    if let Some(reached) = reached(&self.session) {
                        return Poll::Ready(reached);
                    }
                }
                if !busy && self.sleep(cx, done) {
                    return Poll::Pending;
                }
            }
            // The buffers go to other connections now: nothing of this one may stay in them.
            self.wire.poll_flush(scratch, cx);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Goes to sleep unless there is something to do after all.
    /// `done`: the transport is, only handlers are waited for.
    fn sleep(&mut self, cx: &mut Context<'_>, done: bool) -> bool {
        let blocked = self.wire.is_blocked() || !self.wire.can_seal();
        let Some(wake) = self.session.sleep(cx, blocked) else {
            return false;
        };
        // Its time has passed, perhaps; a timer in the past would never let this sleep.
        let linger = self.linger.filter(|_| !done);
        let due = self.watched.due().filter(|_| !done);
        let wake = [wake, linger, due, self.session.grace()].into_iter().flatten().min();
        let Some(wake) = wake else { return true };
        if self.timer_at.is_none_or(|set| wake < set) {
            let deadline = clock::deadline(wake);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
            self.timer_at = Some(wake);
        }
        let fired = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if fired {
            self.timer_at = None;
        }
        !fired
    }
}

impl<A: App> Future for Driver<A> {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        let driver = self.get_mut();
        let finished = |session: &Session<A>| session.dropped().filter(|_| session.is_done()).cloned();
        driver.poll_until(cx, finished).map(|dropped| {
            let channel = driver.wire.take_failure();
            driver.session.app.finished(&dropped, channel.as_ref());
            Ending { dropped, channel }
        })
    }
}

#[cfg(all(test, unix))]
mod tests;
