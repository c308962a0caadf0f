//! One end: a pair of halves, and what it tells whoever drives it.

use core::cell::Cell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use diset_proto::drive::{Event, Failure, HandlerResult, HeapQueue, Parts, Running, Rx, Turn, Tx};
use diset_proto::limits::ACK_DELAY;
use diset_proto::store::{HeapReplay, Inbox};
use diset_proto::{
    Cause, Code, Connection, GrowBuf, Instant, Limits, MessageOf, Phase, Schema, ServiceDef, Session, define_service,
};
use serde::{Deserialize, Serialize};

use super::given::Handler;
use super::link::PREAMBLE;

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Reading {
    pub(crate) value: u32,
}

define_service! { pub Meter = "Test/Meter"; both: [Reading] }

/// The number of the only message.
pub(crate) const READING: u8 = <Reading as MessageOf<Meter>>::NUMBER;

/// An inbox of either kind. What a durable one keeps are the messages that wait in the queue.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Kind {
    pub(crate) durable: bool,
}

impl Inbox for Kind {
    fn is_durable(&self) -> bool {
        self.durable
    }
}

pub(crate) type State = Session<HeapReplay, Kind>;

pub(crate) fn fresh(durable: bool) -> Box<State> {
    Box::new(Session::new(HeapReplay::new(10, 1000), Kind { durable }))
}

/// What the halves are made of.
pub(crate) struct Made;

impl Parts for Made {
    type Buffer = GrowBuf;
    type Session = Option<Box<State>>;
    type Queue = HeapQueue;
    type Running = Later;
}

/// A handler that waits until it is told what it comes to.
#[derive(Clone, Copy, Default, Hash)]
pub(crate) struct Later;

thread_local! {
    /// What the handler comes to that waits.
    static SAID: Cell<Option<HandlerResult>> = const { Cell::new(None) };
}

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        SAID.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(SAID.take().unwrap_or(Err(Failure::ABANDONED)))
    }
}

/// The clock stands still, so that states that differ in nothing else are the same. It is later only for the timer of
/// acknowledgements, and for a message that is to be tried again.
pub(crate) const NOW: Instant = Instant::from_millis(1);
/// Longer than the timer of acknowledgements, shorter than any other.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) fn later() -> Instant {
    NOW.after(ACK_DELAY)
}

/// When a message is tried again.
pub(crate) fn again() -> Instant {
    NOW.after(RETRY)
}

/// What has come to a handler.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Task {
    pub(crate) value: u32,
    pub(crate) acked: bool,
    pub(crate) marked: bool,
    /// How often it was asked for again.
    pub(crate) attempts: u32,
}

/// What an end is told.
#[derive(Debug)]
pub(crate) enum Seen {
    Proposed,
    Connected,
    Message(Task),
    /// Why, and how many plain messages were not handled.
    Ended(Cause, usize),
    Other,
}

/// A pair of halves. It stays from one connection to the next, with the session, what waits and the handler that runs.
#[derive(Clone, Hash)]
pub(crate) struct End {
    pub(crate) rx: Rx<Made>,
    pub(crate) tx: Tx<Made>,
    /// The connection it has.
    pub(crate) link: Option<usize>,
    /// Whether it was told that the last one is over.
    pub(crate) over: bool,
    /// The message whose handler waits.
    pub(crate) running: Option<Task>,
    /// A handler was given up since the connection began: then plain messages behind it are not handled once it is over.
    pub(crate) expired: bool,
    /// How many plain messages have come on this connection and were given to no handler.
    pub(crate) plain: usize,
    /// The message that a handler has asked for again; none has begun since.
    pub(crate) deferred: Option<u32>,
    /// Whether it is to be asked what comes next, with no input.
    pub(crate) ready: bool,
    /// Whether something would leave now.
    pub(crate) due: bool,
    /// Whether the timer of acknowledgements runs.
    pub(crate) timer: bool,
}

