//! The service, and what it has said of each station: readings in order, and every alarm once and in order.

use core::time::Duration;
use std::collections::HashMap;

use crate::process::Program;

/// What takes no time but that of busy machines.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A line of the service about a reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) number: u64,
    pub(crate) connection: u64,
}

impl Reading {
    fn of(said: &str) -> Option<Self> {
        let (number, _) = said.strip_prefix("reading ")?.split_once(':')?;
        let (_, connection) = said.rsplit_once("connection ")?;
        Some(Self {
            number: number.parse().ok()?,
            connection: connection.parse().ok()?,
        })
    }
}

/// What was heard of one station.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) last: Option<Reading>,
    /// It counts a connection in a callback, and may send before that.
    counts_late: bool,
    /// Readings that did not arrive.
    pub(crate) lost: u64,
    /// The kinds of its alarms; their numbers are 0, 1, 2 and so on.
    pub(crate) alarms: Vec<String>,
}

impl Heard {
    fn reading(&mut self, reading: Reading) {
        let expected = self.last.map_or(0, |last| last.number + 1);
        assert!(reading.number >= expected, "{reading:?} comes after {:?}", self.last);
        // On the same connection none is lost.
        let is_same = !self.counts_late && self.last.is_none_or(|last| last.connection == reading.connection);
        assert!(
            !is_same || reading.number == expected,
            "{reading:?} comes after {:?}",
            self.last
        );
        self.lost += reading.number - expected;
        self.last = Some(reading);
    }

    fn alarm(&mut self, said: &str) {
        let expected = format!("alarm {}: ", self.alarms.len());
        let kind = said.strip_prefix(&expected).and_then(|rest| rest.split_once(" at "));
        let (kind, rest) = kind.unwrap_or_else(|| panic!("{said}, and not {expected}"));
        assert!(rest.ends_with(" ms"), "{said}");
        self.alarms.push(kind.to_owned());
    }

    /// How many alarms of this kind have come.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.alarms.iter().filter(|alarm| *alarm == kind).count()
    }
}

fn hear(heard: &mut HashMap<String, Heard>, line: &str) {
    let Some((who, said)) = line.split_once(' ') else {
        return;
    };
    if let Some(reading) = Reading::of(said) {
        heard.entry(who.to_owned()).or_default().reading(reading);
    } else if said.starts_with("alarm ") {
        heard.entry(who.to_owned()).or_default().alarm(said);
    }
}

pub(crate) struct Watch {
    pub(crate) service: Program,
    heard: HashMap<String, Heard>,
}

impl Watch {
    pub(crate) fn new(service: Program) -> Self {
        Self {
            service,
            heard: HashMap::new(),
        }
    }

    pub(crate) fn of(&self, station: &str) -> &Heard {
        &self.heard[station]
    }

    /// A line, of which `wanted` makes something; it is given what has been heard of this station, too.
    pub(crate) fn expect<T>(
        &mut self,
        what: &str,
        station: &str,
        mut wanted: impl FnMut(&str, &Heard) -> Option<T>,
    ) -> T {
        let heard = &mut self.heard;
        heard.entry(station.to_owned()).or_default();
        self.service.expect(what, SOON, |line| {
            hear(heard, line);
            wanted(line, &heard[station])
        })
    }

    /// `kill -9`; what the service has said before counts.
    pub(crate) fn kill(&mut self) {
        self.service.kill();
        for line in self.service.rest() {
            hear(&mut self.heard, &line);
        }
    }

    /// This one is no station: it counts its connections in a callback.
    pub(crate) fn counts_late(&mut self, agent: &str) {
        self.heard.entry(agent.to_owned()).or_default().counts_late = true;
    }

    /// The station has raised so many alarms of this kind.
    pub(crate) fn alarms(&mut self, station: &str, kind: &str, count: usize) {
        if self.heard.get(station).is_none_or(|heard| heard.count(kind) < count) {
            self.expect(&format!("{kind} alarm {count}"), station, |_, heard| {
                (heard.count(kind) == count).then_some(())
            });
        }
    }

    /// A reading of the station on this connection or a later one.
    pub(crate) fn connection(&mut self, station: &str, connection: u64) -> Reading {
        self.expect(&format!("reading on connection {connection}"), station, |_, heard| {
            heard.last.filter(|last| last.connection >= connection)
        })
    }

    /// Types a command; the station has done it.
    pub(crate) fn tell(&mut self, station: &str, command: &str) {
        self.service.type_line(command);
        let done = format!("{station} has done `{command}`");
        self.expect(&done, station, |line, _| (line == done).then_some(()));
    }
}
