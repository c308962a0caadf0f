//! One connection of a world: two pipes, and the engine at either end.

use alloc::collections::VecDeque;

use super::Conn;
use super::tap::Tap;
use crate::message::Kept;
use crate::sim::pipe::Pipe;
use crate::wire::deframer::Deframer;
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

/// The engine at one end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) conn: Conn,
    pub(super) rx: Deframer<GrowBuf>,
    /// What it writes.
    pub(super) tap: Tap,
    /// Messages that wait for their handler.
    pub(super) queue: VecDeque<Kept>,
    /// Which session it has, or had.
    pub(super) session: u64,
    /// Service: that one outlives the connection.
    pub(super) is_kept: bool,
    /// Its writing direction has ended.
    pub(super) finished: bool,
    pub(super) opened: bool,
}

impl End {
    pub(super) fn new(conn: Conn, input: usize, session: u64) -> Self {
        Self {
            conn,
            rx: Deframer::new(GrowBuf::new(input)),
            tap: Tap::default(),
            queue: VecDeque::new(),
            session,
            is_kept: true,
            finished: false,
            opened: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) key: usize,
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
