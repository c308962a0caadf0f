//! A program of the host: its lines are read as they come, and it does not outlive the test.

use core::time::Duration;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use crate::lines::Lines;

pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Lines,
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
        Self {
            name: name.to_owned(),
            child,
            lines: Lines::of(name, output),
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        println!("{}: typed: {line}", self.name);
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{line}").expect("it runs");
    }

    /// See [`Lines::expect`].
    pub(crate) fn expect<T>(&mut self, what: &str, within: Duration, wanted: impl FnMut(&str) -> Option<T>) -> T {
        self.lines.expect(what, within, wanted)
    }

    /// See [`Lines::rest`].
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.lines.rest()
    }

    /// Its end.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        wait(&mut self.child, &self.name, within)
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

/// The end of a process, which has been told to end.
pub(crate) fn wait(child: &mut Child, name: &str, within: Duration) -> ExitStatus {
    let end = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("our process") {
            return status;
        }
        assert!(Instant::now() < end, "{name} did not end within {within:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
