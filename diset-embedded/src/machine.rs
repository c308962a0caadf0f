//! A client without its transport: the two halves, buffers, and what the transport is needed for next. The blocking and
//! the async client are two short loops around this one.

use core::marker::PhantomData;
use core::time::Duration;

use diset_proto::drive::{self, Io, NoQueue, Parts, Rx, Tx};
use diset_proto::limits::LINGER;
use diset_proto::{
    Arg, Cause, ClientConfig, Code, Identity, Instant, Limits, Misuse, Notice, Phase, Progress, Reconnect, Retry,
    ServiceDef,
};
use embedded_io::ErrorKind;

use crate::buffers::Buffers;
use crate::config::{Config, SetupError};
use crate::event::{Dropped, Event, Message};
use crate::outbox::{Keep, News, NoOutbox};

/// A length of at most four bytes stands before a frame.
const MAX_LENGTH_BYTES: usize = 4;
/// How long what is under way may take when a channel is worn out.
const REPLACE_WITHIN: Duration = Duration::from_secs(5);

/// What the halves of a client are made of: buffers that are lent to it, the session that its outbox keeps, and no
/// queue, as each message is handled before anything else is read.
pub(crate) struct Chip<'b, K>(PhantomData<(&'b mut [u8], K)>);

impl<'b, K: Keep> Parts for Chip<'b, K> {
    type Buffer = &'b mut [u8];
    type Session = K::Slot<'b>;
    type Queue = NoQueue;
    type Running = ();
}

/// What the transport is needed for next. It is always read, too: one that takes nothing now keeps nobody from reading,
/// or two peers that both only write would hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// What is to be done with the writing direction, if anything. It comes before reading: what is read may have to be
    /// answered, and the answer needs room.
    pub(crate) out: Option<Out>,
    /// When something is due though nothing comes and nothing leaves.
    pub(crate) wake: Option<Instant>,
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
    rx: Rx<Chip<'b, K>>,
    pub(crate) tx: Tx<Chip<'b, K>>,
    news: News,
    line: Line,
    service: PhantomData<fn(S)>,
}

/// What is needed to connect, and to read.
pub(crate) struct Base<'b> {
    pub(crate) identity: Identity,
    args: &'b [(&'b str, Arg<'b>)],
    reconnect: Reconnect,
    retry: Retry,
    input: Input<'b>,
}

/// What one read has brought; `at..end` is still to be looked at.
struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
    end: usize,
}

/// What is known of the transport.
#[derive(Default)]
struct Line {
    /// There is a connection: it has begun, and its end was not told.
    is_there: bool,
    /// The channel is worn out, and so the peer was told.
    replacing: bool,
    unflushed: bool,
    /// The writing direction has ended.
    closed: bool,
    /// The writing direction has failed; what has arrived is read until then (PROTOCOL E-5).
    broken: Option<Instant>,
    error: Option<ErrorKind>,
}

impl<'b> Base<'b> {
    const fn config<S: ServiceDef>(&self, limits: Limits) -> ClientConfig<'b> {
        ClientConfig {
            catalog: S::CATALOG,
            identity: self.identity,
            limits,
            args: self.args,
        }
    }
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
            args: config.args,
            reconnect: Reconnect::new(config.reconnect, config.seed),
            retry: Retry::At(Instant::ZERO),
            input,
        };
        Machine::tried(base, config.limits, frame, output, NoOutbox.lend())
    }

    /// The same with a session.
    pub(crate) fn with_outbox<K: Keep>(self, outbox: &'b mut K) -> Result<Machine<'b, S, K>, SetupError> {
        if self.is_busy() {
            return Err(SetupError::Misuse(Misuse::WrongPhase));
        }
        let limits = self.limits();
        let (frame, NoQueue) = self.rx.into_parts();
        let (output, _) = self.tx.into_parts();
        Machine::tried(self.base, limits, frame, output, outbox.lend())
    }
}

