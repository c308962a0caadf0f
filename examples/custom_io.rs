//! The engine on a transport of your own: blocking threads, no async runtime. A sensor (client) and its station (service)
//! talk over a Unix socket pair, and then, with the same function `drive`, over a simulated serial line that flips and
//! drops bytes. docs/EMBEDDING.md explains each step.
//!
//! ```sh
//! cargo run --example custom_io
//! ```

use core::error::Error;
use core::num::NonZeroU32;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant as StdInstant;

use diset_examples::println;
use diset_proto::drive::{Event, Io, NoQueue, Parts, Rx, Tx};
use diset_proto::serial::MAX_PAYLOAD;
use diset_proto::{
    Admission, ClientConfig, Code, Identity, Instant, Limits, LineEvent, MessageOf, Misuse, NoSession, Notice, Phase,
    Reconnect, ReconnectPolicy, Retry, Schema, SerialLine, ServiceDef, Trid, define_service,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Schema)]
struct Reading {
    sensor: u8,
    value: f32,
}
#[derive(Serialize, Deserialize, Schema)]
struct SetInterval {
    ms: u32,
}
define_service! { Station = "Weather/Station"; from_client: [Reading], from_service: [SetInterval] }

// ── The driving code ────────────────────────────────────────────────────────────────────────────────────────────────

/// What the two halves are made of, on either side: buffers on the stack; each message is handled at once.
struct Small;
impl Parts for Small {
    type Buffer = [u8; 1028];
    type Session = NoSession;
    type Queue = NoQueue;
    type Running = ();
}

/// Both, made once, for one transport after the other.
struct Halves {
    rx: Rx<Small>,
    tx: Tx<Small>,
}

impl Halves {
    fn new() -> Self {
        Self {
            rx: Rx::new([0; 1028], NoQueue),
            tx: Tx::new([0; 1028], NoSession),
        }
    }
}

/// Anything that moves bytes in order and shows its end.
trait Transport {
    /// Takes some of `bytes`, perhaps none. Called in each turn, also with nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Waits at most so long for bytes.
    fn read(&mut self, wait: Duration, buffer: &mut [u8]) -> io::Result<Input>;
    /// Nothing more will be written.
    fn finish(&mut self) -> io::Result<()>;
}

enum Input {
    /// From a serial line only.
    Opened,
    Bytes(usize),
    Nothing,
    End,
}

/// What the two programs do on top.
trait App {
    /// Also says whether to admit a client that has proposed. A message that it does not handle ends the link.
    fn on_event(&mut self, tx: &mut Tx<Small>, event: Event<'_, Small>) -> Option<Admission>;
    /// Each turn: time to send something.
    fn on_turn(&mut self, _: &mut Tx<Small>) {}
}

/// Drives one link, of either side, to its end. This is all that a transport of your own needs.
fn drive(Halves { rx, tx }: &mut Halves, transport: &mut impl Transport, app: &mut impl App) {
    let mut buffer = [0; 512];
    let mut finished = false;
    loop {
        app.on_turn(tx);
        let turn = rx.turn(now(), tx);
        // What is not taken waits. A write that fails is no reason to stop: what the peer said last may still come.
        let written = transport.write(tx.output()).unwrap_or(0);
        tx.wrote(written);
        if written > 0 {
            continue; // That may have been the last of it.
        }
        match turn.io {
            Io::Finish if !finished => finished = transport.finish().is_ok(),
            Io::Run | Io::Finish => {}
            Io::Over => break drop(transport.finish()),
        }
        // Until there is something, or the next turn must come.
        let wait = turn.wake.map_or(TURN, |wake| wake.since(now()).min(TURN));
        let read = transport.read(wait, &mut buffer).unwrap_or(Input::End);
        if matches!(read, Input::End) {
            rx.ended(now(), tx);
        }
        let count = if let Input::Bytes(count) = read { count } else { 0 };
        let mut input = &buffer[..count];
        while let Some(event) = rx.next(now(), tx, &mut input) {
            if let Some(admission) = app.on_event(tx, event) {
                rx.admit(now(), tx, admission).expect("a client is admitted once");
            }
        }
    }
    while let Some(event) = rx.next(now(), tx, &mut &[][..]) {
        app.on_event(tx, event);
    }
}

/// The longest turn: the sensor wants to send something now and then.
const TURN: Duration = Duration::from_millis(5);

/// Milliseconds since the first call.
fn now() -> Instant {
    static START: std::sync::OnceLock<StdInstant> = std::sync::OnceLock::new();
    let millis = START.get_or_init(StdInstant::now).elapsed().as_millis();
    Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

// ── First transport: a socket ───────────────────────────────────────────────────────────────────────────────────────

impl Transport for UnixStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It may block: what the credit of the peer allows to be under way fits into the buffer of a socket.
        Write::write(self, bytes)
    }

