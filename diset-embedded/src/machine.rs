//! A client without its transport: engine, buffers, and what the transport is needed for next. The blocking and the
//! async client are two short loops around this one.

use core::cell::RefCell;
use core::marker::PhantomData;
use core::time::Duration;

use diset_proto::limits::{LINGER, LINGER_BYTES};
use diset_proto::{
    Arg, Cause, ClientConfig, Code, Connection, Deframer, Event as EngineEvent, Identity, Instant, Limits, Misuse,
    Notice, Phase, Progress, Reconnect, Retry, ServiceDef,
};
use embedded_io::ErrorKind;

use crate::buffers::{Buffers, Lent};
use crate::config::{Config, SetupError};
use crate::event::{Dropped, Event, Message};
use crate::outbox::{Keep, News, NoOutbox};

/// A length of at most four bytes stands before a frame.
const MAX_LENGTH_BYTES: usize = 4;
/// How long what is under way may take when a channel is worn out.
const REPLACE_WITHIN: Duration = Duration::from_secs(5);

/// What the transport is needed for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// There is no connection.
    Nothing,
    /// Nothing of the transport: [`Machine::step`] has an event.
    Step,
    /// To write, or to end writing.
    Out(Out),
    /// To read.
    Read,
}

/// What is to be done with the writing direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Out {
    /// Write [`Machine::outgoing`].
    Write,
    /// What was written must leave.
    Flush,
    /// Nothing more will be written.
    Close,
}

pub(crate) struct Machine<'b, S, K: Keep = NoOutbox> {
    pub(crate) base: Base<'b>,
    pub(crate) link: Option<Link<'b, K>>,
    pub(crate) outbox: &'b K,
    service: PhantomData<fn(S)>,
}

/// What stays from one connection to the next, but for the session.
pub(crate) struct Base<'b> {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    args: &'b [(&'b str, Arg<'b>)],
    reconnect: Reconnect,
    retry: Retry,
    frame: &'b RefCell<[u8]>,
    output: &'b RefCell<[u8]>,
    input: Input<'b>,
}

/// What one read has brought; `at..end` is still to be looked at.
struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
    end: usize,
}

/// One connection.
pub(crate) struct Link<'b, K: Keep> {
    pub(crate) conn: Connection<Lent<'b>, K::Slot<'b>>,
    rx: Deframer<Lent<'b>>,
    news: News,
    /// The channel is worn out, and so the peer was told.
    replacing: bool,
    unflushed: bool,
    /// The writing direction has ended.
    closed: bool,
    /// The writing direction has failed; what has arrived is read until then (PROTOCOL E-5).
    broken: Option<Instant>,
    discarded: usize,
    error: Option<ErrorKind>,
}

impl<'b, S: ServiceDef> Machine<'b, S> {
    pub(crate) fn new<const FRAME: usize, const OUTPUT: usize, const INPUT: usize>(
        config: Config<'b>,
        buffers: &'b mut Buffers<FRAME, OUTPUT, INPUT>,
    ) -> Result<Self, SetupError> {
        let Buffers { frame, output, input } = buffers;
        let longest = usize::try_from(config.limits.max_frame()).unwrap_or(usize::MAX);
        if FRAME < longest.saturating_add(MAX_LENGTH_BYTES) {
            return Err(SetupError::FrameStorage);
        }
        if INPUT == 0 {
            return Err(SetupError::Input);
        }
        let input = Input {
            bytes: input,
            at: 0,
            end: 0,
        };
        let base = Base {
            identity: config.identity,
            limits: config.limits,
            args: config.args,
            reconnect: Reconnect::new(config.reconnect, config.seed),
            retry: Retry::At(Instant::ZERO),
            frame,
            output,
            input,
        };
        Machine::tried(base, &NoOutbox)
    }

    /// The same with a session. What an earlier client has left connected is not any more.
    pub(crate) fn with_outbox<K: Keep>(self, outbox: &'b K) -> Result<Machine<'b, S, K>, SetupError> {
        if self.link.is_some() {
            return Err(SetupError::Misuse(Misuse::WrongPhase));
        }
        Machine::tried(self.base, outbox)
    }
}

impl<'b, S: ServiceDef, K: Keep> Machine<'b, S, K> {
    /// A connection that is thrown away finds now what could not work later.
    fn tried(base: Base<'b>, outbox: &'b K) -> Result<Self, SetupError> {
        let mut machine = Self {
            base,
            link: None,
            outbox,
            service: PhantomData,
        };
        machine
            .begin(Instant::ZERO, Some(u32::MAX))
            .map_err(SetupError::Misuse)?;
        machine.unlink();
        Ok(machine)
    }

