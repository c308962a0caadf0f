//! Two engines over a line that flips, loses and invents bytes, on a virtual clock: broken lines are found, the client
//! comes back, and what is handled is what was sent, in order.

use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::VecDeque;

use diset_proto::drive::{Event, Io};
use diset_proto::sim::Halves;
use diset_proto::{
    Admission, Cause, ClientConfig, Identity, Instant, Limits, LineEvent, MessageOf, NoSession, Reconnect,
    ReconnectPolicy, Retry, Schema, SerialLine, ServiceDef, Trid, define_service,
};
use serde::{Deserialize, Serialize};

use super::support::Chance;

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Reading {
    number: u32,
    text: String,
}
define_service! { Sensors = "Test/Sensors"; both: [Reading] }

const READING: u8 = <Reading as MessageOf<Sensors>>::NUMBER;
const LIMITS: Limits = Limits::CHIP
    .with_max_silence(Duration::from_secs(2))
    .with_handshake(Duration::from_secs(2));
/// 115200 baud.
const BYTES_PER_MS: usize = 12;
const NOISY: u64 = 20_000;
const CLEAN: u64 = 10_000;

/// What message `number` says: anyone who changes it is found.
fn reading(number: u32) -> Reading {
    let mut chance = Chance(u64::from(number));
    let length = chance.below(90);
    let text = (0..length).map(|_| char::from(b'a' + chance.byte() % 26)).collect();
    Reading { number, text }
}

/// One direction of the line.
struct Wire {
    bytes: VecDeque<u8>,
    /// One byte of so many is hit.
    one_in: usize,
    hits: u32,
}

impl Wire {
    fn carry(&mut self, chance: &mut Chance) -> Vec<u8> {
        let mut came = Vec::new();
        for _ in 0..BYTES_PER_MS {
            let Some(byte) = self.bytes.pop_front() else { break };
            if self.one_in == 0 || chance.below(self.one_in) > 0 {
                came.push(byte);
                continue;
            }
            self.hits += 1;
            match chance.below(4) {
                0 => {}
                1 => came.extend([byte, chance.byte()]),
                2 => {
                    // A burst swallows what is behind, whole packets perhaps.
                    let swallowed = chance.below(300).min(self.bytes.len());
                    self.bytes.drain(..swallowed);
                }
                _ => came.push(byte ^ (1 << chance.below(8))),
            }
        }
        came
    }
}

/// What went and what came on one connection, by its trid; a client's that never opened has none.
#[derive(Default)]
struct Record {
    sent: Vec<u32>,
    got: Vec<u32>,
}

struct End {
    line: SerialLine,
    begin: fn(Instant) -> Halves,
    engine: Option<Halves>,
    records: Vec<(Trid, Record)>,
    next_number: u32,
    breaks: u32,
    cause: Option<Cause>,
    out: VecDeque<u8>,
}

impl End {
    fn client() -> Self {
        Self::new(SerialLine::client(), client_engine)
    }

    fn service() -> Self {
        Self::new(SerialLine::service(), service_engine)
    }

    fn new(line: SerialLine, begin: fn(Instant) -> Halves) -> Self {
        Self {
            line,
            begin,
            engine: None,
            records: Vec::new(),
            next_number: 0,
            breaks: 0,
            cause: None,
            out: VecDeque::new(),
        }
    }

    fn open(&self) -> Option<Trid> {
        self.engine.as_ref().and_then(|conn| conn.trid())
    }

    fn record(&mut self, trid: Trid) -> &mut Record {
        if self.records.last().is_none_or(|(last, _)| *last != trid) {
            self.records.push((trid, Record::default()));
        }
        &mut self.records.last_mut().unwrap().1
    }

    /// Sends a message when there is a connection with room.
    fn say(&mut self) {
        let Some(conn) = &mut self.engine else { return };
        let Some(trid) = conn.trid() else { return };
        if conn.send(READING, &reading(self.next_number)).is_ok() {
            let number = self.next_number;
            self.next_number += 1;
            self.record(trid).sent.push(number);
        }
    }

