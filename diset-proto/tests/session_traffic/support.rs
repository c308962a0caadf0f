//! One engine with a session, and the frames that its peer would send.

use core::time::Duration;

use diset_proto::drive::{Event, HandlerResult};
use diset_proto::sim::{Halves, Later};
use diset_proto::store::{HeapReplay, Inbox, Replay, Unsure, Volatile};
use diset_proto::{
    Admission, Cause, ClientConfig, Code, Identity, Instant, Limits, MessageOf, NewReason, Outcome, Schema, SendError,
    ServiceDef, Session, Token, Trid, Unwelcome, define_service,
};
use serde::{Deserialize, Serialize};

use crate::bytes::varint;
pub(crate) use crate::bytes::{frame, varints};

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Reading {
    pub(crate) value: u8,
}
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Blob<'a> {
    pub(crate) bytes: &'a [u8],
}
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Order {
    pub(crate) value: u8,
}

define_service! {
    pub(crate) Meter = "Test/Meter";
    from_service: [Order],
    both: [Reading, Blob<'a>],
}

pub(crate) const READING: u8 = <Reading as MessageOf<Meter>>::NUMBER;
pub(crate) const ORDER: u8 = <Order as MessageOf<Meter>>::NUMBER;
pub(crate) const BLOB: u8 = <Blob<'_> as MessageOf<Meter>>::NUMBER;

pub(crate) type Memory = Session<HeapReplay, Volatile>;
pub(crate) type Conn<R = HeapReplay, I = Volatile> = Halves<Option<Box<Session<R, I>>>>;

const NOW: Instant = Instant::from_millis(1000);

/// A client that has this session, and whose proposal waits to leave.
pub(crate) fn proposing<R: Replay, I: Inbox>(session: Option<Box<Session<R, I>>>) -> Conn<R, I> {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    let mut conn = Halves::new(NOW, &config.limits, 100_000, session);
    conn.connect(&config).unwrap();
    conn
}

/// A service that waits for a client.
pub(crate) fn listening<R: Replay, I: Inbox>() -> Conn<R, I> {
    let mut conn = Halves::new(NOW, &Limits::SERVER, 100_000, None);
    conn.listen(Meter::CATALOG, Limits::SERVER).unwrap();
    conn
}

pub(crate) const PREAMBLE: &[u8] = &[0xd1, b'S', b'E', b'T', 1];
/// 65536 bytes, 524288 bytes, 16384 messages, 60000 ms.
const LIMITS: &[u8] = &[0x80, 0x80, 0x04, 0x80, 0x80, 0x20, 0x80, 0x80, 0x01, 0xe0, 0xd4, 0x03];

pub(crate) const PROPOSAL: u8 = 0x80;
pub(crate) const ACCEPTANCE: u8 = 0x81;
pub(crate) const ERROR: u8 = 0x89;
pub(crate) const CREDIT: u8 = 0x85;
pub(crate) const KEEP_ALIVE: u8 = 0x86;
pub(crate) const GO_AWAY: u8 = 0x88;
pub(crate) const ACKED: u8 = 0x40;
pub(crate) const ACK: u8 = 0x8a;
pub(crate) const NEXT: u8 = 0x8c;
pub(crate) const NEXT_KEY: u8 = 0x8d;
pub(crate) const OUTCOMES_READ: u8 = 0x8f;

/// What leaves when nothing does.
pub(crate) const NOTHING: [u8; 0] = [];

/// Tokens that a service makes here.
pub(crate) fn token(number: u64) -> [u8; 16] {
    [number as u8; 16]
}

fn field(tag: u8, value: &[u8], body: &mut Vec<u8>) {
    body.push(tag);
    body.extend(varint(value.len() as u64));
    body.extend_from_slice(value);
}

/// A proposal, with what it says of a session.
pub(crate) fn proposal(session: Option<&[u8]>) -> Vec<u8> {
    proposal_with(session, None)
}

/// As [`proposal`], with the field *first credit*.
pub(crate) fn proposal_with(session: Option<&[u8]>, first: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    field(0x81, Meter::CATALOG.service().as_str().as_bytes(), &mut body);
    field(0x82, &[1; 16], &mut body);
    field(0x83, Meter::CATALOG.digest().as_bytes(), &mut body);
    field(0x84, LIMITS, &mut body);
    if let Some(session) = session {
        field(0x06, session, &mut body);
    }
    if let Some(first) = first {
        field(0x8a, first, &mut body);
    }
    [PREAMBLE, &frame(PROPOSAL, &body)].concat()
}

/// An acceptance, with what it says of a session, and a token.
pub(crate) fn acceptance(session: Option<&[u8]>, token: Option<&[u8]>) -> Vec<u8> {
    acceptance_of(&[], session, token)
}

/// As [`acceptance`], with verdicts.
pub(crate) fn acceptance_of(verdicts: &[u8], session: Option<&[u8]>, token: Option<&[u8]>) -> Vec<u8> {
    acceptance_with(verdicts, session, token, None)
}

/// As [`acceptance_of`], with the field *first credit*.
pub(crate) fn acceptance_with(
    verdicts: &[u8],
    session: Option<&[u8]>,
    token: Option<&[u8]>,
    first: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = Vec::new();
    field(0x81, &[1], &mut body);
    field(0x82, LIMITS, &mut body);
    if !verdicts.is_empty() {
        field(0x83, verdicts, &mut body);
    }
    if let Some(session) = session {
        field(0x04, session, &mut body);
    }
    if let Some(token) = token {
        field(0x05, token, &mut body);
    }
    if let Some(first) = first {
        field(0x8a, first, &mut body);
    }
    [PREAMBLE, &frame(ACCEPTANCE, &body)].concat()
}

/// The flags of a side that sends and takes; and that of a client that goes on.
pub(crate) const BOTH: u8 = 4 | 8;
pub(crate) const GOES_ON: u8 = 1;

/// A claim: settled, sent, received, processed, and outcomes.
pub(crate) fn claim(values: [u64; 4], failed: &[(u64, u64)]) -> Vec<u8> {
    let pairs = failed.iter().flat_map(|(number, code)| [*number, *code]);
    varints(&values.into_iter().chain(pairs).collect::<Vec<_>>())
}

/// The session field of a client that goes on with this token.
pub(crate) fn returning(shown: &[u8; 16], claim: &[u8]) -> Vec<u8> {
    [&[GOES_ON | BOTH], &shown[..], claim].concat()
}

/// The session field of a service that goes on.
pub(crate) fn resumed(claim: &[u8]) -> Vec<u8> {
    [&[0, BOTH], claim].concat()
}

/// The session fields of those that begin: of a client, of a service.
pub(crate) const FIRST: &[u8] = &[BOTH];
pub(crate) const NEW_FIRST: &[u8] = &[1, BOTH];

pub(crate) fn memory() -> Box<Memory> {
    Box::new(Session::new(HeapReplay::new(100, 10_000), Volatile))
}

/// What is done with a message that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Handle,
    /// Its handler waits, until it is [told](Side::finish) what it comes to.
    Hold,
    Ignore,
}

