//! Figures of a run: what an image takes of time and line. `./ci.sh size` puts them into its table.
//!
//! Between the measurements the board is idle: it executes its clock, so many instructions a second, which is taken off.

mod counter;
mod meter;

use core::time::Duration;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use crate::Setup;
use crate::cast::{Cast, Trust};
use crate::machine::Machine;
use crate::process::Program;
use crate::story::{is_connection, start_gateway, start_service};
use crate::watch::{SOON, Watch};
use counter::Counter;
use meter::Meter;

/// Readings of which each travels alone.
const SINGLE: u64 = 100;
/// Readings as fast as they go.
const MANY: u64 = 1000;
/// So long the idle board is watched.
const IDLE: Duration = Duration::from_secs(1);

/// Measures this image and writes what it has found beside it, as `NAME VALUE` lines in IMAGE.figures.
pub(crate) fn run(image: &str, trust: Trust) {
    let setup = Setup::from_environment();
    let mut run = Run::begin(&setup, image, trust);
    run.connect();
    run.idle();
    run.readings();
    run.rate();
    run.reconnect();
    run.end();
}

/// A moment: time, instructions, and bytes that have passed up and down.
struct Moment {
    time: Instant,
    instructions: u64,
    up: u64,
    down: u64,
}

struct Run {
    image: String,
    meter: Meter,
    counter: Counter,
    watch: Watch,
    station: String,
    machine: Machine,
    _gateway: Program,
    /// Instructions a second of a board with nothing to do.
    idle: f64,
    figures: Vec<(&'static str, u64)>,
    path: PathBuf,
}

impl Run {
    fn begin(setup: &Setup, image: &str, trust: Trust) -> Self {
        let cast = Cast::new(setup.scratch.join(format!("{image} measured")), trust);
        let (service, at) = start_service(setup, image, &cast, trust);
        let counter = Counter::new(setup.plugin.as_deref(), cast.folder().join("instructions"));
        let meter = Meter::to(at, counter.clone());
        let (page, station) = cast.page("station a");
        let (gateway, line) = start_gateway(setup, image, meter.address());
        let reports = cast.folder().join("reports");
        let arguments = counter.arguments();
        let machine = Machine::start_with(setup, image, Some(&page), line, reports, &arguments);
        Self {
            image: image.to_owned(),
            meter,
            counter,
            watch: Watch::new(service),
            station,
            machine,
            _gateway: gateway,
            idle: 0.0,
            figures: Vec::new(),
            path: setup.firmware.join(format!("{image}.figures")),
        }
    }

    fn note(&mut self, name: &'static str, value: u64) {
        println!("{}: {name} {value}", self.image);
        self.figures.push((name, value));
    }

    fn moment(&self) -> Moment {
        let passed = self.meter.passed();
        Moment {
            time: Instant::now(),
            instructions: self.counter.read(),
            up: passed.up,
            down: passed.down,
        }
    }

    /// Instructions since this moment, without those of the clock.
    fn work(&self, since: Instant, instructions: u64) -> u64 {
        let all = (self.counter.read() - instructions) as f64;
        (all - self.idle * since.elapsed().as_secs_f64()).max(0.0) as u64
    }

    /// The first connection: until the first reading and the first alarm are dealt with.
    fn connect(&mut self) {
        self.watch.alarms(&self.station, "Started", 1);
        self.watch.connection(&self.station, 1);
        self.machine
            .expect("connection", SOON, |line| is_connection(line).then_some(()));
        let passed = self.meter.quiet();
        self.note("connect", passed.bytes());
    }

    fn idle(&mut self) {
        self.watch.tell(&self.station, "interval 0");
        self.meter.quiet();
        let before = self.moment();
        thread::sleep(IDLE);
        let all = self.counter.read() - before.instructions;
        self.idle = all as f64 / before.time.elapsed().as_secs_f64();
    }

    /// Readings that travel one by one.
    fn readings(&mut self) {
        self.watch.tell(&self.station, "interval 20");
        let before = self.next(1);
        let after = self.next(SINGLE);
        self.note("reading", (after.up - before.up + after.down - before.down) / SINGLE);
        let all = (after.instructions - before.instructions) as f64;
        let clock = self.idle * (after.time - before.time).as_secs_f64();
        self.note("message", ((all - clock).max(0.0) / SINGLE as f64) as u64);
    }

    /// The moment at which so many more readings have come.
    fn next(&mut self, count: u64) -> Moment {
        let last = self.watch.of(&self.station).last.map_or(0, |last| last.number);
        self.watch.expect("readings", &self.station, |_, heard| {
            heard.last.filter(|reading| reading.number >= last + count)
        });
        self.moment()
    }

    fn rate(&mut self) {
        self.watch.tell(&self.station, "interval 1");
        let before = self.next(1);
        let after = self.next(MANY);
        let seconds = (after.time - before.time).as_secs_f64();
        self.note("rate", (MANY as f64 / seconds) as u64);
    }

    /// A connection that goes on with the session: until the alarm of the cut is dealt with. No reading is under way.
    fn reconnect(&mut self) {
        self.watch.tell(&self.station, "interval 0");
        self.meter.quiet();
        let connections = self.meter.connections();
        self.meter.cut();
        self.machine
            .expect("connection", SOON, |line| is_connection(line).then_some(()));
        self.watch.alarms(&self.station, "Offline", 1);
        assert_eq!(self.meter.connections(), connections + 1, "at the first attempt");
        let passed = self.meter.quiet();
        self.note("reconnect", passed.bytes());
        let work = self.work(passed.begun, passed.instructions);
        self.note("handshake", work);
    }

    fn end(mut self) {
        self.watch.service.type_line("reboot");
        let (status, log) = self.machine.wait(SOON);
        assert!(status.success(), "{status}\n{log}");
        let lines = self.figures.iter().map(|(name, value)| format!("{name} {value}\n"));
        fs::write(&self.path, lines.collect::<String>()).expect("written");
    }
}
