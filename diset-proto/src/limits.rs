//! Every number that bounds something, in one place.
//!
//! What the two peers tell each other is in [`Limits`]; what the protocol fixes is a
//! constant here.

use core::num::NonZeroU32;
use core::time::Duration;

use crate::time::Millis;

/// Most messages a service may define (PROTOCOL S-2). A message number is one byte on the wire.
pub const MAX_MESSAGES: usize = 128;
/// Longest name of a message, in bytes (PROTOCOL S-2).
pub const MAX_MESSAGE_NAME: usize = 64;
/// Most bytes that the descriptions of all messages of a service may take (PROTOCOL S-2).
pub const MAX_CATALOG: usize = 64 * 1024;
/// Longest name of a service, in bytes (PROTOCOL H-3).
pub const MAX_SERVICE_NAME: usize = 64;
/// Longest frame before the connection is open, in bytes (PROTOCOL H-1).
pub const MAX_HANDSHAKE_FRAME: u32 = 1024;
/// Smallest frame limit a peer may state, in bytes: the longest control frame fits (PROTOCOL F-6).
pub const MIN_FRAME: u32 = 512;
/// Largest frame limit a peer may state, in bytes: what a four-byte length can say (PROTOCOL F-2).
pub const MAX_FRAME: u32 = (1 << 28) - 1;
/// Largest credit, in bytes and in messages, that may stand open at a time (PROTOCOL L-4).
pub const MAX_CREDIT: u32 = 1 << 30;
/// Messages that were dealt with are granted again at this number at the latest, so that a
/// sender whose connection breaks knows how few may be lost (PROTOCOL L-5).
pub const MAX_UNCONFIRMED: u32 = 64;
/// Most connect arguments of a proposal (PROTOCOL H-5).
pub const MAX_ARGS: usize = 16;
/// Longest text of an error, refusal or go-away, in bytes (PROTOCOL E-2).
pub const MAX_TEXT: usize = 64;
/// Most outcomes that are not Ok and that one side remembers for the other, for each direction of
/// a session: there are at most three (PROTOCOL Q-5).
pub const MAX_FAILURES: usize = 4;
/// How long an acknowledgement waits for something else to leave with (PROTOCOL Q-2).
pub const ACK_DELAY: Duration = Duration::from_millis(20);
/// Messages that were dealt with are acknowledged at this number at the latest (PROTOCOL Q-2).
pub const MAX_UNTOLD: u64 = 64;
/// Keys of a client that are answered on one connection (PROTOCOL L-7).
pub const MAX_NEXT_KEYS: u8 = 4;
/// Keep-alives and answers that may come between two looks (PROTOCOL L-7).
pub const MAX_KEEP_ALIVES: u8 = 64;
/// Bytes of the output buffer that messages leave free for control frames (PROTOCOL L-1).
pub const CONTROL_RESERVE: usize = 256;
/// Smallest output buffer, in bytes: every control frame fits.
pub const MIN_OUTPUT: usize = 768;
/// Most calls that one side may offer to keep at a time (PROTOCOL H-13).
pub const MAX_SLOTS: u32 = 4096;
/// Deepest nesting of a message's structure.
pub const MAX_DEPTH: usize = 16;
/// Most elements of a tuple or array, attributes of a structure, variants of an enum.
pub const MAX_ELEMENTS: usize = 256;
/// Shortest silence a peer may state (PROTOCOL K-1).
pub const MIN_SILENCE: Duration = Duration::from_millis(100);
/// Longest silence a peer may state (PROTOCOL K-1).
pub const MAX_SILENCE: Duration = Duration::from_secs(24 * 3600);
/// Longest time a peer's go-away can hold this side (PROTOCOL G-2).
pub const MAX_DRAIN: Duration = Duration::from_secs(60);
/// How long a closing connection goes on reading, so that its error reaches the peer (PROTOCOL E-4).
pub const LINGER: Duration = Duration::from_secs(2);
/// How many bytes a closing connection reads and discards at most (PROTOCOL E-4).
pub const LINGER_BYTES: usize = 256 * 1024;

/// What one side allows the other, stated in the handshake, and how long it waits.
///
/// Build one from a constant with the `with_` methods; [`Limits::check`] tells what does
/// not fit together and is called wherever limits are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    pub(crate) max_frame: u32,
    pub(crate) credit_bytes: u32,
    pub(crate) credit_messages: u32,
    pub(crate) max_silence: Millis,
    pub(crate) handshake: Millis,
    pub(crate) records: Option<NonZeroU32>,
}

impl Limits {
    /// For servers and workstations: frames to 64 KiB, 512 KiB and 16,384 messages on the
    /// way, 60 s of silence, 10 s for a handshake.
    ///
    /// So much waits in memory for a connection whose handler is slow, and nothing for the
    /// others; a smaller credit costs throughput when one side streams.
    pub const SERVER: Self = Self {
        max_frame: 64 * 1024,
        credit_bytes: 512 * 1024,
        credit_messages: 16384,
        max_silence: Millis::of(Duration::from_secs(60)),
        handshake: Millis::of(Duration::from_secs(10)),
        records: None,
    };