    fn read(&mut self, wait: Duration, buffer: &mut [u8]) -> io::Result<Input> {
        self.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match Read::read(self, buffer) {
            Ok(0) => Ok(Input::End),
            Ok(count) => Ok(Input::Bytes(count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Input::Nothing),
            Err(error) => Err(error),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

// ── Second transport: a serial line ─────────────────────────────────────────────────────────────────────────────────

static FLIPPED: AtomicU32 = AtomicU32::new(0);
static DROPPED: AtomicU32 = AtomicU32::new(0);
static BROKEN: AtomicU32 = AtomicU32::new(0);

/// One end of a line that damages about one byte in a thousand.
struct NoisyWire {
    stream: UnixStream,
    chance: u64,
}

impl NoisyWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut damaged = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match self.chance >> 52 {
                0..2 => count(&DROPPED),
                2..4 => {
                    count(&FLIPPED);
                    damaged.push(byte ^ 0x10);
                }
                _ => damaged.push(byte),
            }
        }
        self.stream.write_all(&damaged)
    }
}

/// The wire in its wrapper.
struct Serial {
    wire: NoisyWire,
    line: SerialLine,
    raw: [u8; 256],
    /// What of `raw` has not been looked at.
    rest: Range<usize>,
}

impl Serial {
    fn new(line: SerialLine, stream: UnixStream, chance: u64) -> Self {
        Self {
            wire: NoisyWire { stream, chance },
            line,
            raw: [0; 256],
            rest: 0..0,
        }
    }

    /// Client: opens the line, however often that takes.
    fn open(&mut self, nonce: NonZeroU32) -> Result<(), Box<dyn Error>> {
        loop {
            self.line.open(nonce)?;
            if self.wait_open(Duration::from_millis(50))? {
                return Ok(());
            }
        }
    }

