//! A program of the host: its lines are read as they come, and it does not outlive the test.

use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub(crate) fn start(name: &str, path: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.to_owned(),
            child,
            lines,
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        println!("{}: typed: {line}", self.name);
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{line}").expect("it runs");
    }

    /// What `wanted` makes of the first line of which it makes something, within this time. The lines before are
    /// passed, and shown when it does not come.
    pub(crate) fn expect<T>(&self, what: &str, within: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let end = Instant::now() + within;
        let mut passed = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match wanted(&line) {
                    Some(found) => return found,
                    None => passed.push(line),
                },
                Err(why) => {
                    let why = match why {
                        RecvTimeoutError::Timeout => format!("not within {within:?}"),
                        RecvTimeoutError::Disconnected => "it has ended".to_owned(),
                    };
                    let from = passed.len().saturating_sub(20);
                    panic!(
                        "{}: no {what}: {why}; its last lines: {:#?}",
                        self.name,
                        &passed[from..]
                    );
                }
            }
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
