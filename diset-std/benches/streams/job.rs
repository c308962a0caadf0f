//! What a child process is told to do, and the message that all contenders carry.

use core::net::SocketAddr;

use diset_std::Schema;
use serde::{Deserialize, Serialize};

use crate::Contender;
use crate::common::Credentials;

/// The message: 32 bytes or 1 KiB when encoded, all of it counted.
#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Note<'a> {
    pub(crate) id: i64,
    pub(crate) name: &'a str,
    pub(crate) value: f64,
}

impl<'a> Note<'a> {
    /// Message number `n`. Every number below 100 million has an id of the same encoded length.
    pub(crate) fn number(n: u64, name: &'a str) -> Self {
        const FIRST_OF_FOUR_BYTES: i64 = 1 << 20;
        Self {
            id: FIRST_OF_FOUR_BYTES + n as i64,
            name,
            value: n as f64,
        }
    }
}

/// A kind of traffic on one connection.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Workload {
    /// Length of an encoded message.
    pub(crate) len: usize,
    /// `None`: messages stream from client to server. `Some(n)`: the server answers each with a message as long, and
    /// `n` of them are under way at a time.
    pub(crate) in_flight: Option<usize>,
}

impl Workload {
    pub(crate) const ALL: [Self; 3] = [
        Self {
            len: 32,
            in_flight: None,
        },
        Self {
            len: 1024,
            in_flight: None,
        },
        Self {
            len: 32,
            in_flight: Some(64),
        },
    ];

    pub(crate) fn label(self) -> String {
        match self.in_flight {
            None => format!("one-way stream, {} B", self.len),
            Some(n) => format!("request/answer, {} B, {n} in flight", self.len),
        }
    }

    /// The `name` that makes a message as long as the workload wants.
    pub(crate) fn name(self) -> String {
        const ID_AND_VALUE: usize = 4 + 8;
        let prefix = if self.len > 128 { 2 } else { 1 };
        "n".repeat(self.len - ID_AND_VALUE - prefix)
    }
}

/// One run of one contender.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) contender: Contender,
    pub(crate) workload: Workload,
    /// Messages before the measured ones.
    pub(crate) warm_up: u64,
    /// Messages that are measured.
    pub(crate) messages: u64,
}

/// A run as one of its two processes sees it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    /// Where the client connects to; `None` in the server.
    pub(crate) connect: Option<SocketAddr>,
    pub(crate) tls: Credentials,
}
