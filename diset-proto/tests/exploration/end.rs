//! One end: a pair of halves, and what it tells whoever drives it.

use core::cell::Cell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use diset_proto::drive::{Ended, Event, Failure, HandlerResult, HeapQueue, Parts, Running, Rx, Turn, Tx};
use diset_proto::limits::ACK_DELAY;
use diset_proto::store::{HeapReplay, Inbox};
use diset_proto::{
    Code, Connection, GrowBuf, Instant, Limits, MessageOf, Phase, Schema, ServiceDef, Session, Trid, define_service,
};
use serde::{Deserialize, Serialize};

use super::given::{Broken, Handler};
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
    /// Whether it was given up.
    static GIVEN_UP: Cell<bool> = const { Cell::new(false) };
}

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        SAID.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        GIVEN_UP.set(true);
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

/// Whether a handler was given up since this was asked last.
pub(crate) fn was_given_up() -> bool {
    GIVEN_UP.take()
}

/// The number of a connection for the engine.
pub(crate) const fn trid(link: usize) -> Trid {
    Trid::new(link as u64 + 1)
}

fn link_of(trid: Trid) -> usize {
    usize::try_from(trid.number()).unwrap() - 1
}

const fn queue() -> HeapQueue {
    HeapQueue::new(GrowBuf::new(1000))
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
    /// On which connection.
    Connected(usize),
    Message(Task),
    Ended(Ended),
    Other,
}

/// A pair of halves. It stays from one connection to the next, with the session, what waits and the handler that runs.
#[derive(Clone, Hash)]
pub(crate) struct End {
    pub(crate) rx: Rx<Made>,
    pub(crate) tx: Tx<Made>,
    /// The connection it has.
    pub(crate) link: Option<usize>,
    /// Whether nothing has come on it.
    pub(crate) fresh: bool,
    /// The one that it was told to be open, and not yet to be over.
    pub(crate) opened: Option<usize>,
    /// The one on which it has learned how its session stands.
    pub(crate) met: Option<usize>,
    /// The message whose handler waits.
    pub(crate) running: Option<Task>,
    /// A handler of a connection that is over was given up: then plain messages behind it are not handled.
    pub(crate) expired: bool,
    /// On which connections plain messages have come that were given to no handler, and how many.
    pub(crate) plain: Vec<(usize, usize)>,
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
            rx: Rx::new(GrowBuf::new(0), queue()),
            tx: Tx::new(GrowBuf::new(10_000), session),
            link: None,
            fresh: false,
            opened: None,
            met: None,
            running: None,
            expired: false,
            plain: Vec::new(),
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

    /// One that waits for a client on this connection.
    pub(crate) fn listening(link: usize) -> Self {
        let mut end = Self::new(None);
        let listening = end.rx.listen(NOW, &mut end.tx, Meter::CATALOG, Limits::SERVER);
        listening.expect("nothing is wrong with that");
        (end.link, end.fresh) = (Some(link), true);
        end.greeted();
        end
    }

    /// The session of another one, and what it has at work, goes to this one.
    pub(crate) fn take_over(&mut self, older: &mut Self, broken: Option<Broken>) -> Option<Box<State>> {
        let (session, carried) = older.rx.hand_over(NOW, &mut older.tx, queue());
        let session = session.filter(|_| broken != Some(Broken::ForgetsTheSession));
        if broken != Some(Broken::LeavesWorkBehind) {
            self.rx.take_over(&mut self.tx, carried);
        }
        (self.running, self.deferred) = (older.running, older.deferred);
        (self.opened, self.expired) = (older.opened, older.expired);
        self.plain = core::mem::take(&mut older.plain);
        session
    }

    /// Whether the handler that runs is of a connection that is over: that has its turn.
    pub(crate) fn runs_after_the_end(&self) -> bool {
        let is_over = matches!(self.conn().phase(), Phase::Closing | Phase::Closed);
        self.running.is_some() && (is_over || self.opened != self.link)
    }

    /// The first bytes have come on its connection: they are the same on all.
    pub(crate) fn greeted(&mut self) {
        if core::mem::take(&mut self.fresh) {
            assert!(self.next(NOW, &mut &PREAMBLE[..], Handler::Waits).is_none());
        }
    }

    /// What comes next. A message goes to its handler, which does this with it.
    pub(crate) fn next(&mut self, now: Instant, input: &mut &[u8], handler: Handler) -> Option<Seen> {
        Some(match self.rx.next(now, &mut self.tx, input)? {
            Event::Proposed(_) => Seen::Proposed,
            Event::Connected(opened) => Seen::Connected(link_of(opened.trid())),
            Event::Ended(ended) => Seen::Ended(ended),
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

    /// What is to be told besides messages, if that is next; it is told then.
    pub(crate) fn news(&mut self) -> Option<Option<Seen>> {
        if !self.ready {
            return None;
        }
        let mut end = self.clone();
        match end.next(NOW, &mut &[][..], Handler::Waits) {
            Some(Seen::Message(_)) => None,
            seen => {
                *self = end;
                Some(seen)
            }
        }
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