/// One side, and what it saw.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) conn: Conn,
    pub(crate) policy: Policy,
    /// Values of the messages that were handled.
    pub(crate) got: Vec<u8>,
    later: Later,
    pub(crate) repeated: Vec<bool>,
    pub(crate) drops: usize,
    /// Service: what it has of the client; whether the transport proves who that is; its last trid.
    pub(crate) kept: Option<Box<Memory>>,
    pub(crate) proven: bool,
    pub(crate) trid: u64,
    /// Service: it keeps no session more.
    pub(crate) is_full: bool,
    /// Service: what the client was told of its session.
    pub(crate) refused: Option<Unwelcome>,
}

impl Side {
    fn new(conn: Conn) -> Self {
        Self {
            conn,
            policy: Policy::Handle,
            got: Vec::new(),
            later: Later::default(),
            repeated: Vec::new(),
            drops: 0,
            kept: None,
            proven: true,
            trid: 0,
            is_full: false,
            refused: None,
        }
    }

    /// A client that has proposed, with this session or none.
    pub(crate) fn client(session: Option<Box<Memory>>) -> Self {
        let mut side = Self::new(proposing(session));
        side.take();
        side
    }

    /// A service that waits, with what it has of the client.
    pub(crate) fn service(kept: Option<Box<Memory>>) -> Self {
        let mut side = Self::new(listening());
        side.kept = kept;
        side
    }

    /// A client or a service whose session has just begun.
    pub(crate) fn begun(service: bool) -> Self {
        let mut side;
        if service {
            side = Self::service(None);
            side.feed(&proposal(Some(FIRST)));
        } else {
            side = Self::client(Some(memory()));
            side.feed(&acceptance(Some(NEW_FIRST), Some(&token(1))));
        }
        side.take();
        assert!(side.conn.resumption().is_some(), "{side:?}");
        side
    }