impl<'b, S: ServiceDef, K: Keep> Machine<'b, S, K> {
    /// A proposal that is thrown away finds now what could not work later.
    fn tried(
        base: Base<'b>,
        limits: Limits,
        frame: &'b mut [u8],
        output: &'b mut [u8],
        session: K::Slot<'b>,
    ) -> Result<Self, SetupError> {
        let mut machine = Self {
            base,
            rx: Rx::new(frame, NoQueue),
            tx: Tx::new(output, session),
            news: News::default(),
            line: Line::default(),
            service: PhantomData,
        };
        let config = machine.base.config::<S>(limits.with_records(u32::MAX));
        machine.tx.try_proposal(&config).map_err(SetupError::Misuse)?;
        Ok(machine)
    }

    /// What the client can take: the engine has it, from the proposal that was tried on.
    pub(crate) const fn limits(&self) -> Limits {
        *self.tx.connection().limits()
    }

    pub(crate) const fn retry(&self) -> Retry {
        self.base.retry
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.line.is_there
    }

    // ── one connection after the other ──────────────────────────────────────────────

    /// The channel is open: the proposal is ready to leave.
    pub(crate) fn begin(&mut self, now: Instant, records: Option<u32>) -> Result<(), Misuse> {
        let limits = match records {
            Some(records) => self.limits().with_records(records),
            None => self.limits().without_records(),
        };
        let config = self.base.config::<S>(limits);
        self.rx.connect(now, &mut self.tx, &config)?;
        self.news = News::since(self.tx.connection().delivered());
        (self.base.input.at, self.base.input.end) = (0, 0);
        self.line = Line {
            is_there: true,
            ..Line::default()
        };
        Ok(())
    }

    /// There was no channel (PROTOCOL R-2).
    pub(crate) fn failed(&mut self, now: Instant) -> Retry {
        self.base.retry = self.base.reconnect.dropped(now, &Cause::Lost);
        diset_proto::__log_debug!("not connected, next: {:?}", self.base.retry);
        self.base.retry
    }

    /// The connection is over: what is to be told of it.
    fn finish(&mut self, now: Instant) -> Dropped {
        let conn = self.tx.connection();
        let cause = conn.cause().cloned().unwrap_or(Cause::Lost);
        let unconfirmed = conn.unconfirmed();
        self.base.retry = match &cause {
            // A service that has ended it at the same time may ask for a while (PROTOCOL R-3).
            Cause::WentAway(_) if self.line.replacing && cause.retry().is_none() => self.base.reconnect.left(now),
            cause => self.base.reconnect.dropped(now, cause),
        };
        diset_proto::__log_debug!("dropped, unconfirmed {}, next: {:?}", unconfirmed, self.base.retry);
        self.line.is_there = false;
        Dropped {
            cause,
            unconfirmed,
            error: self.line.error,
            retry: self.base.retry,
        }
    }

    // ── what the transport did ──────────────────────────────────────────────────────

    /// It has taken bytes, flushed, or ended the writing direction; or failed to. `count` is of a write.
    pub(crate) fn put(&mut self, now: Instant, out: Out, result: Result<usize, ErrorKind>) {
        match (result, out) {
            // One that takes nothing and does not wait never will.
            (Ok(0), Out::Write) => self.write_failed(now, ErrorKind::WriteZero),
            (Ok(count), Out::Write) => {
                self.tx.wrote(count);
                self.line.unflushed = true;
            }
            (Ok(_), Out::Flush) => self.line.unflushed = false,
            (Ok(_), Out::Close) => self.line.closed = true,
            (Err(error), _) => self.write_failed(now, error),
        }
    }

    pub(crate) fn write_failed(&mut self, now: Instant, error: ErrorKind) {
        self.line.error = self.line.error.or(Some(error));
        self.line.broken = self.line.broken.or_else(|| Some(now.after(LINGER)));
    }

