//! What a world tells its application, and what it is told.

use alloc::vec::Vec;
use core::time::Duration;

use super::link::Side;
use crate::error::Cause;
use crate::id::Trid;
use crate::session::{Delivered, Outcome, Resumption};
use crate::status::Code;
use crate::store::Unsure;
use crate::time::Instant;

/// One side of one session: a client, or what the service has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Who {
    /// This client.
    Client(usize),
    /// The service, for the client with this number of principal and identity.
    Service(usize),
}

impl Who {
    pub(super) const fn side(self) -> Side {
        match self {
            Self::Client(_) => Side::Client,
            Self::Service(_) => Side::Service,
        }
    }
}

/// How a message is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Delivery {
    /// At most once.
    Plain,
    /// With an outcome.
    Acked(Unsure),
}

/// A message that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct Sent {
    /// The session of its sender.
    pub session: u64,
    /// Its number there, if it is an acked one.
    pub number: Option<u64>,
    /// The connection of its sender, if there is one.
    pub link: Option<u64>,
}

/// A message that has come and is about to be handled.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct Arrived<'a> {
    /// Which process it is: it changes when that is killed.
    pub life: u64,
    /// The connection it came on; `None`: from the inbox.
    pub link: Option<u64>,
    /// The session of its receiver.
    pub session: u64,
    /// The connection with which that session began, as its receiver sees it.
    pub began: Trid,
    /// Its number there, if it is an acked one.
    pub number: Option<u64>,
    /// It may have been handled before.
    pub maybe_repeated: bool,
    /// Its payload, not checked yet.
    pub payload: &'a [u8],
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a handler runs or it does not")]
pub enum Handling {
    /// It is refused unseen.
    Refuse(Code),
    /// It is checked, and its handler runs for so long and ends so.
    Run {
        /// How long.
        takes: Duration,
        /// How it ends.
        result: Result<(), Code>,
    },
}

/// What an application is told, and what is done to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// A connection is open, and its session stands so. Before any message on it.
    Opened {
        /// The connection.
        link: u64,
        /// The session of this side.
        session: u64,
        /// How it stands.
        resumption: Option<Resumption>,
    },
    /// A connection is over.
    Dropped {
        /// The connection.
        link: u64,
        /// Why.
        cause: Cause,
        /// How many messages of this side may be lost with it, as it says.
        unconfirmed: u32,
    },
    /// A message is in the bytes that this side has written, or has ready to be written. It is read from
    /// the bytes: what the engine counts as sent plays no part.
    Left {
        /// The connection.
        link: u64,
        /// The session of this side.
        session: u64,
        /// It is an acked one.
        acked: bool,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// What became of a message that was sent.
    Outcome {
        /// The session of this side.
        session: u64,
        /// Its number there.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// How far the messages of a session have got.
    Delivered {
        /// The session of this side.
        session: u64,
        /// How far.
        delivered: Delivered,
    },
    /// A message has come to its end here.
    Handled {
        /// The session of this side.
        session: u64,
        /// Its number there, if it is an acked one.
        number: Option<u64>,
        /// How it ended.
        result: Result<(), Code>,
        /// Its payload.
        payload: Vec<u8>,
        /// Its session knows that; else it has begun anew, or is gone.
        counted: bool,
    },
    /// A session is gone with its process, its connection or after its time.
    Gone {
        /// The session of this side.
        session: u64,
    },
    /// The process was killed; the session comes back as it was kept.
    Restored {
        /// The session of this side.
        session: u64,
        /// The last message that this side sent and kept.
        stored: u64,
    },
    /// A fault.
    Fault(Fault),
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it; see the methods of `World`")]
pub enum Fault {
    Cut,
    CutAtByte,
    HalfOpen,
    Stall,
    ClockJump,
    Displace,
    KillClient,
    KillService,
    Clone,
    Forgotten,
    GoAway,
    Disconnect,
    Sync,
    /// A proposal came behind that of a connection which the client opened later.
    Overtaken,
}

/// What handles the messages of a [`World`](super::World).
pub trait App {
    /// A message has come.
    fn handle(&mut self, now: Instant, who: Who, message: &Arrived<'_>) -> Handling;

    /// Something has happened.
    fn happened(&mut self, now: Instant, who: Who, what: &What) {
        let _ = (now, who, what);
    }
}
