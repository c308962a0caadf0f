//! Sessions: each connection of a run has a log of its own, which begins with the session as it was.

use core::time::Duration;
use std::collections::BTreeSet;

use diset_proto::recording::Entries;
use diset_proto::replay::Replay;
use diset_proto::store::{Inbox, Stored, Unsure};
use diset_proto::{
    Admission, ClientConfig, Code, Connection, Deframer, Event, GrowBuf, Identity, Instant, Limits, MessageOf,
    NewReason, Notice, ServiceDef, Session, Token, Trid, Unwelcome,
};

use super::support::{Log, Meter, Random, Reading};
use crate::stores::Shelf;

/// Takes so many messages until they are handled; keeps what it is told some time later.
#[derive(Debug)]
struct Small {
    room: u64,
    last: u64,
    done: u64,
    kept: (u64, u64),
    durable: bool,
}

impl Inbox for Small {
    fn put(&mut self, message: Stored<'_>) -> bool {
        if message.number > self.done + self.room {
            return false;
        }
        self.last = message.number;
        true
    }

    fn done_through(&mut self, number: u64) {
        self.done = number;
    }

    fn begin_anew(&mut self, _: Trid) {
        (self.last, self.done, self.kept) = (0, 0, (0, 0));
    }

    fn kept(&self) -> (u64, u64) {
        self.kept
    }

    fn is_durable(&self) -> bool {
        self.durable
    }
}

type Kept = Session<Shelf, Small>;
type Conn = Connection<GrowBuf, Option<Box<Kept>>>;

/// A side with its connection, what reads for it, and the logs of all its connections.
struct Side {
    conn: Conn,
    rx: Deframer<GrowBuf>,
    held: Vec<diset_proto::Held>,
    logs: Vec<Log>,
}

struct Run {
    seed: u64,
    random: Random,
    client: Side,
    service: Side,
    away: Option<Box<Kept>>,
    trid: u64,
    now: u64,
}

fn session(random: &mut Random) -> Box<Kept> {
    let inbox = Small {
        room: 2 + random.below(40),
        last: 0,
        done: 0,
        kept: (0, 0),
        durable: random.one_in(2),
    };
    let mut messages = Shelf::new(2 + random.below(20) as usize, 4000);
    messages.kept = 0;
    Box::new(Session::new(messages, inbox))
}

fn side(mut conn: Conn) -> Side {
    let log = Log::default();
    conn.record(Box::new(log.clone())).unwrap();
    Side {
        conn,
        rx: Deframer::new(GrowBuf::new(100_000)),
        held: Vec::new(),
        logs: vec![log],
    }
}

fn client(now: u64, session: Option<Box<Kept>>) -> Conn {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    let now = Instant::from_millis(now);
    Connection::client_in_session(now, &config, GrowBuf::new(3000), session).unwrap()
}

