//! A session as the rest of this crate shares it: whoever sends, whoever waits for an outcome, and
//! the driver of the connection that it is in, if there is one.
//!
//! The session itself ([`diset_proto::Session`]) is either here or in the engine of a connection.
//! Locks are taken in this order: the cell, then the link. A driver that holds the lock of its link
//! takes none of the cell of its connection.

mod aside;
mod receipt;
mod senders;
mod settings;
mod stores;

use core::task::Waker;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_proto::drive::{HeapQueue, Parts};
use diset_proto::store::{Inbox as _, Replay};
use diset_proto::{Catalog, Connection, Delivered, Instant, Outcome, Session, Trid};
use tokio::sync::Notify;

pub use self::receipt::{Receipt, WaitError};
pub use self::settings::{SessionSettings, WhenFull};
pub(crate) use self::stores::{Budget, Incoming, Outgoing, in_memory, keep};
use crate::buffers::Pooled;
use crate::clock;
use crate::link::Link;
use crate::running::Running;

/// The session of a connection of this crate.
pub(crate) type StdSession = Session<Outgoing, Incoming>;
/// Where a connection of this crate has it.
pub(crate) type Slot = Option<Box<StdSession>>;
/// What the halves of a connection of this crate are made of.
#[derive(Debug)]
pub(crate) struct Std;

impl Parts for Std {
    type Buffer = Pooled;
    type Session = Slot;
    type Queue = HeapQueue;
    type Running = Running;
}

/// The engine of a connection of this crate.
pub(crate) type Engine = Connection<Pooled, Slot>;

/// Most outcomes that are remembered for those who ask late.
const MAX_OUTCOMES: usize = 1024;

/// Which message of a session a handler is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Received {
    /// The connection with which the session began. With the number it names the message: no other
    /// message in this direction, to or from this service, ever has the same two. One that is sent again
    /// in a session that has begun anew has another name there.
    pub began: Trid,
    /// The number of the message in its session and direction.
    pub number: u64,
    /// It may have been handled before: a side was killed, or lost the session, before it could
    /// say so.
    pub maybe_repeated: bool,
}

/// One session, shared.
#[derive(Debug)]
pub(crate) struct SessionCell {
    state: Mutex<Cell>,
    /// There may be room in the store.
    space: Notify,
    catalog: &'static Catalog,
    when_full: WhenFull,
    /// It outlives its connections.
    is_kept: bool,
}

#[derive(Debug)]
struct Cell {
    place: Place,
    /// Since when it is in no connection, if it is in none, in this process; and for how long it was in
    /// none before.
    left: Instant,
    away: Duration,
    delivered: Delivered,
    /// Outcomes that are not Ok, in the order in which they became known.
    outcomes: VecDeque<(u64, Outcome)>,
    /// Of messages up to here an outcome may have been forgotten.
    forgotten: u64,
    /// Who waits for a message; by its number and a number of their own.
    waiting: BTreeMap<(u64, u64), Waiting>,
    next_waiter: u64,
}

/// One who waits for a message.
#[derive(Debug)]
struct Waiting {
    waker: Waker,
    /// Handed over, if it is not Ok: it may be forgotten before this one looks.
    outcome: Option<Outcome>,
}

/// Where the session is.
#[derive(Debug)]
enum Place {
    Here(Box<StdSession>),
    /// In the engine of this connection.
    In(Arc<Link>),
    /// Nowhere: it is over.
    Gone,
}