    /// The next connection of the same two sides; the session moves to it.
    pub(crate) fn again(mut self) -> Self {
        if self.trid > 0 {
            let mut side = Self::service(self.conn.take_session().or(self.kept));
            side.trid = self.trid;
            side
        } else {
            Self::client(self.conn.take_session())
        }
    }

    /// Takes what the peer sent.
    pub(crate) fn feed(&mut self, mut input: &[u8]) {
        while let Some(event) = self.conn.next(&mut input) {
            match event {
                Event::Proposed(_) => self.admit(),
                Event::Message(message) if self.policy == Policy::Ignore => drop(message),
                Event::Message(message) => {
                    let repeated = message.meta().maybe_repeated();
                    let Some((reading, handling)) = message.decode::<Reading>() else {
                        continue;
                    };
                    match self.policy {
                        Policy::Hold => self.later.wait(handling),
                        _ => {
                            self.got.push(reading.value);
                            self.repeated.push(repeated);
                            handling.done(Ok(()));
                        }
                    }
                }
                Event::Ended(_) => self.drops += 1,
                _ => {}
            }
        }
        assert!(self.drops <= 1);
    }

    /// The handler that waits comes to this.
    pub(crate) fn finish(&mut self, result: HandlerResult) {
        self.conn.finish(&self.later, result);
        self.feed(&[]);
    }

    fn admit(&mut self) {
        self.trid += 1;
        let trid = Trid::new(self.trid);
        let fresh = Token::from_bytes(token(self.trid));
        let request = self.conn.resume_request().cloned();
        let session = match (request, self.kept.take()) {
            (None, kept) => {
                self.kept = kept;
                None
            }
            (Some(request), Some(mut kept)) => match kept.welcome(&request, trid, self.proven, fresh) {
                Ok(()) => Some(kept),
                Err(unwelcome) => {
                    self.refused = Some(unwelcome.clone());
                    self.kept = Some(kept);
                    let why = match unwelcome {
                        Unwelcome::Refused(notice) => return self.conn.refuse(notice).unwrap(),
                        Unwelcome::Passing(why) => why,
                    };
                    let mut passing = memory();
                    passing.begin_with(&request, trid, why, None);
                    Some(passing)
                }
            },
            (Some(request), None) => {
                let mut session = memory();
                let why = match (self.is_full, request.is_return()) {
                    (true, _) => NewReason::NoRoom,
                    (false, true) => NewReason::Forgotten,
                    (false, false) => NewReason::First,
                };
                session.begin_with(&request, trid, why, why.is_kept().then_some(fresh));
                Some(session)
            }
        };
        let accepted = self.conn.accept_in_session(Admission::new(trid), session);
        assert!(accepted.is_ok());
    }

    /// Everything that leaves now.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.conn.take()
    }

    /// Everything that leaves within a second.
    pub(crate) fn leave(&mut self) -> Vec<u8> {
        let mut bytes = self.take();
        let end = self.conn.now.after(Duration::from_secs(1));
        for _ in 0..100 {
            match self.conn.wake() {
                Some(wake) if wake <= end => {
                    self.conn.now = self.conn.now.max(wake);
                    bytes.extend(self.take());
                    self.feed(&[]);
                }
                _ => return bytes,
            }
        }
        panic!("it never comes to rest: {self:?}");
    }

    pub(crate) fn send(&mut self, value: u8) -> u64 {
        self.send_unsure(value, Unsure::Report).unwrap()
    }

    pub(crate) fn send_unsure(&mut self, value: u8, unsure: Unsure) -> Result<u64, SendError> {
        self.conn.send_acked(READING, &Reading { value }, unsure)
    }

    /// All outcomes that are not Ok.
    pub(crate) fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        core::iter::from_fn(|| self.conn.take_outcome()).collect()
    }

    /// It found this error: code and text.
    #[track_caller]
    pub(crate) fn assert_found(&mut self, code: Code, text: &str, rule: &str) {
        // The end is told when no handler of the link is left.
        assert!(self.conn.rx.expire().is_ready());
        self.conn.turn();
        self.feed(&[]);
        let Some(Cause::OurError(notice)) = self.conn.cause() else {
            panic!("{rule}: {:?}", self.conn.cause());
        };
        assert_eq!((notice.code(), notice.text()), (code, text), "{rule}");
        assert_eq!(self.drops, 1, "{rule}");
    }
}

/// What a client says of its session next.
pub(crate) fn says_next(mut side: Side) -> Vec<u8> {
    proposing(side.conn.take_session()).take()
}

/// An acked message with this value.
pub(crate) fn acked(value: u8) -> Vec<u8> {
    frame(ACKED, &[READING, value])
}