    /// It has read into [`space`](Self::space); 0 is its end.
    pub(crate) fn read(&mut self, now: Instant, result: Result<usize, ErrorKind>) {
        let count = result.unwrap_or_else(|error| {
            self.line.error = self.line.error.or(Some(error));
            0
        });
        if count == 0 {
            self.rx.ended(now, &mut self.tx);
        } else {
            (self.base.input.at, self.base.input.end) = (0, count.min(self.base.input.bytes.len()));
        }
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// What the transport is needed for. `None`: nothing, as [`step`](Self::step) has an event, or as there is no
    /// connection.
    pub(crate) fn need(&mut self, now: Instant, worn: bool) -> Option<Need> {
        let need = self.turn(now, worn);
        (self.is_busy() && !self.has_event()).then_some(need)
    }

    /// Does what is due; and what is to be done with the transport, whatever waits for [`step`](Self::step). `worn`: the
    /// channel is to be replaced.
    pub(crate) fn turn(&mut self, now: Instant, worn: bool) -> Need {
        if worn && self.tx.connection().phase() == Phase::Open {
            let notice = Notice::new(Code::RecordLimit);
            self.line.replacing = self.tx.go_away(now, notice, REPLACE_WITHIN).is_ok();
        }
        if self.line.broken.is_some_and(|until| until <= now) {
            self.rx.ended(now, &mut self.tx);
        }
        let turn = self.rx.turn(now, &mut self.tx);
        if self.tx.connection().phase().is_over() {
            self.discard(now);
        }
        let out = match turn.io {
            Io::Over => None,
            _ if self.line.broken.is_some() || self.line.closed => None,
            _ if !self.tx.output().is_empty() => Some(Out::Write),
            _ if self.line.unflushed => Some(Out::Flush),
            Io::Finish => Some(Out::Close),
            Io::Run => None,
        };
        Need {
            out,
            wake: earlier(turn.wake, self.line.broken),
        }
    }

    /// What has come since the connection is over says nothing, nor does the end itself: it is told when the transport
    /// is over, too.
    fn discard(&mut self, now: Instant) {
        let input = &mut self.base.input;
        let mut rest = input.bytes.get(input.at..input.end).unwrap_or_default();
        while self.rx.next(now, &mut self.tx, &mut rest).is_some() {}
        input.at = input.end;
    }

    fn has_event(&self) -> bool {
        self.news.is_there(&self.tx) || self.is_over() || self.base.input.at < self.base.input.end
    }

    fn is_over(&self) -> bool {
        self.tx.connection().progress() == Progress::Over
    }

    /// The bytes to be written.
    pub(crate) fn outgoing(&self) -> &[u8] {
        self.tx.output()
    }

    /// Where to read to. All input has been looked at.
    pub(crate) const fn space(&mut self) -> &mut [u8] {
        self.base.input.bytes
    }

    /// When something is due though nothing comes; [`Instant::ZERO`] for at once.
    pub(crate) fn wake(&self) -> Option<Instant> {
        if !self.is_busy() {
            None
        } else if self.is_over() || self.base.input.at < self.base.input.end {
            Some(Instant::ZERO)
        } else {
            earlier(self.tx.connection().wake(), self.line.broken)
        }
    }

    /// The next event. It may borrow the input, so nothing can be looked at after it in the same call. `None` when there
    /// is neither input nor an end.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Event<'_, 'b, S, K>> {
        if !self.is_busy() {
            return None;
        }
        if let Some(event) = self.news.next(&mut self.tx) {
            return Some(event);
        }
        if self.is_over() {
            return Some(Event::Dropped(self.finish(now)));
        }
        let Self {
            rx,
            tx,
            news,
            base: Base { input, reconnect, .. },
            ..
        } = self;
        let mut rest = input.bytes.get(input.at..input.end).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let unconfirmed = tx.connection().unconfirmed();
        let event = rx.next(now, tx, &mut rest);
        input.at = input.end.saturating_sub(rest.len());
        // What brings credit says nothing by itself, and may stand before something that does.
        let granted = tx.connection().unconfirmed() < unconfirmed;
        Some(match event {
            Some(drive::Event::Message(lent)) => {
                news.granted(granted);
                Event::Message(Message {
                    lent,
                    tx,
                    service: PhantomData,
                })
            }
            Some(drive::Event::Connected(opened)) => {
                reconnect.connected(now);
                news.connected(tx);
                Event::Connected(opened.trid())
            }
            Some(drive::Event::Acknowledged) => {
                news.granted(granted);
                news.acknowledged();
                news.next(tx).unwrap_or(Event::Room)
            }
            Some(drive::Event::GoingAway(notice)) => Event::GoingAway(notice),
            _ => Event::Room,
        })
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