impl SessionCell {
    pub(crate) fn new(
        session: Box<StdSession>,
        catalog: &'static Catalog,
        when_full: WhenFull,
        is_kept: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Cell {
                place: Place::Here(session),
                left: clock::now(),
                away: Duration::ZERO,
                delivered: Delivered::default(),
                outcomes: VecDeque::new(),
                forgotten: 0,
                waiting: BTreeMap::new(),
                next_waiter: 0,
            }),
            space: Notify::new(),
            catalog,
            when_full,
            is_kept,
        })
    }

    /// Whether it outlives its connections.
    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// For how long it is in no connection; `None` while it is in one. A client that was not let into it
    /// changes nothing.
    pub(crate) fn absent_for(&self, now: Instant) -> Option<Duration> {
        self.lock().absent_for(now)
    }

    /// It had no connection for so long before this process began.
    #[cfg(feature = "durable")]
    pub(crate) fn was_away(&self, span: Duration) {
        self.lock().away = span;
    }

    fn lock(&self) -> MutexGuard<'_, Cell> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ── for the driver ──────────────────────────────────────────────────────────────

    /// The peer has told more, or the connection has opened. The outcomes that are not Ok, and new.
    pub(crate) fn look(&self) -> Vec<(u64, Outcome)> {
        let mut cell = self.lock();
        let Some((delivered, outcomes)) = cell.with_session(|session| {
            let mut outcomes = Vec::new();
            while let Some(outcome) = session.take_outcome() {
                outcomes.push(outcome);
            }
            (session.delivered(), outcomes)
        }) else {
            return Vec::new();
        };
        cell.delivered = delivered;
        for (number, outcome) in &outcomes {
            cell.note(*number, *outcome);
        }
        cell.wake_up();
        drop(cell);
        self.space.notify_waiters();
        outcomes
    }

    /// A message came to this end, and its session is in another connection, or has begun anew.
    pub(crate) fn settle(&self, began: Trid, number: u64, outcome: Outcome) {
        let mut cell = self.lock();
        let settled = cell.with_session(|session| {
            if session.began() == began {
                return session.settle(number, outcome);
            }
            session.inbox_mut().handled_before(began, number);
            true
        });
        if settled == Some(false) {
            tracing::error!(
                number,
                "a message has no outcome, as one before it has none: both are handled again"
            );
        }
    }

    // ── when a connection begins and ends ───────────────────────────────────────────

    /// Client: the session goes into the engine that `make` makes with it, and that into the link; or
    /// stays here.
    pub(crate) fn plug<E>(
        &self,
        link: &Arc<Link>,
        make: impl FnOnce(Box<StdSession>) -> Result<Engine, (E, Slot)>,
    ) -> Result<(), E> {
        let mut cell = self.lock();
        let Some(session) = cell.take() else {
            // It is over: nothing is sent any more.
            return Ok(());
        };
        match make(session) {
            Ok(engine) => {
                link.plug(engine);
                cell.place = Place::In(Arc::clone(link));
                Ok(())
            }
            Err((error, session)) => {
                cell.place = session.map_or(Place::Gone, Place::Here);
                Err(error)
            }
        }
    }

    /// Client: what is in this link goes into one of its own, which is given.
    pub(crate) fn step_aside(&self, link: &Arc<Link>) -> Arc<Link> {
        let mut cell = self.lock();
        let aside = link.split_off();
        if matches!(&cell.place, Place::In(other) if Arc::ptr_eq(other, link)) {
            cell.place = Place::In(Arc::clone(&aside));
        }
        aside
    }

    /// Does something with the session, wherever it is.
    pub(crate) fn with_session<T>(&self, work: impl FnOnce(&mut StdSession) -> T) -> Option<T> {
        self.lock().with_session(work)
    }

    /// Service: takes the session from wherever it is, looks whether `fits` takes it, and gives it to
    /// `put`, which puts it into the engine behind `link`, whose lock is held; what it gives back is the
    /// session, if the engine did not take it, and outcomes that no event tells of. From when this returns
    /// whoever has the cell may want the link, so its holder must not want the cell any more.
    pub(crate) fn move_to<E>(
        &self,
        link: &Arc<Link>,
        fits: impl FnOnce(&mut StdSession) -> Result<(), E>,
        put: impl FnOnce(Box<StdSession>) -> (Option<Box<StdSession>>, Vec<(u64, Outcome)>),
    ) -> Option<Result<Vec<(u64, Outcome)>, E>> {
        let mut cell = self.lock();
        match cell.with_session(fits)? {
            Ok(()) => {}
            Err(error) => return Some(Err(error)),
        }
        let session = cell.take()?;
        let (back, outcomes) = put(session);
        cell.place = match back {
            None => Place::In(Arc::clone(link)),
            Some(session) => Place::Here(session),
        };
        for (number, outcome) in &outcomes {
            cell.note(*number, *outcome);
        }
        Some(Ok(outcomes))
    }

    /// The connection is over: the session comes back, if it is still there. Whether it was.
    pub(crate) fn detach(&self, link: &Arc<Link>) -> bool {
        let mut cell = self.lock();
        let there = matches!(&cell.place, Place::In(other) if Arc::ptr_eq(other, link));
        if there && let Some(session) = cell.take() {
            #[cfg(feature = "durable")]
            if let Some(book) = session.inbox().book() {
                book.left();
            }
            keep(&session);
            cell.place = Place::Here(session);
            (cell.left, cell.away) = (clock::now(), Duration::ZERO);
        }
        there
    }

    /// The process ends, the session does not: nobody can wait for it here any more.
    #[cfg(feature = "durable")]
    pub(crate) fn close(&self) {
        let mut cell = self.lock();
        drop(cell.take());
        cell.wake_up();
        drop(cell);
        self.space.notify_waiters();
    }

    /// The session is over: what has no outcome yet gets one.
    pub(crate) fn end(&self) -> Vec<(u64, Outcome)> {
        let outcomes = self.lock().end();
        self.space.notify_waiters();
        outcomes
    }

    /// As [`end`](Self::end), if the session is in no connection, and `may` end: it is given for how long there has
    /// been none, and how many messages were received and are not handled, which are lost. `last` looks at it before.
    pub(crate) fn end_if_absent(
        &self,
        may: impl FnOnce(Duration, usize) -> bool,
        last: impl FnOnce(&mut StdSession),
    ) -> Option<Vec<(u64, Outcome)>> {
        let mut cell = self.lock();
        let away = cell.absent_for(clock::now())?;
        let unhandled = cell.with_session(|session| session.inbox().len()).unwrap_or(0);
        if !may(away, unhandled) {
            return None;
        }
        if let Place::Here(session) = &mut cell.place {
            last(session);
        }
        let outcomes = cell.end();
        drop(cell);
        self.space.notify_waiters();
        Some(outcomes)
    }
}