impl End {
    pub(crate) fn new(session: Option<Box<State>>) -> Self {
        Self {
            rx: Rx::new(GrowBuf::new(0), HeapQueue::new(GrowBuf::new(1000))),
            tx: Tx::new(GrowBuf::new(10_000), session),
            link: None,
            over: true,
            running: None,
            expired: false,
            plain: 0,
            deferred: None,
            ready: false,
            due: false,
            timer: false,
        }
    }

    pub(crate) const fn conn(&self) -> &Connection<GrowBuf, Option<Box<State>>> {
        self.tx.connection()
    }

    pub(crate) fn session(&self) -> Option<&State> {
        self.conn().session()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.conn().phase() == Phase::Open
    }

    /// A turn was taken, by these halves or by a copy of them, which then had this connection.
    pub(crate) fn turned(&mut self, turn: &Turn, conn_wake: Option<Instant>) {
        self.ready = turn.wake.is_some_and(|wake| wake <= NOW);
        self.timer = conn_wake.is_some_and(|wake| wake <= later());
    }

    /// Waits for a proposal on this connection; false when it cannot yet.
    pub(crate) fn listen(&mut self, link: usize) -> bool {
        let listens = self.rx.listen(NOW, &mut self.tx, Meter::CATALOG, Limits::SERVER);
        if listens.is_ok() {
            self.begins(link);
        }
        listens.is_ok()
    }

    /// It has a new connection, and the first bytes have come: they are the same on all.
    pub(crate) fn begins(&mut self, link: usize) {
        (self.link, self.over) = (Some(link), false);
        assert!(self.next(NOW, &mut &PREAMBLE[..], Handler::Waits).is_none());
    }

    /// What comes next. A message goes to its handler, which does this with it.
    pub(crate) fn next(&mut self, now: Instant, input: &mut &[u8], handler: Handler) -> Option<Seen> {
        Some(match self.rx.next(now, &mut self.tx, input)? {
            Event::Proposed(_) => Seen::Proposed,
            Event::Connected(_) => Seen::Connected,
            Event::Ended(ended) => Seen::Ended(ended.cause().clone(), ended.unhandled()),
            Event::Message(lent) => {
                let (marked, attempts) = (lent.meta().maybe_repeated(), lent.attempts());
                let acked = lent.meta().number_in_session().is_some();
                let (Reading { value }, handling) = lent.decode().expect("it fits");
                match handler.result() {
                    Some(result) => handling.done(result),
                    None if handler == Handler::Drops => drop(handling),
                    None => handling.start(&mut Context::from_waker(Waker::noop()), |_| {}),
                }
                Seen::Message(Task {
                    value,
                    acked,
                    marked,
                    attempts,
                })
            }
            _ => Seen::Other,
        })
    }

    /// The handler that waits comes to this.
    pub(crate) fn finish(&mut self, result: HandlerResult) {
        SAID.set(Some(result));
        assert!(self.rx.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    /// Its time is over. `well`: it says that all is well.
    pub(crate) fn expire(&mut self, well: bool) {
        SAID.set(well.then_some(Ok(())));
        assert!(self.rx.expire().is_ready());
    }

    /// Whether the time comes of a message that is to be tried again.
    pub(crate) fn is_tried_again(&self) -> bool {
        self.deferred.is_some() && {
            let mut end = self.clone();
            matches!(end.next(again(), &mut &[][..], Handler::Waits), Some(Seen::Message(_)))
        }
    }
}

impl Handler {
    /// What it says at once, if it says something.
    pub(crate) fn result(self) -> Option<HandlerResult> {
        match self {
            Self::Waits | Self::Drops => None,
            Self::Returns => Some(Ok(())),
            Self::Fails => Some(Err(Failure::new(Code::HandlerFailed))),
            Self::Retries => Some(Err(Failure::retry_in(RETRY))),
        }
    }
}
