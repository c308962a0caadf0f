//! What a process says, line by line as it comes.

use core::time::Duration;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

pub(crate) struct Lines {
    name: String,
    lines: Receiver<String>,
    /// The last ones, to be shown when one does not come.
    passed: Vec<String>,
}

impl Lines {
    pub(crate) fn of(name: &str, from: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.to_owned(),
            lines,
            passed: Vec::new(),
        }
    }

    /// What `wanted` makes of the first line of which it makes something, within this time. The lines before are
    /// passed, and shown when it does not come.
    pub(crate) fn expect<T>(&mut self, what: &str, within: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let end = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.passed.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(why) => {
                    let why = match why {
                        RecvTimeoutError::Timeout => format!("not within {within:?}"),
                        RecvTimeoutError::Disconnected => "it has ended".to_owned(),
                    };
                    let name = self.name.clone();
                    panic!("{name}: no {what}: {why}; its last lines: {:#?}", self.last());
                }
            }
        }
    }

    /// What comes to the end of the process.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let rest = Vec::from_iter(self.lines.iter());
        self.passed.extend_from_slice(&rest);
        rest
    }

    /// All of it to the end of the process.
    pub(crate) fn all(&mut self) -> String {
        self.rest();
        self.passed.join("\n")
    }

    /// What has come up to now, the last of it.
    pub(crate) fn last(&mut self) -> &[String] {
        self.passed.extend(self.lines.try_iter());
        &self.passed[self.passed.len().saturating_sub(30)..]
    }
}
