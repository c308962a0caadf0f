//! One engine and whatever may happen to it.

mod canned;

use core::time::Duration;
use std::sync::{Arc, LazyLock};

use diset_proto::store::{FixedReplay, Unsure, Volatile};
use diset_proto::{
    Admission, AdoptConfig, Agreement, ClientConfig, Code, Connection, Deframer, Descriptions, Event, Held, Identity,
    Instant, LearnedCatalog, Limits, NewReason, Notice, Outcome, Phase, Progress, RetryAfter, Schema, ServiceDef,
    Session, Token, Trid, Unwelcome, define_service,
};
use serde::{Deserialize, Serialize};

pub(super) use self::canned::{FROM_CLIENT, FROM_SERVICE};
use super::Bytes;
use super::check::Output;

#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Count {
    pub n: u64,
}
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Words<'a> {
    pub text: &'a str,
    pub more: Option<bool>,
}

define_service! { pub Fuzzed = "Test/Fuzz"; from_client: [Count], both: [Words<'a>] }

/// Another form of it, with other numbers and a structure that differs.
pub(super) mod older {
    use super::{Count, Deserialize, Schema, Serialize, define_service};

    #[derive(Serialize, Deserialize, Schema)]
    pub struct Words<'a> {
        pub text: &'a str,
    }
    #[derive(Serialize, Deserialize, Schema)]
    pub struct Gone {}
    define_service! { pub Fuzzed = "Test/Fuzz"; from_client: [Gone, Count], both: [Words<'a>] }
}

pub(super) const OUTPUT: usize = 1200;
const MAX_FRAME: u32 = 1024;

type Rx = Deframer<[u8; MAX_FRAME as usize + 4]>;

pub(super) type Memory = Session<FixedReplay<[u8; 300]>, Volatile>;
type Conn = Connection<[u8; OUTPUT], Option<Box<Memory>>>;

pub(super) fn memory() -> Box<Memory> {
    Box::new(Session::new(FixedReplay::new([0; 300]), Volatile))
}

struct Engine {
    conn: Conn,
    /// A client, with its catalog from there.
    origin: Option<Origin>,
    /// Service: what it has of its client, and what it makes of one that keeps a session.
    kept: Option<Box<Memory>>,
    keeps: bool,
    /// Taken out while its frames are handled.
    rx: Option<Rx>,
    output: Output,
    now: Instant,
    drops: usize,
    opened: usize,
    held: Vec<Held>,
    /// What is done with messages and proposals.
    mode: u8,
}

pub(super) fn limits() -> Limits {
    Limits::CHIP.with_max_frame(MAX_FRAME).with_credit(2048, 8)
}

pub(super) fn start() -> Instant {
    Instant::from_millis(1_000_000)
}

fn service() -> Conn {
    let service = Connection::service(start(), Fuzzed::CATALOG, limits(), [0; OUTPUT]).unwrap();
    service.telling(TOLD.clone()).with_sessions(None)
}

/// Where a client has its catalog from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Same,
    Older,
    Service,
}

fn client(origin: Origin, session: Option<Box<Memory>>) -> Conn {
    let identity = Identity::from_bytes([1; 16]);
    let args: &[_] = &[("site", diset_proto::Arg::Text("here"))];
    let catalog = match origin {
        Origin::Same => Fuzzed::CATALOG,
        Origin::Older => older::Fuzzed::CATALOG,
        Origin::Service => {
            let config = AdoptConfig {
                service: Fuzzed::CATALOG.service(),
                identity,
                limits: limits(),
                args,
            };
            let conn = Connection::adopting(start(), &config, [0; OUTPUT]).unwrap();
            return conn.with_sessions(None);
        }
    };
    let config = ClientConfig {
        catalog,
        identity,
        limits: limits(),
        args,
    };
    Connection::client_in_session(start(), &config, [0; OUTPUT], session).unwrap()
}

impl Engine {
    fn new(conn: Conn) -> Self {
        Self {
            conn,
            origin: None,
            kept: None,
            keeps: false,
            rx: Some(Rx::new([0; MAX_FRAME as usize + 4])),
            output: Output::default(),
            now: start(),
            drops: 0,
            opened: 0,
            held: Vec::new(),
            mode: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.conn.handle_received(self.now);
        let mut input = bytes;
        let Some(mut rx) = self.rx.take() else { return };
        while let Some(frame) = rx.next(&mut input, self.conn.max_frame()) {
            match self.conn.handle_frame(self.now, frame) {
                Some(Event::Message(message)) => match self.mode % 6 {
                    0 if message.number() == 0 => drop(self.conn.decode::<Count>(message)),
                    0 => drop(self.conn.decode::<Words<'_>>(message)),
                    1 => {
                        let structure = Fuzzed::STRUCTURES[usize::from(message.number()) % 2];
                        self.held
                            .extend(self.conn.decode_raw(message, structure).map(|(_, held)| held));
                    }
                    2 => drop(message),
                    3 => self.conn.reject(message, Code::HandlerFailed, "no"),
                    4 => drop(self.conn.decode::<Count>(message)),
                    _ => self
                        .held
                        .extend(self.conn.decode_learned(message).map(|(_, held)| held)),
                },
                Some(Event::Proposed(_)) => match self.mode % 4 {
                    known @ (0 | 1) => self.accept(known == 1, self.mode / 4),
                    2 => {
                        let _ = self.conn.refuse(Notice::new(Code::Busy));
                    }
                    _ => {}
                },
                other => self.note(other),
            }
        }
        self.rx = Some(rx);
    }

    /// Admits the client; the low bits of `forbidden` are messages.
    fn accept(&mut self, known: bool, forbidden: u8) {
        let forbidden = (0..2).filter(|number| forbidden & (1 << number) != 0).collect();
        let mut admission = Admission::new(Trid::new(u64::MAX)).with_forbidden(forbidden);
        if known {
            admission = admission.with_table(Agreement::between(Fuzzed::CATALOG, older::Fuzzed::CATALOG));
        }
        let request = self.conn.resume_request().filter(|_| self.keeps).cloned();
        let event = if let Some(request) = request {
            let session = match self.welcome(&request) {
                Ok(session) => session,
                Err(notice) => {
                    let _ = self.conn.refuse(notice);
                    return;
                }
            };
            self.conn
                .accept_in_session(self.now, admission, Some(session))
                .unwrap_or_else(|(_, session)| {
                    self.kept = session;
                    None
                })
        } else {
            self.conn.accept(self.now, admission).ok().flatten()
        };
        self.note(event);
    }

    /// What the service has of this client, or a new session.
    fn welcome(&mut self, request: &diset_proto::Resume) -> Result<Box<Memory>, Notice> {
        let (trid, token) = (Trid::new(u64::MAX), Token::from_bytes([7; 16]));
        let Some(mut session) = self.kept.take() else {
            let mut session = memory();
            session.begin_with(request, trid, NewReason::Forgotten, Some(token));
            return Ok(session);
        };
        let before = session.record();
        let Err(unwelcome) = session.welcome(request, trid, self.mode.is_multiple_of(2), token) else {
            return Ok(session);
        };
        assert!(session.record() == before, "PROTOCOL N-5: it is left as it is");
        self.kept = Some(session);
        match unwelcome {
            Unwelcome::Refused(notice) => Err(notice),
            Unwelcome::Passing(why) => {
                let mut session = memory();
                session.begin_with(request, trid, why, None);
                Ok(session)
            }
        }
    }

    /// The next connection, with the session of this one.
    fn again(&mut self) {
        let session = self.conn.take_session();
        self.conn = match self.origin {
            Some(origin) => client(origin, session),
            None => {
                self.kept = session.or_else(|| self.kept.take());
                service()
            }
        };
        self.rx = Some(Rx::new([0; MAX_FRAME as usize + 4]));
        self.output = Output::default();
        (self.now, self.drops, self.opened) = (start(), 0, 0);
    }

    /// What a user does with acked messages and its session.
    fn use_session(&mut self, choice: u8, bytes: &mut Bytes<'_>) {
        match choice {
            0 => {
                let unsure = if bytes.byte().is_multiple_of(2) {
                    Unsure::Report
                } else {
                    Unsure::Resend
                };
                let _ = self
                    .conn
                    .send_acked(bytes.byte() % 3, &Count { n: bytes.number() }, unsure);
            }
            1 => while self.conn.take_outcome().is_some() {},
            2 => {
                let _ = self.conn.session_mut().and_then(Memory::skip_oldest);
            }
            3 => self.again(),
            4 => {
                let (number, fails) = (bytes.byte().into(), bytes.byte() % 2 == 1);
                if let Some(session) = self.conn.session_mut() {
                    let outcome = if fails {
                        Outcome::Failed(Code::HandlerFailed)
                    } else {
                        Outcome::Ok
                    };
                    session.begin(number);
                    session.settle(number, outcome);
                }
            }
            5 => {
                let lasts = Duration::from_secs(bytes.number());
                let _ = self.conn.announce_next_key([1; 32], lasts);
                let _ = self.conn.next_key_remembered([1; 32], lasts);
            }
            6 => {
                // A restart.
                if let Some(session) = self.conn.session_mut() {
                    let (record, replay) = (session.record(), session.replay().clone());
                    *session = Session::restore(&record, replay, Volatile).unwrap();
                    self.again();
                }
            }
            _ => self.keeps = !self.keeps,
        }
    }

    fn note(&mut self, event: Option<Event<'_>>) {
        match event {
            Some(Event::Dropped(_)) => self.drops += 1,
            Some(Event::Connected(_)) => self.opened += 1,
            _ => {}
        }
        assert!(self.drops <= 1 && self.opened <= 1);
    }

    fn transmit(&mut self, most: usize) {
        let bytes = self.conn.transmit();
        let count = bytes.len().min(most);
        assert!(bytes.len() <= OUTPUT);
        self.output.wrote(&bytes[..count]);
        self.conn.transmitted(count);
    }

    /// What an adapter does when the time has come: it comes to rest.
    fn time(&mut self) {
        for _ in 0..5 {
            let _ = self.conn.transmit();
            if self.conn.wake().is_none_or(|wake| wake > self.now) {
                return;
            }
            let event = self.conn.handle_time(self.now);
            self.note(event);
        }
        panic!("the engine is due for ever: {:?} at {:?}", self.conn, self.now);
    }

    fn operate(&mut self, canned: &[Vec<u8>], bytes: &mut Bytes<'_>) {
        while let Some(operation) = bytes.next() {
            match operation % 16 {
                0 => {
                    let count = bytes.byte();
                    self.feed(bytes.take(count.into()));
                }
                1 => {
                    let (head, count) = (bytes.byte(), bytes.byte());
                    self.feed(&frame(head, bytes.take(count.into())));
                }
                2 => self.feed(&canned[usize::from(bytes.byte()) % canned.len()]),
                3 => self.transmit(usize::MAX),
                4 => self.transmit(bytes.byte().into()),
                5 => {
                    self.now = self.now.after(Duration::from_millis(bytes.number()));
                    self.time();
                }
                6 => self.now = Instant::from_millis(self.now.as_millis().saturating_sub(bytes.number())),
                7 => {
                    let _ = self.conn.send(bytes.byte() % 3, &Count { n: bytes.number() });
                }
                8 => {
                    let text = "w".repeat(usize::from(bytes.byte()) * 5);
                    let _ = self.conn.send(
                        1,
                        &Words {
                            text: &text,
                            more: None,
                        },
                    );
                }
                9 => {
                    let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(Duration::MAX, Duration::ZERO));
                    let span = Duration::from_millis(bytes.number());
                    let _ = self.conn.go_away(self.now, notice, span);
                }
                10 => self
                    .conn
                    .disconnect(Notice::new(Code::Other(bytes.number() as u16)).with_text("text")),
                11 => {
                    let choice = bytes.byte();
                    self.accept(choice % 2 == 1, choice / 2);
                }
                12 => {
                    let _ = self.conn.refuse(Notice::new(Code::NotAdmitted));
                }
                13 => {
                    if let Some(held) = self.held.pop() {
                        self.conn.release(held);
                    }
                }
                14 => self.mode = bytes.byte(),
                _ => match bytes.byte() {
                    0xff => {
                        let event = self.conn.handle_eof();
                        self.note(event);
                    }
                    0xfe => self.send_learned(bytes),
                    choice @ 0xf0..=0xf7 => self.use_session(choice & 7, bytes),
                    _ => self.time(),
                },
            }
        }
    }

    /// Sends any bytes as a message of what was learned, or would have been. What leaves fits.
    fn send_learned(&mut self, bytes: &mut Bytes<'_>) {
        let catalog = match self.conn.learned() {
            Some(catalog) => Arc::clone(catalog),
            None => Arc::clone(&CATALOG),
        };
        let message = &catalog.messages()[usize::from(bytes.byte()) % catalog.messages().len()];
        let count = bytes.byte();
        let payload = bytes.take(count.into());
        if self.conn.send_learned(message, payload).is_ok() {
            assert_eq!(message.structure().check(payload), Ok(()));
        }
    }

    /// However it was left, it ends, and says so once.
    fn finish(mut self) {
        self.time();
        self.transmit(usize::MAX);
        if self.conn.progress() == Progress::Finish {
            assert!(self.conn.is_output_empty());
        }
        let event = self.conn.handle_eof();
        self.note(event);
        assert_eq!(self.drops, 1, "the end is announced once: {:?}", self.conn);
        assert_eq!(self.conn.phase(), Phase::Closed);
        assert!(self.conn.cause().is_some() && self.conn.wake().is_none());
        assert!(self.conn.transmit().is_empty());
    }
}

/// A frame: length, head, body of at most 16 KiB.
pub(super) fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() + 1;
    let mut bytes = Vec::new();
    if length > 0x7f {
        bytes.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    } else {
        bytes.push(length as u8);
    }
    bytes.push(head);
    bytes.extend_from_slice(body);
    bytes
}

static TOLD: LazyLock<Descriptions> = LazyLock::new(|| Descriptions::of::<Fuzzed>().unwrap());
static CATALOG: LazyLock<Arc<LearnedCatalog>> = LazyLock::new(|| Arc::new(LearnedCatalog::of::<Fuzzed>().unwrap()));
/// Whatever happens to a service: it never panics, comes to rest, ends once, and writes what a client can read.
pub fn service_ops(data: &[u8]) {
    let mut engine = Engine::new(service());
    engine.operate(&FROM_CLIENT, &mut Bytes(data));
    engine.finish();
}

/// Whatever happens to a client; the first byte chooses its catalog, and whether it keeps a session.
pub fn client_ops(data: &[u8]) {
    let mut bytes = Bytes(data);
    let origins = [Origin::Same, Origin::Older, Origin::Service];
    let choice = usize::from(bytes.byte());
    let origin = origins[choice % 3];
    let session = (choice / 3 % 2 == 1).then(memory);
    let mut engine = Engine::new(client(origin, session));
    engine.origin = Some(origin);
    engine.operate(&FROM_SERVICE, &mut bytes);
    engine.finish();
}

/// Control frames with any body, to either role, in every phase before and after the handshake. The first byte chooses
/// role and phase, and whether there is a session, the second the head, the third where the body is cut in two.
pub fn packets(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (choice, head, cut) = (bytes.byte() % 16, bytes.byte(), bytes.byte());
    let (phase, keeps) = (choice % 8, choice / 8 == 1);
    let origin = if phase % 2 == 1 { Origin::Older } else { Origin::Same };
    let session = keeps.then(memory);
    let mut engine = Engine::new(if phase < 4 { client(origin, session) } else { service() });
    engine.keeps = keeps;
    let canned = if phase < 4 { &*FROM_SERVICE } else { &*FROM_CLIENT };
    match phase {
        // Proposing, describing, open.
        0 => engine.feed(&[0xd1, b'S', b'E', b'T', 1]),
        1 => engine.feed(&canned[0]),
        2 | 3 if keeps => engine.feed(&canned[16]),
        2 | 3 => engine.feed(&canned[3 - usize::from(phase % 2) * 2]),
        // Awaiting, admitting, asking, open.
        4 => engine.feed(&[0xd1, b'S', b'E', b'T', 1]),
        5 => {
            engine.mode = 3;
            engine.feed(&canned[0]);
        }
        6 => engine.feed(&canned[1]),
        _ if keeps => engine.feed(&canned[13]),
        _ => engine.feed(&canned[0]),
    }
    if keeps && engine.conn.phase() == Phase::Open {
        // Two messages are under way.
        for n in 0..2 {
            let _ = engine
                .conn
                .send_acked(1 - u8::from(phase < 4), &Words { text: "", more: None }, Unsure::Report);
            let _ = engine.conn.send_acked(0, &Count { n }, Unsure::Report);
        }
        engine.transmit(usize::MAX);
    }
    let packet = frame(head, bytes.take(255));
    let (front, back) = packet.split_at(usize::from(cut).min(packet.len()));
    engine.feed(front);
    engine.feed(back);
    engine.finish();
}