    /// For chips: frames to 512 bytes, 1 KiB and 16 messages on the way, 60 s of silence,
    /// 30 s for a handshake.
    pub const CHIP: Self = Self {
        max_frame: MIN_FRAME,
        credit_bytes: 1024,
        credit_messages: 16,
        max_silence: Millis::of(Duration::from_secs(60)),
        handshake: Millis::of(Duration::from_secs(30)),
        records: None,
    };

    /// Longest frame that may be sent to this side, in bytes after the length.
    #[must_use]
    pub const fn with_max_frame(mut self, bytes: u32) -> Self {
        self.max_frame = bytes;
        self
    }

    /// How much may be under way to this side, in bytes of frames and in messages, before
    /// it has dealt with what came.
    #[must_use]
    pub const fn with_credit(mut self, bytes: u32, messages: u32) -> Self {
        self.credit_bytes = bytes;
        self.credit_messages = messages;
        self
    }

    /// How long the connection may be silent; it counts as dead after one and a half
    /// times the shorter span of the two sides. In whole milliseconds.
    #[must_use]
    pub const fn with_max_silence(mut self, span: Duration) -> Self {
        self.max_silence = Millis::of(span);
        self
    }

    /// How long the handshake may take as a whole; on a service also how long the
    /// admission may take. In whole milliseconds, at most 49 days.
    #[must_use]
    pub const fn with_handshake(mut self, span: Duration) -> Self {
        self.handshake = Millis::of(span);
        self
    }

    /// How many TLS records each direction of a connection may carry, when the TLS stack of this
    /// side has no key update. A client tells it to the service, which sends it away before they
    /// are used up (PROTOCOL G-6). At least one.
    #[must_use]
    pub const fn with_records(mut self, records: u32) -> Self {
        self.records = match NonZeroU32::new(records) {
            None => Some(NonZeroU32::MIN),
            some => some,
        };
        self
    }

    /// The same without a limit of records.
    #[must_use]
    pub const fn without_records(mut self) -> Self {
        self.records = None;
        self
    }

    /// Longest frame that may be sent to this side, in bytes.
    pub const fn max_frame(&self) -> u32 {
        self.max_frame
    }

    /// How much may be under way to this side: bytes, and messages.
    pub const fn credit(&self) -> (u32, u32) {
        (self.credit_bytes, self.credit_messages)
    }

    /// How many TLS records each direction of a connection may carry; `None` when that needs no
    /// limit.
    pub const fn records(&self) -> Option<u32> {
        match self.records {
            Some(records) => Some(records.get()),
            None => None,
        }
    }

    /// The longest silence this side states.
    pub const fn max_silence(&self) -> Duration {
        self.max_silence.duration()
    }

    /// How long the handshake may take.
    pub const fn handshake(&self) -> Duration {
        self.handshake.duration()
    }

    /// Whether these limits can work together.
    ///
    /// # Errors
    /// The first bound that is broken.
    pub const fn check(&self) -> Result<(), BadLimits> {
        if self.max_frame < MIN_FRAME || self.max_frame > MAX_FRAME {
            return Err(BadLimits::Frame);
        }
        // A frame that exceeds the credit could never be sent (PROTOCOL L-3).
        if self.credit_bytes < self.max_frame || self.credit_bytes > MAX_CREDIT {
            return Err(BadLimits::CreditBytes);
        }
        if self.credit_messages == 0 || self.credit_messages > MAX_CREDIT {
            return Err(BadLimits::CreditMessages);
        }
        if !is_silence(self.max_silence) {
            return Err(BadLimits::Silence);
        }
        Ok(())
    }
}

/// Whether a peer may state it (PROTOCOL K-1).
pub(crate) const fn is_silence(span: Millis) -> bool {
    Millis::of(MIN_SILENCE).0 <= span.0 && span.0 <= Millis::of(MAX_SILENCE).0
}

/// Which of the [`Limits`] cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadLimits {
    /// The frame limit lies outside [`MIN_FRAME`] to [`MAX_FRAME`].
    Frame,
    /// The byte credit is less than one longest frame, or over [`MAX_CREDIT`].
    CreditBytes,
    /// The message credit is zero, or over [`MAX_CREDIT`].
    CreditMessages,
    /// The silence lies outside [`MIN_SILENCE`] to [`MAX_SILENCE`].
    Silence,
}

impl core::fmt::Display for BadLimits {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Frame => "the frame limit must lie between 512 bytes and 2^28 - 1",
            Self::CreditBytes => "the byte credit must hold at least one longest frame and at most 2^30 bytes",
            Self::CreditMessages => "the message credit must lie between 1 and 2^30",
            Self::Silence => "the longest silence must lie between 100 ms and 24 h",
        })
    }
}

impl core::error::Error for BadLimits {}

const _: () = {
    assert!(Limits::SERVER.check().is_ok() && Limits::CHIP.check().is_ok());
    assert!(MAX_HANDSHAKE_FRAME >= MIN_FRAME);
    assert!(MAX_MESSAGES <= 128, "a message number is one byte below 0x80");
};
