//! One connection of a world: two pipes, and the halves at either end.

use alloc::boxed::Box;
use core::fmt;

use super::handlers::{Running, Slot, queue};
use super::store::SimSession;
use super::tap::Tap;
use super::{Setup, Who};
use crate::drive::{self, HeapQueue, Rx, Tx};
use crate::sim::pipe::Pipe;
use crate::time::Instant;
use crate::wire::storage::GrowBuf;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Side {
    /// The client.
    Client,
    /// The service.
    Service,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Service,
            Self::Service => Self::Client,
        }
    }
}

/// What the halves of a world are made of.
pub(super) struct Parts;

impl drive::Parts for Parts {
    type Buffer = GrowBuf;
    type Session = Option<Box<SimSession>>;
    type Queue = HeapQueue;
    type Running = Slot;
}

/// The halves at one end of a connection, or of a session that has none.
pub(super) struct End {
    pub(super) who: Who,
    pub(super) rx: Rx<Parts>,
    pub(super) tx: Tx<Parts>,
    /// What it writes.
    pub(super) tap: Tap,
    /// What runs, of messages and callbacks.
    pub(super) running: Option<Running>,
    /// The connection whose messages have their turn: this one, or one before.
    pub(super) turn: Option<u64>,
    /// When it wants its next turn.
    pub(super) wake: Option<Instant>,
    /// Which session it has, or had.
    pub(super) session: u64,
    /// Service: that one outlives the connection.
    pub(super) is_kept: bool,
    /// Its writing direction has ended.
    pub(super) finished: bool,
    pub(super) opened: bool,
    /// That it is over was told.
    pub(super) dropped: bool,
    /// Something of an earlier session of its client has its turn.
    pub(super) held: bool,
    /// Its session has come to its end, with its connection or after its time.
    pub(super) gone: bool,
}

/// What goes from one end of a session to the next.
pub(super) struct Moved {
    carried: drive::Carried<Parts>,
    running: Option<Running>,
    turn: Option<u64>,
}

impl End {
    /// One without a connection, and with this session.
    pub(super) fn new(setup: &Setup, who: Who, kept: Option<(u64, Box<SimSession>)>) -> Self {
        let limits = match who.side() {
            Side::Client => &setup.client,
            Side::Service => &setup.service,
        };
        let (id, session) = kept.map_or((0, None), |(id, session)| (id, Some(session)));
        Self {
            who,
            rx: Rx::new(GrowBuf::new(limits.max_frame() as usize + 4), queue()),
            tx: Tx::new(GrowBuf::new(setup.output), session),
            tap: Tap::default(),
            running: None,
            turn: None,
            wake: None,
            session: id,
            is_kept: true,
            finished: false,
            opened: false,
            dropped: false,
            held: false,
            gone: false,
        }
    }

    pub(super) fn has_session(&self) -> bool {
        self.tx.connection().session().is_some()
    }

    /// Whether it has a connection that is open.
    pub(super) fn is_open(&self) -> bool {
        self.opened && !self.tx.connection().phase().is_over()
    }

    /// Its session, and all that goes along, for another end.
    pub(super) fn hand_over(&mut self, now: Instant) -> (Option<Box<SimSession>>, Moved) {
        let (session, carried) = self.rx.hand_over(now, &mut self.tx, queue());
        let moved = Moved {
            carried,
            running: self.running.take(),
            turn: self.turn.take(),
        };
        (session, moved)
    }

    pub(super) fn take_over(&mut self, moved: Moved) {
        self.rx.take_over(&mut self.tx, moved.carried);
        (self.running, self.turn) = (moved.running, moved.turn);
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("who", &self.who)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) to_service: Pipe,
    pub(super) to_client: Pipe,
    pub(super) at_client: Option<End>,
    pub(super) at_service: Option<End>,
}

impl Link {
    pub(super) const fn end(&mut self, side: Side) -> &mut Option<End> {
        match side {
            Side::Client => &mut self.at_client,
            Side::Service => &mut self.at_service,
        }
    }

    pub(super) const fn look(&self, side: Side) -> Option<&End> {
        match side {
            Side::Client => self.at_client.as_ref(),
            Side::Service => self.at_service.as_ref(),
        }
    }

    /// Where this side writes to.
    pub(super) const fn out(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_service,
            Side::Service => &mut self.to_client,
        }
    }

    /// The process at this end is gone; its peer sees that at once, or not at all.
    pub(super) fn lose(&mut self, side: Side, silently: bool) {
        *self.end(side) = None;
        if silently {
            self.out(side).stall(true);
        } else {
            self.out(side).cut();
        }
    }
}
