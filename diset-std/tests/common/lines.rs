//! Reads the log of the program while a test runs.

use core::fmt::{Debug, Write};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::{Log, Seen, log};

/// Writes down the lines of one level and worse, of clients or of all others.
struct Lines {
    level: Level,
    of_clients: bool,
    log: Log<String>,
}

/// What this thread logs from now on, as long as the guard lives, but for what clients log.
pub(crate) fn lines(level: Level) -> (DefaultGuard, Seen<String>) {
    read(level, false)
}

/// As [`lines`], what clients log.
pub(crate) fn lines_of_clients(level: Level) -> (DefaultGuard, Seen<String>) {
    read(level, true)
}

fn read(level: Level, of_clients: bool) -> (DefaultGuard, Seen<String>) {
    // With only one reader, `tracing` asks the thread that comes first to a line, which may be of a
    // test that reads none, whether anybody wants it, and never asks again.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| {
        Dispatch::new(Lines {
            level: Level::ERROR,
            of_clients: true,
            log: log().0,
        })
    });
    let (log, seen) = log();
    let lines = Lines { level, of_clients, log };
    (tracing::subscriber::set_default(lines), seen)
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).ok();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_of_client = metadata.target().starts_with("diset_std::client");
        *metadata.level() <= self.level && is_of_client == self.of_clients
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.log.add(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