impl Cell {
    /// See [`SessionCell::absent_for`].
    fn absent_for(&self, now: Instant) -> Option<Duration> {
        let absent = matches!(self.place, Place::Here(_));
        absent.then(|| now.since(self.left).saturating_add(self.away))
    }

    /// See [`SessionCell::end`].
    fn end(&mut self) -> Vec<(u64, Outcome)> {
        let cell = self;
        let mut outcomes = Vec::new();
        let last = cell.with_session(|session| {
            while let Some(outcome) = session.take_outcome() {
                outcomes.push(outcome);
            }
            outcomes.extend(session.awaited().map(|number| (number, Outcome::Unknown)));
            while let Some(number) = session.skip_oldest() {
                outcomes.push((number, Outcome::Skipped));
            }
            while let Some(stored) = session.replay().after(0) {
                let number = stored.number;
                session.replay_mut().remove(number);
                outcomes.push((number, Outcome::Unknown));
            }
            session.next_number().saturating_sub(1)
        });
        for (number, outcome) in &outcomes {
            cell.note(*number, *outcome);
        }
        if let Some(last) = last {
            // Each has its outcome now.
            cell.delivered = Delivered {
                received: last,
                processed: last,
            };
        }
        if let Place::In(link) = &cell.place {
            link.with_conn(|conn| drop(conn.take_session()));
        }
        cell.place = Place::Gone;
        cell.wake_up();
        outcomes
    }

    fn with_session<T>(&mut self, work: impl FnOnce(&mut StdSession) -> T) -> Option<T> {
        let work = |session: &mut StdSession| {
            let result = work(session);
            keep(session);
            result
        };
        match &mut self.place {
            Place::Here(session) => Some(work(session)),
            Place::In(link) => link.with_conn_soon(|conn| conn.session_mut().map(work)).flatten(),
            Place::Gone => None,
        }
    }

    /// Takes the session out of wherever it is.
    fn take(&mut self) -> Option<Box<StdSession>> {
        match core::mem::replace(&mut self.place, Place::Gone) {
            Place::Here(session) => Some(session),
            Place::In(link) => link.with_conn(Connection::take_session).flatten(),
            Place::Gone => None,
        }
    }

    fn note(&mut self, number: u64, outcome: Outcome) {
        if self.outcomes.len() >= MAX_OUTCOMES
            && let Some((oldest, _)) = self.outcomes.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.outcomes.push_back((number, outcome));
        for (_, waiting) in self.waiting.range_mut((number, 0)..=(number, u64::MAX)) {
            waiting.outcome = Some(outcome);
            waiting.waker.wake_by_ref();
        }
    }

    /// Wakes those who may know more now.
    fn wake_up(&self) {
        let all = matches!(self.place, Place::Gone);
        let through = self.delivered.received.max(self.delivered.processed);
        let those = self
            .waiting
            .iter()
            .take_while(|((number, _), _)| all || *number <= through);
        those.for_each(|(_, waiting)| waiting.waker.wake_by_ref());
    }

    /// What is known of a message; `ticket` of whom waits for it already.
    fn outcome(&mut self, number: u64, all: bool, ticket: Option<u64>) -> Option<Result<Outcome, WaitError>> {
        let waiting = ticket.and_then(|ticket| self.waiting.get(&(number, ticket)));
        let is_waiting = waiting.is_some();
        if let Some(outcome) = waiting.and_then(|waiting| waiting.outcome) {
            return Some(Ok(outcome));
        }
        let mut noted = self.outcomes.iter().rev();
        if let Some((_, outcome)) = noted.find(|(noted, _)| *noted == number) {
            return Some(Ok(*outcome));
        }
        let through = if all {
            self.delivered.processed
        } else {
            self.delivered.received
        };
        if number <= through {
            // Another outcome would have been handed over.
            let known = is_waiting || number > self.forgotten;
            return Some(if known {
                Ok(Outcome::Ok)
            } else {
                Err(WaitError::TooLate)
            });
        }
        if matches!(self.place, Place::Gone) {
            return Some(Err(WaitError::Over));
        }
        let is_over = !is_waiting && number <= self.forgotten && self.has_outcome(number);
        is_over.then_some(Err(WaitError::TooLate))
    }

    /// Whether a message has an outcome that was [looked](SessionCell::look) at.
    fn has_outcome(&mut self, number: u64) -> bool {
        let seen = self.delivered.processed;
        let has_one = |session: &mut StdSession| {
            let found = session.replay().after(number.saturating_sub(1));
            let is_stored = found.is_some_and(|stored| stored.number == number);
            let is_new = session.has_outcomes() || session.delivered().processed > seen;
            !is_stored && !session.awaited().contains(&number) && !is_new
        };
        self.with_session(has_one).unwrap_or(false)
    }
}