    /// True when the line has opened, and a new engine has begun.
    fn read(&mut self, now: Instant, came: &[u8]) -> bool {
        let mut opened = false;
        let mut input = came;
        let mut got = Vec::new();
        while let Some(event) = self.line.next(&mut input) {
            match event {
                LineEvent::Opened => {
                    // At once: what follows in the same input is for the new one.
                    self.engine = Some((self.begin)(now));
                    opened = true;
                }
                LineEvent::Ended | LineEvent::Broken => {
                    self.breaks += u32::from(event == LineEvent::Broken);
                    if let Some(mut conn) = self.engine.take() {
                        conn.lose();
                        self.cause = end(&mut conn).or_else(|| self.cause.take());
                    }
                }
                LineEvent::Data(mut bytes) => {
                    let Some(conn) = &mut self.engine else {
                        continue;
                    };
                    conn.now = now;
                    while let Some(event) = conn.next(&mut bytes) {
                        match event {
                            Event::Proposed(_) => {
                                let trid = Trid::new(now.as_millis());
                                conn.accept(now, Admission::new(trid)).unwrap();
                            }
                            Event::Message(message) => {
                                let (said, handling) = message.decode::<Reading>().unwrap();
                                handling.done(Ok(()));
                                assert_eq!(said, reading(said.number), "a wrong message");
                                got.push((conn.trid().unwrap(), said.number));
                            }
                            Event::Ended(ended) => self.cause = Some(ended.cause().clone()),
                            _ => {}
                        }
                    }
                }
            }
        }
        for (trid, number) in got {
            self.record(trid).got.push(number);
        }
        opened
    }

    fn write(&mut self, now: Instant) {
        let mut out = [0; 600];
        let mut over = false;
        if let Some(conn) = &mut self.engine {
            conn.now = now;
            let turn = conn.turn();
            over = turn.io != Io::Run;
            // What the line has not taken yet waits in the engine.
            if self.out.len() < 300 {
                let done = self.line.transmit(conn.tx.output(), &mut out);
                conn.transmitted(done.taken);
                self.out.extend(&out[..done.written]);
            }
            if over {
                conn.lose();
            }
            if over || turn.wake.is_some_and(|wake| wake <= now) {
                self.cause = end(conn).or_else(|| self.cause.take());
            }
        }
        if over {
            self.engine = None;
            self.line.close();
        }
        let done = self.line.transmit(b"", &mut out);
        self.out.extend(&out[..done.written]);
    }
}

/// Why it has ended, if that is to be told.
fn end(conn: &mut Halves) -> Option<Cause> {
    let mut cause = None;
    conn.feed(&[], |_, event| {
        if let Event::Ended(ended) = event {
            cause = Some(ended.cause().clone());
        }
    });
    cause
}

fn client_engine(now: Instant) -> Halves {
    let config = ClientConfig {
        catalog: Sensors::CATALOG,
        identity: Identity::from_bytes([7; 16]),
        limits: LIMITS,
        args: &[],
    };
    let mut client = Halves::new(now, &LIMITS, 1024, NoSession);
    client.connect(&config).unwrap();
    client
}

fn service_engine(now: Instant) -> Halves {
    let limits = LIMITS.with_max_frame(1024).with_credit(2048, 32);
    let mut service = Halves::new(now, &limits, 1024, NoSession);
    service.listen(Sensors::CATALOG, limits).unwrap();
    service
}

struct Totals {
    hits: u32,
    breaks: u32,
    connections: usize,
    sent: usize,
    got: usize,
}

