//! A process of this program, started again as a part of a test, that writes lines and is killed.

use core::error::Error;
use std::env;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use diset_std::tls::throwaway::to_pem;
use diset_std::tls::{Authorities, Certificate};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::common::*;

/// What stands before each line that is meant for the parent.
const MARK: &str = "\u{1}";
const CHAIN: &str = "KILLED_CHAIN";
const KEY: &str = "KILLED_KEY";
const AUTHORITIES: &str = "KILLED_AUTHORITIES";
const ADDRESS: &str = "KILLED_ADDRESS";

/// The parent's end.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts the test of this name, which is ignored else.
    pub(crate) fn start(
        name: &str,
        world: &World,
        certificate: &Certificate,
        address: &str,
    ) -> Result<Self, Box<dyn Error>> {
        Self::start_with(name, world, certificate, address, ("KILLED_FILE", Path::new("")))
    }

    /// As [`start`](Self::start), and says where a file is.
    pub(crate) fn start_with(
        name: &str,
        world: &World,
        certificate: &Certificate,
        address: &str,
        file: (&str, &Path),
    ) -> Result<Self, Box<dyn Error>> {
        Self::start_by(&[], name, world, certificate, address, file)
    }

    /// As [`start_with`](Self::start_with), by a program that starts it.
    pub(crate) fn start_by(
        by: &[&str],
        name: &str,
        world: &World,
        certificate: &Certificate,
        address: &str,
        file: (&str, &Path),
    ) -> Result<Self, Box<dyn Error>> {
        let (chain, key) = to_pem(certificate);
        let own = env::current_exe()?;
        let mut command = match by {
            [] => Command::new(&own),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(&own);
                command
            }
        };
        let mut child = command
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(CHAIN, chain)
            .env(KEY, key)
            .env(AUTHORITIES, world.ca.pem())
            .env(ADDRESS, address)
            .env(file.0, file.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// The next line that it has written; `None` when it has ended.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, Box<dyn Error>> {
        while let Some(line) = within("a line", self.lines.next_line()).await? {
            if let Some((_, told)) = line.split_once(MARK) {
                return Ok(Some(told.to_owned()));
            }
        }
        Ok(None)
    }

    /// Kills it; what it has written by then can still be read.
    pub(crate) fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(self.child.start_kill()?)
    }

    /// What was started, for the system.
    pub(crate) fn id(&self) -> Result<u32, Box<dyn Error>> {
        Ok(self.child.id().ok_or("it has ended")?)
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> Result<bool, Box<dyn Error>> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it is gone; its exit code, if it has one.
    pub(crate) async fn gone(mut self) -> Result<Option<i32>, Box<dyn Error>> {
        // Its end would tell the child that this one is gone; it is to end by itself.
        let _input = self.child.stdin.take();
        Ok(within("its end", self.child.wait()).await?.code())
    }
}

/// The child's end.
pub(crate) struct Place {
    pub(crate) certificate: Certificate,
    pub(crate) authorities: Authorities,
    pub(crate) address: String,
}

/// What the parent has said; `None` when nobody started this as a child. It ends with its parent.
pub(crate) fn place() -> Result<Option<Place>, Box<dyn Error>> {
    let Ok(address) = env::var(ADDRESS) else {
        return Ok(None);
    };
    std::thread::spawn(|| {
        // The end of the pipe is the end of the parent.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    Ok(Some(Place {
        certificate: Certificate::from_pem(env::var(CHAIN)?.as_bytes(), env::var(KEY)?.as_bytes())?,
        authorities: Authorities::from_pem(env::var(AUTHORITIES)?.as_bytes())?,
        address,
    }))
}

/// Tells the parent. In one piece, so a kill leaves the line or not.
pub(crate) fn tell(line: &str) {
    println!("{MARK}{line}");
}

/// Numbers that depend on nothing but the seed.
pub(crate) fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}
