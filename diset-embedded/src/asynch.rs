//! The client under an executor: futures that can be dropped at any time.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use diset_proto::{Instant, Retry, ServiceDef};
use embedded_io::{Error, ErrorKind, ErrorType};

use crate::buffers::Buffers;
use crate::client::Client;
use crate::config::{Config, SetupError};
use crate::event::{ConnectError, Event};
use crate::machine::{Machine, Need, Out};
use crate::outbox::Keep;

/// What opens a [`Channel`]: a transport that is connected, with what it takes to know the peer.
#[expect(
    async_fn_in_trait,
    reason = "as embedded-io-async: executors on chips need no `Send`"
)]
pub trait Open {
    /// What comes of it.
    type Channel: Channel;
    /// Why there is none.
    type Error: Error;

    /// Opens the channel.
    ///
    /// A channel is given only when the peer is who it should be: it has proven it, with all checks done, or the
    /// caller has said that the line is trusted. There is no other way to a channel, so nothing is ever sent to a
    /// peer before.
    ///
    /// # Errors
    /// There is no channel; nothing of the application was sent.
    async fn open(self) -> Result<Self::Channel, Self::Error>;
}

/// An open channel to the right peer: reliable, ordered, integrity-checked, and it shows when it ends (PROTOCOL X-1).
///
/// # Cancel safety
/// The client drops these futures when something else comes first, a keep-alive above all. **They must be cancel
/// safe**: a `read` or `write` that is dropped before it is ready has taken nothing from the transport and given
/// nothing to it, or keeps what it has taken for the next call; `flush` and `close` go on when they are called again.
///
/// The client writes before it reads, and does both at a time by turns: while a `write` waits, each time that the task is
/// woken it is dropped, a `read` is polled once and dropped, and a `write` is polled again and kept. So a transport must
/// wake the task when it has something to read though the `read` was dropped, as those do that keep their waker beside
/// the data. With one that does not, what comes while nothing can be written is seen at the next wake: when bytes have
/// left, or something is due.
#[expect(
    async_fn_in_trait,
    reason = "as embedded-io-async: executors on chips need no `Send`"
)]
pub trait Channel: ErrorType {
    /// Reads at least one byte; 0 is the end.
    ///
    /// # Errors
    /// The channel has failed.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// Takes at least one byte, perhaps not all.
    ///
    /// # Errors
    /// The channel takes nothing any more; what has arrived is still read.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error>;

    /// Makes what was written leave; it need not have arrived.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn flush(&mut self) -> Result<(), Self::Error>;

    /// Ends the writing direction in order; reading goes on (PROTOCOL X-4). Over TLS close_notify leaves, then the
    /// writing direction of the transport ends. The traits of embedded-io have no call for the latter: a channel is told
    /// how, by `tls::Tls::ending_with` or [`TrustedLine::ending_with`](crate::TrustedLine::ending_with), or leaves it.
    /// Then the peer knows the end by close_notify, or by the notice of the connection, and may wait up to two seconds
    /// for the transport to end.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn close(&mut self) -> Result<(), Self::Error>;

    /// How many records each direction may carry before the channel must be replaced; `None` when there is no
    /// limit. The service is told when the client proposes.
    fn max_records(&self) -> Option<u32> {
        None
    }

    /// Whether it is time to replace the channel: 90 % of the records of either direction are used. The client goes
    /// away in order then, and connects again at once.
    fn is_worn(&self) -> bool {
        false
    }
}

/// The time: now, and later.
#[expect(
    async_fn_in_trait,
    reason = "as embedded-io-async: executors on chips need no `Send`"
)]
pub trait Clock {
    /// Milliseconds since an origin that stays the same for the life of the client, such as the start of the chip.
    fn now(&self) -> Instant;

    /// Returns at this time or a little later; at once when it is in the past.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    async fn sleep_until(&mut self, time: Instant);
}

impl<'b, S: ServiceDef, C: Channel, T: Clock> Client<'b, S, C, T> {
    /// A client for an executor. It works in these buffers and has no other memory.
    ///
    /// # Errors
    /// [`SetupError`]: limits, arguments and buffers do not fit together.
    pub fn new<const FRAME: usize, const OUTPUT: usize, const INPUT: usize>(
        _service: S,
        config: Config<'b>,
        clock: T,
        buffers: &'b mut Buffers<FRAME, OUTPUT, INPUT>,
    ) -> Result<Self, SetupError> {
        Machine::new(config, buffers).map(|machine| Self::with(machine, clock))
    }
}

impl<'b, S: ServiceDef, C: Channel, T: Clock, K: Keep> Client<'b, S, C, T, K> {
    /// Opens the channel and puts the proposal on its way; [`Event::Connected`] or [`Event::Dropped`] follows. The
    /// opening may take as long as a handshake.
    ///
    /// # Errors
    /// [`ConnectError`]; try again at [`retry`](Self::retry).
    ///
    /// # Cancel safety
    /// The line is gone when the future is dropped before it is ready; the client can connect again.
    pub async fn connect<O: Open<Channel = C>>(&mut self, line: O) -> Result<(), ConnectError<O::Error>> {
        if self.is_busy() {
            return Err(ConnectError::StillConnected);
        }
        self.channel = None;
        let begun = self.clock.now();
        let limit = begun.after(self.machine.limits().handshake());
        let opened = match before(&mut self.clock, Some(limit), pin!(line.open())).await {
            Some(opened) => opened.map_err(ConnectError::Channel),
            None => Err(ConnectError::TimedOut),
        };
        let channel = opened.inspect_err(|_| {
            self.machine.failed(self.clock.now());
        })?;
        // The time for the handshake runs from before the opening.
        let records = channel.max_records();
        self.machine.begin(begun, records).map_err(ConnectError::Misuse)?;
        self.channel = Some(channel);
        Ok(())
    }