    /// Whether the line opens within `span`. A service waits for that only; a client asks for it.
    fn wait_open(&mut self, span: Duration) -> io::Result<bool> {
        let end = now().after(span);
        while now() < end {
            Transport::write(self, b"")?;
            if matches!(self.next(TURN, &mut [])?, Input::Opened) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next thing that comes over the line. Bytes are copied, so that the line can be used meanwhile.
    fn next(&mut self, wait: Duration, buffer: &mut [u8]) -> io::Result<Input> {
        if self.rest.is_empty() {
            match Transport::read(&mut self.wire.stream, wait, &mut self.raw)? {
                Input::Bytes(count) => self.rest = 0..count,
                Input::Opened | Input::Nothing => return Ok(Input::Nothing),
                Input::End => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
        let mut input = &self.raw[self.rest.clone()];
        let next = match self.line.next(&mut input) {
            None => Input::Nothing,
            Some(LineEvent::Opened) => Input::Opened,
            Some(LineEvent::Data(bytes)) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Input::Bytes(bytes.len())
            }
            Some(LineEvent::Ended) => Input::End,
            Some(LineEvent::Broken) => {
                count(&BROKEN);
                Input::End
            }
        };
        self.rest.start = self.rest.end - input.len();
        Ok(next)
    }
}

impl Transport for Serial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = [0; 512];
        let done = self.line.transmit(bytes, &mut out);
        self.wire.write(&out[..done.written])?;
        Ok(done.taken)
    }

    fn read(&mut self, wait: Duration, buffer: &mut [u8]) -> io::Result<Input> {
        const { assert!(MAX_PAYLOAD <= 512, "the buffer of `drive` takes what comes at once") };
        if !self.line.is_open() {
            // Closed by this side, or broken.
            return Ok(Input::End);
        }
        self.next(wait, buffer)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.line.close();
        Transport::write(self, b"").map(drop)
    }
}

// ── The two programs ────────────────────────────────────────────────────────────────────────────────────────────────

/// The client: measures, as often as it is told.
struct Sensor {
    measured: u16,
    enough: u16,
    interval: u64,
    next: Instant,
    told: u32,
    reconnect: Reconnect,
    retry: Option<Retry>,
    end: String,
}

impl Sensor {
    fn new(enough: u16) -> Self {
        let policy = ReconnectPolicy {
            base: Duration::from_millis(10),
            max: Duration::from_millis(50),
            ..ReconnectPolicy::DEFAULT
        };
        Self {
            measured: 0,
            enough,
            interval: 1,
            next: Instant::ZERO,
            told: 0,
            // A real client takes the seed from a random number generator.
            reconnect: Reconnect::new(policy, 7),
            retry: None,
            end: String::new(),
        }
    }
}

impl App for Sensor {
    fn on_event(&mut self, tx: &mut Tx<Small>, event: Event<'_, Small>) -> Option<Admission> {
        match event {
            Event::Connected(_) => {
                self.reconnect.connected(now());
                self.next = now();
            }
            Event::Message(message) => message.run(|set: SetInterval| {
                self.told += 1;
                self.interval = u64::from(set.ms);
                Ok(())
            }),
            Event::Ended(ended) => {
                let unconfirmed = tx.connection().unconfirmed();
                self.end = format!("{}; {unconfirmed} messages not confirmed", ended.cause());
                self.retry = Some(self.reconnect.dropped(now(), ended.cause()));
            }
            _ => {}
        }
        None
    }

