//! What a client is made with.

use core::fmt;

use diset_proto::{Arg, Identity, Limits, Misuse, ReconnectPolicy};

/// Who a client is and what it can take.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that its user fills in")]
pub struct Config<'a> {
    /// The name the client keeps across reconnects, also over a restart: derive it from something unique, such as a
    /// serial number.
    pub identity: Identity,
    /// Decides the waits between attempts. Draw it from entropy: clients with one seed all come back at once.
    pub seed: u64,
    /// What the client can take; the frame limit and four bytes must fit the frame storage of its
    /// [`Buffers`](crate::Buffers). How many records is what the channel says.
    pub limits: Limits,
    /// How long it waits between attempts.
    pub reconnect: ReconnectPolicy,
    /// What the service is told about the client: names, each once, with values; at most 16, and at most about 850
    /// bytes in all, less with a smaller output buffer.
    pub args: &'a [(&'a str, Arg<'a>)],
}

impl Config<'_> {
    /// With the limits of a chip, the usual waits and no arguments.
    pub const fn new(identity: Identity, seed: u64) -> Self {
        Self {
            identity,
            seed,
            limits: Limits::CHIP,
            reconnect: ReconnectPolicy::DEFAULT,
            args: &[],
        }
    }
}

/// Why a client cannot be made: the numbers do not fit together. Found before anything is connected, never later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SetupError {
    /// The engine refuses limits, arguments or output buffer.
    Misuse(Misuse),
    /// The frame storage is shorter than the frame limit and four bytes.
    FrameStorage,
    /// The input buffer is empty.
    Input,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(misuse) => write!(f, "{misuse}"),
            Self::FrameStorage => f.write_str("the frame storage must hold four bytes more than the frame limit"),
            Self::Input => f.write_str("the input buffer must hold at least one byte"),
        }
    }
}

impl core::error::Error for SetupError {}
