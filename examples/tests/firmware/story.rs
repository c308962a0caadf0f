//! The life of a station, as the service sees it.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use crate::Setup;
use crate::machine::Machine;
use crate::process::Program;
use crate::switch::Switch;

/// What takes no time but that of busy machines.
const SOON: Duration = Duration::from_secs(20);
/// Readings that are counted.
const READINGS: u64 = 1000;

/// The whole story, with this image.
pub(crate) fn play(image: &str) {
    let setup = Setup::from_environment();
    let begun = Instant::now();
    let step = |what: &str| println!("{image}: {:>6.2} s: {what}", begun.elapsed().as_secs_f64());
    let switch = Switch::new();
    let mut station = Watch::start(&setup, image, &switch);
    let gateway = Program::start(
        &format!("{image}, gateway"),
        &setup.programs.join("gateway"),
        &["--listen", "127.0.0.1:0", "--service", &switch.address().to_string()],
    );
    let line = gateway.expect("address", SOON, |line| address("waits for the serial line at ", line));
    let mut machine = Machine::start(&setup, image, line);

    station.alarm("Started");
    assert_eq!(station.reading().connection, 1);
    step("connected; the first alarm and the first reading are there");

    station.readings_arrive(image, READINGS);
    step(&format!("{READINGS} readings, each once and in order"));

    station.service.type_line("blink 3");
    station.expect("blinking", |line| line.ends_with("has blinked 3 times").then_some(()));
    station.service.type_line("interval 20");
    step("it has done what it was told");

    switch.cut();
    station.alarm("Offline");
    station.connection_is(2);
    step("the line was cut; the station is back");

    switch.stall();
    station.alarm("Offline");
    station.connection_is(3);
    step("the line fell silent; the station noticed and is back");

    // In the outage the station raises an alarm, which waits.
    switch.lead_to(None);
    station.service.kill();
    step("the service is killed");
    std::thread::sleep(Duration::from_millis(500));
    station.service = start_service(&setup, image, &switch);
    station.alarm("Offline");
    let reading = station.connection_is(4);
    step(&format!(
        "the service is back, the alarm of the outage has come; {reading:?}"
    ));

    station.service.type_line("reboot");
    let status = machine.wait(SOON);
    assert!(status.success(), "{status}");
    station.expect("an orderly end", |line| {
        line.contains("has gone: went away").then_some(())
    });
    let stack = machine.figure("stack");
    step(&format!(
        "rebooted in order; {stack} bytes of stack were used; {} readings lost",
        station.lost
    ));
    if let Some(log) = machine.log() {
        for said in ["connected", "dropped", "is to reboot"] {
            assert!(log.contains(said), "{said} is not in the log:\n{log}");
        }
    }
}

/// A line of the service about a reading.
#[derive(Debug, Clone, Copy)]
struct Reading {
    number: u64,
    connection: u64,
}

impl Reading {
    fn of(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(" reading ")?;
        let (number, _) = rest.split_once(':')?;
        let (_, connection) = rest.rsplit_once("connection ")?;
        Some(Self {
            number: number.parse().ok()?,
            connection: connection.parse().ok()?,
        })
    }
}

/// The service, and what it has heard.
struct Watch {
    service: Program,
    /// The next alarm.
    alarms: u64,
    last: Option<Reading>,
    lost: u64,
}

impl Watch {
    fn start(setup: &Setup, image: &str, switch: &Switch) -> Self {
        Self {
            service: start_service(setup, image, switch),
            alarms: 0,
            last: None,
            lost: 0,
        }
    }

    /// A line, of which `wanted` makes something. Readings on the way are noted.
    fn expect<T>(&mut self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let (last, lost) = (&mut self.last, &mut self.lost);
        self.service.expect(what, SOON, |line| {
            if let Some(reading) = Reading::of(line) {
                let expected = last.map_or(0, |last| last.number + 1);
                assert!(reading.number >= expected, "{reading:?} comes after {last:?}");
                // On the same connection none is lost.
                let is_same = last.is_none_or(|last| last.connection == reading.connection);
                assert!(
                    !is_same || reading.number == expected,
                    "{reading:?} comes after {last:?}"
                );
                *lost += reading.number - expected;
                *last = Some(reading);
            }
            wanted(line)
        })
    }

    fn reading(&mut self) -> Reading {
        self.expect("reading", Reading::of)
    }

    /// The next alarm is there, once.
    fn alarm(&mut self, kind: &str) {
        let said = format!(" alarm {}: {kind} at ", self.alarms);
        self.expect(&said, |line| {
            let is_alarm = line.contains(" alarm ");
            assert!(!is_alarm || line.contains(&said), "{line}, and not{said}");
            is_alarm.then_some(())
        });
        self.alarms += 1;
    }

    fn connection_is(&mut self, connection: u64) -> Reading {
        self.expect("reading", |line| {
            Reading::of(line).filter(|reading| reading.connection == connection)
        })
    }

    /// A setting shortens the second between readings.
    fn readings_arrive(&mut self, image: &str, count: u64) {
        self.service.type_line("interval 2");
        let begun = Instant::now();
        let from = self.last.map_or(0, |last| last.number);
        self.expect("readings", |line| {
            Reading::of(line).filter(|reading| reading.number == from + count)
        });
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        println!("{image}: {rate:.0} readings a second");
    }
}

/// Starts the service, and leads the switch to it.
fn start_service(setup: &Setup, image: &str, switch: &Switch) -> Program {
    let path: &Path = &setup.programs.join("agent_service");
    let service = Program::start(
        &format!("{image}, service"),
        path,
        &["--listen", "127.0.0.1:0", "--trusted-line"],
    );
    let at = service.expect("address", SOON, |line| address("Example/Station listens on ", line));
    switch.lead_to(Some(at));
    service
}

/// The address behind these words.
fn address(words: &str, line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix(words)?;
    rest.split(';').next()?.parse().ok()
}