    fn on_turn(&mut self, tx: &mut Tx<Small>) {
        let (phase, is_open) = (tx.connection().phase(), tx.connection().trid().is_some());
        while is_open && self.next <= now() && self.measured < self.enough {
            if tx.send(Reading::NUMBER, &reading(self.measured)).is_err() {
                // No room or no credit now: in a later turn.
                return;
            }
            self.measured += 1;
            self.next = self.next.after(Duration::from_millis(self.interval));
        }
        if self.measured == self.enough && phase == Phase::Open {
            // In order: everything that was sent is handled before the link ends.
            let _ = tx.go_away(now(), Notice::new(Code::Done), Duration::from_secs(1));
        }
    }
}

/// What is measured as number `count`. So a wrong message is seen to be one.
fn reading(count: u16) -> Reading {
    Reading {
        sensor: count.to_le_bytes()[0],
        value: f32::from(count) / 4.0,
    }
}

/// The service: counts, and changes the interval after each hundred.
#[derive(Default)]
struct Counter {
    next_trid: u64,
    handled: u32,
    wrong: u32,
    last: Option<f32>,
}

impl App for Counter {
    fn on_event(&mut self, tx: &mut Tx<Small>, event: Event<'_, Small>) -> Option<Admission> {
        match event {
            Event::Proposed(_) => {
                self.next_trid += 1;
                return Some(Admission::new(Trid::new(self.next_trid)));
            }
            // The handler sends while it holds the message.
            Event::Message(message) => message.run(|Reading { sensor, value }| {
                // Some may be lost with a line; none comes twice, late or changed.
                let right = reading((value * 4.0) as u16);
                let right = right.sensor == sensor && right.value == value;
                self.wrong += u32::from(!right || self.last.is_some_and(|last| value <= last));
                self.last = Some(value);
                self.handled += 1;
                if self.handled.is_multiple_of(100) {
                    let ms = 1 + self.handled / 100 % 2;
                    let _ = tx.send(SetInterval::NUMBER, &SetInterval { ms });
                }
                Ok(())
            }),
            _ => {}
        }
        None
    }
}

/// Frames of 512 bytes, and silences that are noticed soon.
const LIMITS: Limits = Limits::CHIP
    .with_max_silence(Duration::from_millis(400))
    .with_handshake(Duration::from_millis(400));

/// A link of the sensor, on a new transport.
fn run_client(halves: &mut Halves, transport: &mut impl Transport, sensor: &mut Sensor) -> Result<(), Misuse> {
    let config = ClientConfig {
        catalog: Station::CATALOG,
        identity: Identity::from_bytes(*b"sensor 000000017"),
        limits: LIMITS,
        args: &[],
    };
    halves.rx.connect(now(), &mut halves.tx, &config)?;
    drive(halves, transport, sensor);
    Ok(())
}

/// A link of the station.
fn run_service(halves: &mut Halves, transport: &mut impl Transport, counter: &mut Counter) -> Result<(), Misuse> {
    let limits = LIMITS.with_max_frame(1024).with_credit(4096, 64);
    halves.rx.listen(now(), &mut halves.tx, Station::CATALOG, limits)?;
    drive(halves, transport, counter);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    diset_examples::no_options("The engine on a transport of your own: a socket pair, and a noisy serial line.");
    over_a_socket()?;
    over_a_serial_line()
}

fn over_a_socket() -> Result<(), Box<dyn Error>> {
    let (mut here, mut there) = UnixStream::pair()?;
    let serving = thread::spawn(move || {
        let mut counter = Counter::default();
        run_service(&mut Halves::new(), &mut there, &mut counter)?;
        Ok::<_, Misuse>(counter)
    });
    let mut sensor = Sensor::new(500);
    run_client(&mut Halves::new(), &mut here, &mut sensor)?;
    let counter = serving.join().map_err(|_| "the service panicked")??;
    println!("socket   end: {}", sensor.end);
    let (handled, wrong, told, measured) = (counter.handled, counter.wrong, sensor.told, sensor.measured);
    println!("socket   {handled} of {measured} readings handled, {wrong} wrong; interval set {told} times");
    if handled != u32::from(measured) || wrong > 0 {
        return Err("a socket loses nothing".into());
    }
    Ok(())
}

fn over_a_serial_line() -> Result<(), Box<dyn Error>> {
    let (here, there) = UnixStream::pair()?;
    let serving = thread::spawn(move || {
        let (mut halves, mut counter) = (Halves::new(), Counter::default());
        let mut serial = Serial::new(SerialLine::service(), there, 1);
        // Until the wire itself is gone; a line that breaks is opened again by the client.
        while let Ok(opened) = serial.wait_open(Duration::from_secs(1)) {
            if opened {
                run_service(&mut halves, &mut serial, &mut counter)?;
            }
        }
        Ok::<_, Misuse>(counter)
    });

    let mut serial = Serial::new(SerialLine::client(), here, 2);
    let (mut halves, mut sensor) = (Halves::new(), Sensor::new(2000));
    // A real client takes it from a random number generator, or goes on counting after a restart.
    let mut nonce = NonZeroU32::MIN;
    let stop = now().after(Duration::from_secs(8));
    while sensor.measured < sensor.enough && now() < stop {
        serial.open(nonce)?;
        let began = now();
        run_client(&mut halves, &mut serial, &mut sensor)?;
        let end = &sensor.end;
        println!(
            "serial   opened at {:>4} ms, nonce {nonce:>2}; end: {end}",
            began.as_millis()
        );
        nonce = nonce.checked_add(1).ok_or("out of nonces")?;
        match sensor.retry.take() {
            Some(Retry::At(when)) => thread::sleep(when.since(now())),
            Some(Retry::Never) | None => break,
        }
    }
    drop(serial);
    let counter = serving.join().map_err(|_| "the service panicked")??;
    let [flipped, dropped, broken] = [&FLIPPED, &DROPPED, &BROKEN].map(|count| count.load(Ordering::Relaxed));
    println!("serial   {flipped} bytes flipped, {dropped} dropped, {broken} times found broken");
    let (handled, wrong, links, measured) = (counter.handled, counter.wrong, counter.next_trid, sensor.measured);
    println!("serial   {handled} of {measured} readings handled on {links} links, {wrong} wrong");
    if wrong > 0 || broken == 0 || handled < 1000 {
        return Err("that is not what a noisy line should come to".into());
    }
    Ok(())
}

fn count(counter: &AtomicU32) {
    counter.fetch_add(1, Ordering::Relaxed);
}