    pub(crate) const fn retry(&self) -> Retry {
        self.base.retry
    }

    // ── one connection after the other ──────────────────────────────────────────────

    /// The channel is open: the proposal is ready to leave.
    pub(crate) fn begin(&mut self, now: Instant, records: Option<u32>) -> Result<(), Misuse> {
        // Gives the buffers back first.
        self.unlink();
        let lent = (
            Lent::of(self.base.output),
            Lent::of(self.base.frame),
            self.outbox.lend(),
        );
        let (Some(output), Some(frame), Some(session)) = lent else {
            return Err(Misuse::WrongPhase);
        };
        let config = ClientConfig {
            catalog: S::CATALOG,
            identity: self.base.identity,
            limits: match records {
                Some(records) => self.base.limits.with_records(records),
                None => self.base.limits,
            },
            args: self.base.args,
        };
        let news = News::of(&session);
        let conn = Connection::client_in_session(now, &config, output, session).map_err(|(misuse, _)| misuse)?;
        (self.base.input.at, self.base.input.end) = (0, 0);
        self.link = Some(Link {
            conn,
            rx: Deframer::new(frame),
            news,
            replacing: false,
            unflushed: false,
            closed: false,
            broken: None,
            discarded: 0,
            error: None,
        });
        Ok(())
    }

    /// Gives back what a connection has.
    fn unlink(&mut self) {
        if let Some(link) = self.link.take() {
            drop(link.conn.into_session());
        }
    }

    /// There was no channel (PROTOCOL R-2).
    pub(crate) fn failed(&mut self, now: Instant) -> Retry {
        self.base.retry = self.base.reconnect.dropped(now, &Cause::Lost);
        diset_proto::__log_debug!("not connected, next: {:?}", self.base.retry);
        self.base.retry
    }

    /// The connection is over: what is to be told of it.
    fn finish(&mut self, now: Instant) -> Option<Dropped> {
        let Link {
            conn, error, replacing, ..
        } = self.link.take()?;
        let cause = conn.cause().cloned().unwrap_or(Cause::Lost);
        self.base.retry = match &cause {
            Cause::WentAway(_) if replacing => self.base.reconnect.left(now),
            cause => self.base.reconnect.dropped(now, cause),
        };
        let unconfirmed = conn.unconfirmed();
        drop(conn.into_session());
        diset_proto::__log_debug!("dropped, unconfirmed {}, next: {:?}", unconfirmed, self.base.retry);
        Some(Dropped {
            cause,
            unconfirmed,
            error,
            retry: self.base.retry,
        })
    }

    // ── what the world did ──────────────────────────────────────────────────────────

    /// Looks at the time, and at the channel, which may be worn out.
    pub(crate) fn look(&mut self, now: Instant, worn: bool) {
        let Some(link) = &mut self.link else { return };
        if worn && link.conn.phase() == Phase::Open {
            let notice = Notice::new(Code::RecordLimit);
            link.replacing = link.conn.go_away(now, notice, REPLACE_WITHIN).is_ok();
        }
        // What this ends, and what it finds all gone, makes something due.
        let _ = link.conn.transmit();
        if link.conn.wake().is_some_and(|wake| wake <= now) {
            // The end it may tell of shows in the progress.
            let _ = link.conn.handle_time(now);
        }
        if link.broken.is_some_and(|until| until <= now) {
            let _ = link.conn.handle_eof();
        }
    }

    /// The transport has taken bytes, or failed to.
    pub(crate) fn wrote(&mut self, now: Instant, result: Result<usize, ErrorKind>) {
        let Some(link) = &mut self.link else { return };
        match result {
            Ok(count) if count > 0 => {
                link.conn.transmitted(count);
                link.unflushed = true;
            }
            // One that takes nothing and does not wait never will.
            Ok(_) => self.write_failed(now, ErrorKind::WriteZero),
            Err(error) => self.write_failed(now, error),
        }
    }

    /// The transport has flushed, or ended, the writing direction; or failed to.
    pub(crate) fn settled(&mut self, now: Instant, out: Out, result: Result<(), ErrorKind>) {
        let Some(link) = &mut self.link else { return };
        match (result, out) {
            (Ok(()), Out::Close) => link.closed = true,
            (Ok(()), Out::Write | Out::Flush) => link.unflushed = false,
            (Err(error), _) => self.write_failed(now, error),
        }
    }

    pub(crate) fn write_failed(&mut self, now: Instant, error: ErrorKind) {
        if let Some(link) = &mut self.link {
            link.error = link.error.or(Some(error));
            link.broken = link.broken.or_else(|| Some(now.after(LINGER)));
        }
    }