fn service(now: u64) -> Conn {
    let now = Instant::from_millis(now);
    Connection::service(now, Meter::CATALOG, Limits::SERVER, GrowBuf::new(3000))
        .unwrap()
        .with_sessions(None)
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let first = session(&mut random);
        Self {
            seed,
            random,
            client: side(client(1000, Some(first))),
            service: side(service(1000)),
            away: None,
            trid: 0,
            now: 1000,
        }
    }

    /// Both stores keep what they have.
    fn keep(conn: &mut Conn) {
        if let Some(session) = conn.session_mut() {
            session.replay_mut().kept = session.replay().last;
            let inbox = session.inbox_mut();
            inbox.kept = (inbox.last, inbox.done);
        }
    }

    fn act(&mut self) {
        let Self { random, now, .. } = self;
        *now += random.below(40);
        let side = if random.one_in(2) {
            &mut self.client
        } else {
            &mut self.service
        };
        let conn = &mut side.conn;
        let unsure = [Unsure::Report, Unsure::Resend][random.below(2) as usize];
        let message = Reading {
            value: random.below(1000) as u32,
            text: "y".repeat(random.below(200) as usize),
        };
        let number = <Reading as MessageOf<Meter>>::NUMBER;
        match random.below(16) {
            0..5 => drop(conn.send_acked(number, &message, unsure)),
            5 => drop(conn.send(number, &message)),
            6 => drop(conn.skip_oldest()),
            7 => drop(conn.take_outcome()),
            8 => drop(conn.announce_next_key([7; 32], Duration::from_secs(60))),
            9 => {
                // Past the connection.
                if let Some(session) = conn.session_mut() {
                    let _ = session.store(Meter::CATALOG, number, &message, unsure);
                }
            }
            10 => side.held.drain(..).for_each(|held| conn.release(held)),
            11..14 => Self::keep(conn),
            _ => {}
        }
    }

    fn transmit(random: &mut Random, side: &mut Side) -> Vec<u8> {
        let bytes = side.conn.transmit();
        let count = match random.below(3) {
            0 => random.below(bytes.len() as u64 + 1) as usize,
            _ => bytes.len(),
        };
        let bytes = bytes[..count].to_vec();
        side.conn.transmitted(count);
        bytes
    }

    fn turn(&mut self) {
        let bytes = Self::transmit(&mut self.random, &mut self.client);
        self.read_service(&bytes);
        let bytes = Self::transmit(&mut self.random, &mut self.service);
        self.read_client(&bytes);
        for side in [&mut self.client, &mut self.service] {
            if side.conn.wake().is_some_and(|wake| wake.as_millis() <= self.now) {
                drop(side.conn.handle_time(Instant::from_millis(self.now)));
            }
        }
    }

    fn read_service(&mut self, mut bytes: &[u8]) {
        let now = Instant::from_millis(self.now);
        let Side { conn, rx, held, .. } = &mut self.service;
        conn.handle_received(now);
        while let Some(frame) = rx.next(&mut bytes, conn.max_frame()) {
            let frame = match conn.take_message(frame) {
                Ok(message) => {
                    conn.begin(message.number_in_session().unwrap_or_default());
                    held.push(message.held());
                    continue;
                }
                Err(frame) => frame,
            };
            match conn.handle_frame(now, frame) {
                Some(Event::Proposed(_)) => {
                    self.trid += 1;
                    let trid = Trid::new(self.trid);
                    let request = conn.resume_request().unwrap().clone();
                    let token = Token::from_bytes([self.trid as u8; 16]);
                    let mut session = self.away.take().unwrap_or_else(|| session(&mut self.random));
                    if let Err(unwelcome) = session.welcome(&request, trid, true, token) {
                        // The rightful one stays away: it is lost here, to keep the run short.
                        session = super::sessions::session(&mut self.random);
                        let why = match unwelcome {
                            Unwelcome::Passing(why) => why,
                            Unwelcome::Refused(_) => NewReason::NoRoom,
                        };
                        session.begin_with(&request, trid, why, None);
                    }
                    let admission = Admission::new(trid);
                    drop(conn.accept_in_session(now, admission, Some(session)));
                }
                Some(Event::Message(message)) => settle(&mut self.random, conn, held, message),
                Some(Event::NextKey(hash, lasts)) => conn.next_key_remembered(hash, lasts).unwrap(),
                _ => {}
            }
        }
    }

    fn read_client(&mut self, mut bytes: &[u8]) {
        let now = Instant::from_millis(self.now);
        let Side { conn, rx, held, .. } = &mut self.client;
        conn.handle_received(now);
        while let Some(frame) = rx.next(&mut bytes, conn.max_frame()) {
            if let Some(Event::Message(message)) = conn.handle_frame(now, frame) {
                settle(&mut self.random, conn, held, message);
            }
        }
    }

    /// The transport breaks; both begin anew, with their sessions or without.
    fn reconnect(&mut self) {
        drop(self.client.conn.handle_eof());
        drop(self.service.conn.handle_eof());
        self.away = self.service.conn.take_session().or_else(|| self.away.take());
        if self.random.one_in(10) {
            self.away = None;
        }
        let mut kept = self.client.conn.take_session();
        if self.random.one_in(10) {
            kept = Some(session(&mut self.random));
        }
        let next = side(client(self.now, kept));
        let before = core::mem::replace(&mut self.client, next);
        self.client.logs.splice(0..0, before.logs);
        let before = core::mem::replace(&mut self.service, side(service(self.now)));
        self.service.logs.splice(0..0, before.logs);
    }

    /// Replays all logs, and notes what kinds of entries there are.
    fn check(&self, kinds: &mut BTreeSet<String>) {
        for (name, side) in [("client", &self.client), ("service", &self.service)] {
            for (number, log) in side.logs.iter().enumerate() {
                let log = log.bytes();
                if let Err(error) = Replay::of::<Meter>(&log).and_then(Replay::run) {
                    panic!("seed {}, {name}, connection {number}: {error}", self.seed);
                }
                for logged in Entries::new(&log).unwrap() {
                    let shown = format!("{:?}", logged.unwrap().entry);
                    let kind = shown.split(|character: char| !character.is_alphabetic()).next();
                    kinds.insert(kind.unwrap().to_owned());
                }
            }
        }
    }
}

/// Decodes, keeps, or refuses a message.
fn settle(
    random: &mut Random,
    conn: &mut Conn,
    held: &mut Vec<diset_proto::Held>,
    message: diset_proto::MessageRef<'_>,
) {
    match random.below(60) {
        0 => conn.reject(message, Code::HandlerFailed, "no"),
        1 => conn.disconnect(Notice::new(Code::Done)),
        2 => {
            let kept = conn.keep(message);
            drop(conn.decode::<Reading>(kept.message()));
        }
        3..20 => {
            if let Ok((_, more)) = conn.decode_held::<Reading>(message) {
                held.push(more);
            }
        }
        _ => drop(conn.decode::<Reading>(message)),
    }
}

#[test]
fn sessions_replay_across_reconnects() {
    let mut kinds = BTreeSet::new();
    for seed in 0..150 {
        let mut run = Run::new(seed);
        for _ in 0..200 {
            run.act();
            run.turn();
            if run.random.one_in(30) {
                run.reconnect();
            }
        }
        run.check(&mut kinds);
    }
    let kinds: Vec<_> = kinds.iter().map(String::as_str).collect();
    let all = "Accept Begin Decoded Disconnect Eof Fail Frame Keep Kept NextKey NoRoom Offered Received Release Send \
               SendAcked Session SkipOldest Started Stored TakeOutcome TakeSession Time Transmit Transmitted";
    assert_eq!(kinds, all.split_whitespace().collect::<Vec<_>>());
}
