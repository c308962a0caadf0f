//! What a log consists of.

use serde::{Deserialize, Serialize};

use crate::session::SessionState;

/// Bytes that do not show in `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a plain wrapper")]
pub struct Bytes<'l>(pub &'l [u8]);

impl core::fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// How a connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Begin<'l> {
    /// 0: service. 1: client. 2: client that adopts the service's catalog.
    pub role: u8,
    /// The service.
    pub service: &'l str,
    /// The digest of this side's catalog.
    pub digest: [u8; 16],
    /// The limits of this side: longest frame, credit in bytes and messages.
    pub limits: (u32, u32, u32),
    /// The longest silence and the time for the handshake, in milliseconds.
    pub spans: (u64, u64),
    /// How many records the TLS of this side may carry.
    pub records: Option<u32>,
    /// When the handshake must be done, in milliseconds.
    pub deadline: u64,
    /// The most bytes that the output holds.
    pub output_bound: u64,
    /// What is in the output: preamble and proposal of a client.
    #[serde(borrow)]
    pub output: Bytes<'l>,
}

/// A refusal, an error or a go-away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Said<'l> {
    /// The number of its code.
    pub code: u16,
    /// For people.
    pub text: &'l str,
    /// When to come back: least time and spread, in milliseconds.
    pub retry: Option<(u32, u32)>,
    /// The number on the wire of the message it is about.
    pub about: Option<u8>,
    /// Whether a client that is refused so does not come back by itself.
    pub permanent: bool,
}

/// The table for a client with an older catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VerdictTable<'l> {
    /// For each message of the client: the number at the service, or 254 for one that is different, 255 for one that
    /// is unknown.
    #[serde(borrow)]
    pub own: Bytes<'l>,
    /// The messages of the service that the client defines otherwise, a bit each.
    pub differs: [u8; 16],
}

/// What was lent for transmission, and how things stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// How many bytes were lent.
    pub len: u64,
    /// Their CRC-32.
    pub check: u32,
    /// The number of the phase, in the order in which [`Phase`](crate::Phase) lists them.
    pub phase: u8,
    /// Why the connection is over: the number of the code; 0 when it is not, or ended without one.
    pub code: u16,
}

/// One entry: something that happened to a connection, or a call of its user.
///
/// Times are not in it but beside it ([`Logged`](super::Logged)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "one at a time is looked at")]
pub enum Entry<'l> {
    /// The first one.
    Begin(#[serde(borrow)] Begin<'l>),
    /// The session is now this one, with the messages that follow; also after its user has
    /// changed it past the connection.
    Session(SessionState),
    /// A message that the session stores.
    Stored {
        /// Its number.
        number: u64,
        /// Its definition.
        key: [u8; 16],
        /// It is sent again when nobody knows.
        resend: bool,
        /// It may have been dealt with before.
        repeated: bool,
        /// Its payload.
        #[serde(borrow)]
        payload: Bytes<'l>,
    },
    /// There is no session any more.
    NoSession,
    /// What the stores of the session keep from now on.
    Kept {
        /// Sent messages up to this number.
        sent: u64,
        /// Received ones up to this number.
        received: u64,
        /// That they were handled, up to this number.
        handled: u64,
        /// What was received outlives the process.
        durable: bool,
        /// This side sends acked messages.
        sends: bool,
        /// It takes them.
        takes: bool,
    },
    /// A frame came.
    Frame {
        /// Its head byte.
        head: u8,
        /// What follows.
        #[serde(borrow)]
        body: Bytes<'l>,
    },
    /// What came is no frame: 1 not diset, 2 another version, 3 too long, 4 a bad header, 5 no
    /// room for it.
    Malformed {
        /// Which.
        what: u8,
        /// The version.
        version: u8,
    },
    /// A message frame came and was offered to `take_message`.
    Offered {
        /// Its head byte.
        head: u8,
        /// What follows.
        #[serde(borrow)]
        body: Bytes<'l>,
    },
    /// In the call of the entry before the store, or the inbox, took the message not.
    NoRoom,
    /// Bytes came.
    Received,
    /// The time was told.
    Time,
    /// The transport ended.
    Eof,
    /// Service: the client was admitted.
    Accept {
        /// Its transport id.
        trid: u64,
        /// The table for its catalog.
        #[serde(borrow)]
        table: Option<VerdictTable<'l>>,
        /// The messages that are not for it, a bit each.
        forbidden: [u8; 16],
    },
    /// Service: the client was refused.
    Refuse(#[serde(borrow)] Said<'l>),
    /// Service: tells its catalog.
    Telling,
    /// A plain message was to be sent.
    Send {
        /// Its number in the catalog of this side.
        number: u8,
        /// Its payload; none when it could not be encoded.
        #[serde(borrow)]
        payload: Option<Bytes<'l>>,
    },
    /// An acked message was to be stored.
    SendAcked {
        /// Its number in the catalog of this side.
        number: u8,
        /// It is sent again when nobody knows.
        resend: bool,
        /// Its payload; none when it could not be encoded.
        #[serde(borrow)]
        payload: Option<Bytes<'l>>,
    },
    /// A message that came was looked into.
    Decoded {
        /// It came straight from the input.
        lent: bool,
        /// Its number on the wire.
        wire: u8,
        /// Its number in the session, or 0.
        acked: u64,
        /// What is wrong with it: see docs/RECORDING.md.
        invalid: Option<(u8, u64)>,
    },
    /// A message waits for its turn.
    Keep,
    /// The handler of an acked message begins.
    Started {
        /// Its number in the session.
        number: u64,
    },
    /// Messages were dealt with.
    Release {
        /// What they cost.
        bytes: u32,
        /// How many.
        messages: u32,
        /// The last one of the session among them, or 0.
        acked: u64,
    },
    /// A message was not handled.
    Fail {
        /// Its number on the wire.
        wire: u8,
        /// Its number in the session, or 0.
        acked: u64,
        /// Why.
        #[serde(borrow)]
        why: Said<'l>,
    },
    /// A message does not fit its definition.
    Invalid {
        /// Its number on the wire.
        wire: u8,
        /// Its number in the session, or 0.
        acked: u64,
        /// What is wrong with it.
        invalid: (u8, u64),
    },
    /// This side was told to go away.
    GoAway {
        /// What it says.
        #[serde(borrow)]
        why: Said<'l>,
        /// Within so many milliseconds.
        deadline: u64,
    },
    /// This side was told to end.
    Disconnect(#[serde(borrow)] Said<'l>),
    /// Bytes were lent for transmission.
    Transmit(Summary),
    /// So many of them were written.
    Transmitted {
        /// How many.
        count: u64,
    },
    /// The next outcome was asked for.
    TakeOutcome,
    /// The oldest message that waits was to be dropped.
    SkipOldest,
    /// The session was taken out.
    TakeSession,
    /// Client: announces its next key. Service: remembers it.
    NextKey {
        /// It is the service.
        service: bool,
        /// The hash of the key.
        hash: [u8; 32],
        /// How long it lasts, in seconds.
        seconds: u64,
    },
    /// The next frame waited, and may be an answer: something was unconfirmed when it came.
    Answer,
}