    /// The transport has read into [`space`](Self::space); 0 is its end.
    pub(crate) fn read(&mut self, now: Instant, result: Result<usize, ErrorKind>) {
        let Some(link) = &mut self.link else { return };
        let count = match result {
            Ok(count) => count,
            Err(error) => {
                link.error = link.error.or(Some(error));
                0
            }
        };
        if count == 0 {
            let _ = link.conn.handle_eof();
            return;
        }
        if link.conn.phase().is_over() {
            // PROTOCOL E-4: read and discard.
            link.discarded = link.discarded.saturating_add(count);
            if link.discarded > LINGER_BYTES {
                let _ = link.conn.handle_eof();
            }
            return;
        }
        link.conn.handle_received(now);
        (self.base.input.at, self.base.input.end) = (0, count.min(self.base.input.bytes.len()));
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// What the transport is needed for next, after [`look`](Self::look). Writing comes before reading: what is read
    /// may have to be answered, and the answer needs room. One that cannot be written to now, which is not
    /// `writable`, is still read, or two peers that both only write would hang.
    pub(crate) fn need(&mut self, writable: bool) -> Need {
        let Some(link) = &mut self.link else {
            return Need::Nothing;
        };
        if link.conn.phase().is_over() {
            self.base.input.at = self.base.input.end;
        }
        if link.news.is_there(&mut link.conn)
            || link.conn.progress() == Progress::Over
            || self.base.input.at < self.base.input.end
        {
            return Need::Step;
        }
        match self.out() {
            Some(out) if writable => Need::Out(out),
            _ => Need::Read,
        }
    }

    /// What is to be done with the writing direction, if anything.
    pub(crate) fn out(&mut self) -> Option<Out> {
        let link = self.link.as_mut()?;
        let waiting = !link.conn.transmit().is_empty();
        match link.conn.progress() {
            _ if link.broken.is_some() || link.closed => None,
            Progress::Over => None,
            _ if waiting => Some(Out::Write),
            _ if link.unflushed => Some(Out::Flush),
            Progress::Finish => Some(Out::Close),
            Progress::Running => None,
        }
    }

    /// The bytes to be written.
    pub(crate) fn outgoing(&mut self) -> &[u8] {
        self.link.as_mut().map(|link| link.conn.transmit()).unwrap_or_default()
    }

    /// Where to read to. All input has been looked at.
    pub(crate) const fn space(&mut self) -> &mut [u8] {
        self.base.input.bytes
    }

    /// When something is due though nothing comes; [`Instant::ZERO`] for at once.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        if link.conn.progress() == Progress::Over || self.base.input.at < self.base.input.end {
            return Some(Instant::ZERO);
        }
        self.due()
    }

    /// When [`look`](Self::look) has something to do. Unlike [`wake`](Self::wake) it does not count what only
    /// [`step`](Self::step) takes, for which looking again does nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        match (link.conn.wake(), link.broken) {
            (Some(wake), Some(broken)) => Some(wake.min(broken)),
            (wake, broken) => wake.or(broken),
        }
    }

    /// The next event. It may borrow the input, so nothing can be looked at after it in the same call: one frame is
    /// one event, at least [`Event::Room`]. `None` when there is neither input nor an end.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Event<'_, 'b, S, K>> {
        let link = self.link.as_mut()?;
        if let Some(event) = link.news.next(&mut link.conn) {
            return Some(event);
        }
        if link.conn.progress() == Progress::Over {
            return self.finish(now).map(Event::Dropped);
        }
        let Self {
            link,
            base: Base { input, reconnect, .. },
            ..
        } = self;
        let Link { conn, rx, news, .. } = link.as_mut()?;
        let mut rest = input.bytes.get(input.at..input.end).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let frame = rx.next(&mut rest, conn.max_frame());
        input.at = input.end.saturating_sub(rest.len());
        let event = frame.and_then(|frame| conn.handle_frame(now, frame));
        Some(match event {
            Some(EngineEvent::Message(message)) => Event::Message(Message {
                conn,
                message,
                service: PhantomData,
            }),
            Some(EngineEvent::Connected(trid)) => {
                reconnect.connected(now);
                news.connected(conn.delivered());
                Event::Connected(trid)
            }
            Some(EngineEvent::Acknowledged) => {
                news.acknowledged();
                news.next(conn).unwrap_or(Event::Room)
            }
            Some(EngineEvent::GoingAway(notice)) => Event::GoingAway(notice),
            // An end shows as the last event, when all of it has been told to the peer.
            _ => Event::Room,
        })
    }
}