fn run(seed: u64) -> Totals {
    let mut chance = Chance(seed);
    let one_in = [200, 1_000, 5_000, 20_000][chance.below(4)];
    let wire = || Wire {
        bytes: VecDeque::new(),
        one_in,
        hits: 0,
    };
    let (mut up, mut down) = (wire(), wire());
    let (mut client, mut service) = (End::client(), End::service());
    let policy = ReconnectPolicy {
        base: Duration::from_millis(100),
        max: Duration::from_secs(1),
        ..ReconnectPolicy::DEFAULT
    };
    let mut reconnect = Reconnect::new(policy, seed);
    // A client that is not connected opens the line at `dial`, and repeats that every 300 ms.
    let (mut nonce, mut dial, mut trid) = (NonZeroU32::MIN, Some(Instant::ZERO), None);

    for now in (0..NOISY + CLEAN).map(Instant::from_millis) {
        if now.as_millis() == NOISY {
            (up.one_in, down.one_in) = (0, 0);
        }
        if dial.is_some_and(|dial| dial <= now) {
            client.line.open(nonce).unwrap();
            dial = Some(now.after(Duration::from_millis(300)));
        }
        for end in [&mut client, &mut service] {
            if chance.below(20) == 0 {
                end.say();
            }
            end.write(now);
        }
        up.bytes.extend(client.out.drain(..));
        down.bytes.extend(service.out.drain(..));

        if client.read(now, &down.carry(&mut chance)) {
            dial = None;
        }
        if client.open().is_some() && client.open() != trid {
            trid = client.open();
            reconnect.connected(now);
        }
        if client.engine.is_none() && dial.is_none() {
            let cause = client.cause.take().unwrap_or(Cause::Lost);
            let Retry::At(when) = reconnect.dropped(now, &cause) else {
                panic!("seed {seed}: {cause} is permanent")
            };
            dial = Some(when);
            nonce = nonce.checked_add(1).unwrap();
        }

        service.read(now, &up.carry(&mut chance));
    }

    // The last connection, on the line that is clean again, lost nothing but what is under way.
    assert!(
        client.open().is_some() && client.open() == service.open(),
        "seed {seed}: not back"
    );
    judge(seed, &client.records, &service.records);
    judge(seed, &service.records, &client.records);
    let sum = |of: fn(&Record) -> usize| {
        let records = client.records.iter().chain(&service.records);
        records.map(|(_, record)| of(record)).sum()
    };
    Totals {
        hits: up.hits + down.hits,
        breaks: client.breaks + service.breaks,
        connections: client.records.len(),
        sent: sum(|record| record.sent.len()),
        got: sum(|record| record.got.len()),
    }
}

/// On each connection what was handled is a prefix of what was sent, and on the last nearly all.
fn judge(seed: u64, from: &[(Trid, Record)], to: &[(Trid, Record)]) {
    let nothing = Record::default();
    let of = |records: &'_ [(Trid, Record)], trid| records.iter().position(|(of, _)| *of == trid);
    for (trid, record) in to {
        let sent = &of(from, *trid).map_or(&nothing, |at| &from[at].1).sent;
        assert!(
            sent.starts_with(&record.got),
            "seed {seed}, {trid}: {:?} is no prefix of {sent:?}",
            record.got
        );
    }
    let (trid, last) = from.last().unwrap();
    let got = of(to, *trid).map_or(0, |at| to[at].1.got.len());
    assert!(got > 0 && got + 32 >= last.sent.len(), "seed {seed}");
}

/// PROTOCOL W-6, W-8, X-1
#[test]
fn engines_over_a_noisy_line() {
    const SEEDS: u64 = 100;
    let mut all = Totals {
        hits: 0,
        breaks: 0,
        connections: 0,
        sent: 0,
        got: 0,
    };
    for seed in 0..SEEDS {
        let one = run(seed);
        all.hits += one.hits;
        all.breaks += one.breaks;
        all.connections += one.connections;
        all.sent += one.sent;
        all.got += one.got;
    }
    println!(
        "{SEEDS} seeds: {} hits, {} times found broken, {} connections, {} of {} messages handled, none wrong",
        all.hits, all.breaks, all.connections, all.got, all.sent
    );
    assert!(all.breaks > 100 && all.got < all.sent);
}

/// PROTOCOL W-8: the last packet before a pause vanishes without a trace.
#[test]
fn a_lost_tail_is_found_by_the_keep_alives() {
    let (mut client, mut service) = (End::client(), End::service());
    client.line.open(NonZeroU32::MIN).unwrap();
    let mut found = None;
    for now in (0..5_000).map(Instant::from_millis) {
        client.write(now);
        service.write(now);
        if now.as_millis() == 1_300 {
            client.say();
            client.write(now);
            assert!(client.out.len() > 8, "something is lost");
            client.out.clear();
        }
        let (up, down): (Vec<u8>, Vec<u8>) = (client.out.drain(..).collect(), service.out.drain(..).collect());
        service.read(now, &up);
        client.read(now, &down);
        if service.breaks > 0 {
            found = found.or(Some(now.as_millis()));
        }
    }
    let found = found.unwrap();
    println!("lost at 1300 ms, found at {found} ms; silence 2000 ms");
    assert!(found > 1_300 && found <= 1_300 + 2_000);
    assert_eq!(client.cause, Some(Cause::Lost));
    assert!(
        client.engine.is_none() && service.engine.is_none(),
        "the other side is told"
    );
}