    /// The service could not be reached, there is nothing to open: when to try again.
    pub fn unreachable(&mut self) -> Retry {
        self.machine.failed(self.clock.now())
    }

    /// Waits until it is time to connect and says so; [`Retry::Never`] at once, when the service has said that this
    /// client is not to come back.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn wait_for_retry(&mut self) -> Retry {
        if let Retry::At(time) = self.retry()
            && time > self.clock.now()
        {
            self.clock.sleep_until(time).await;
        }
        self.retry()
    }

    /// Writes, reads and keeps the connection alive until there is an event; `None` when there is no connection,
    /// as after [`Event::Dropped`].
    ///
    /// # Cancel safety
    /// Cancel safe. Each thing that happens is noted in the client in the same step in which the channel reports
    /// it, and nothing is taken out of the input before the future is ready; what is dropped in between is a call of
    /// the [`Channel`] or the [`Clock`], which are cancel safe themselves. The next `next` goes on from there.
    /// So a future that is dropped neither loses an acked message nor sends one twice, and an outcome that it would
    /// have told is told by the next.
    pub async fn next(&mut self) -> Option<Event<'_, 'b, S, K>> {
        while let Some(need) = self.machine.need(self.clock.now(), self.is_worn()) {
            self.transfer(need, true).await;
        }
        if !self.is_busy() {
            self.channel = None;
        }
        self.machine.step(self.clock.now())
    }

    /// Waits until all that was sent has been written and flushed, or nothing can be written any more, as when the
    /// connection has ended. Nothing is read meanwhile; what was read already, and the end, are told by `next`.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost or written twice, `next` goes on with what is left.
    pub async fn flush(&mut self) {
        loop {
            let need = self.machine.turn(self.clock.now(), self.is_worn());
            if need.out.is_none() {
                return;
            }
            self.transfer(need, false).await;
        }
    }

    /// Ends the connection in order: what was sent still leaves, what is under way is still taken, within this
    /// time. Go on with [`next`](Self::next) until [`Event::Dropped`].
    pub fn close(&mut self, within: Duration) {
        self.go_away(self.clock.now(), within);
    }

    fn is_worn(&self) -> bool {
        self.channel.as_ref().is_some_and(C::is_worn)
    }

    /// Writes, or reads if it `reads`, whichever the channel does first; or neither, when something is due before. Input
    /// may be unread: it is not due, or a flush would give up each write at once, for ever, and never let others run.
    async fn transfer(&mut self, need: Need, reads: bool) {
        let Self {
            machine,
            channel,
            clock,
        } = self;
        let Some(channel) = channel else {
            return machine.read(clock.now(), Ok(0));
        };
        let moved = before(clock, need.wake, pin!(either(channel, machine, need.out, reads))).await;
        match moved {
            None => {}
            Some(Moved::Out(out, result)) => machine.put(clock.now(), out, result),
            Some(Moved::Read(result)) => machine.read(clock.now(), result),
        }
    }
}

/// What the channel did.
enum Moved {
    Out(Out, Result<usize, ErrorKind>),
    Read(Result<usize, ErrorKind>),
}

/// Writes or reads, whichever the channel does first. Its two futures both borrow it, so they are tried by turns, at each
/// wake, and the one that writes is what waits.
async fn either<S: ServiceDef, C: Channel, K: Keep>(
    channel: &mut C,
    machine: &mut Machine<'_, S, K>,
    out: Option<Out>,
    reads: bool,
) -> Moved {
    // How often what writes is polled until it is the turn of what reads: once at first, then when it was woken.
    let mut patience = if reads { 1 } else { usize::MAX };
    loop {
        let done = match out {
            None => None,
            Some(Out::Write) => within(patience, pin!(channel.write(machine.outgoing()))).await,
            Some(Out::Flush) => within(patience, pin!(channel.flush()))
                .await
                .map(|done| done.map(|()| 0)),
            Some(Out::Close) => within(patience, pin!(channel.close()))
                .await
                .map(|done| done.map(|()| 0)),
        };
        if let (Some(out), Some(done)) = (out, done) {
            return Moved::Out(out, done.map_err(|error| error.kind()));
        }
        patience = if out.is_some() { 1 } else { usize::MAX };
        if let Some(read) = within(patience, pin!(channel.read(machine.space()))).await {
            return Moved::Read(read.map_err(|error| error.kind()));
        }
        patience = 2;
    }
}

/// What `work` gives, or `None` when it has waited so many times that it was polled.
fn within<W: Future>(mut polls: usize, mut work: Pin<&mut W>) -> impl Future<Output = Option<W::Output>> {
    poll_fn(move |cx| {
        polls = polls.saturating_sub(1);
        match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
}

/// What `work` gives, or `None` when the time comes first; with both ready, what it gives.
async fn before<W: Future>(clock: &mut impl Clock, time: Option<Instant>, mut work: Pin<&mut W>) -> Option<W::Output> {
    let Some(time) = time else { return Some(work.await) };
    let mut alarm = pin!(clock.sleep_until(time));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
    })
    .await
}
