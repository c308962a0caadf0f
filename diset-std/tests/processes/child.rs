//! A process of this program, started again as a part of a test, that writes lines and is killed.

use core::error::Error;
use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use diset_std::tls::throwaway::to_pem;
use diset_std::tls::{Authorities, Certificate};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::common::*;

/// What stands before each line that is meant for the parent.
const MARK: &str = "\u{1}";
const CHAIN: &str = "KILLED_CHAIN";
const KEY: &str = "KILLED_KEY";
const AUTHORITIES: &str = "KILLED_AUTHORITIES";
const ADDRESS: &str = "KILLED_ADDRESS";
const FILE: &str = "KILLED_FILE";

/// A service that keeps its sessions in a file, in one process after the other, each killed but perhaps the last.
pub(crate) struct Lives<'w> {
    name: &'static str,
    world: &'w World,
    certificate: Certificate,
    port: u16,
    folder: TempDir,
}

impl<'w> Lives<'w> {
    /// Lives of the test of this name, which is ignored else.
    pub(crate) fn new(name: &'static str, world: &'w World) -> Result<Self, Box<dyn Error>> {
        // Free, and the same in each life.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self {
            name,
            world,
            certificate: world.ca.server(&["localhost"])?,
            port,
            folder: tempfile::tempdir()?,
        })
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Where it keeps its sessions.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("sessions.redb")
    }

    /// The next life: it says that it is ready.
    pub(crate) async fn begin(&self) -> Result<Process, Box<dyn Error>> {
        let address = format!("127.0.0.1:{}", self.port);
        let mut process = Process::spawn(&[], self.name, self.world, &self.certificate, &address, &self.file())?;
        assert_eq!(process.line().await?.as_deref(), Some(READY));
        Ok(process)
    }
}

/// What the child of [`Lives`] tells when it listens.
pub(crate) const READY: &str = "ready";

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
        Self::start_by(&[], name, world, certificate, address)
    }

    /// As [`start`](Self::start), by a program that starts it.
    pub(crate) fn start_by(
        by: &[&str],
        name: &str,
        world: &World,
        certificate: &Certificate,
        address: &str,
    ) -> Result<Self, Box<dyn Error>> {
        Self::spawn(by, name, world, certificate, address, Path::new(""))
    }

    fn spawn(
        by: &[&str],
        name: &str,
        world: &World,
        certificate: &Certificate,
        address: &str,
        file: &Path,
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
            .env(FILE, file)
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

    /// Kills it; the lines that it had written by then and that were not read.
    pub(crate) async fn kill(mut self) -> Result<Vec<String>, Box<dyn Error>> {
        self.child.start_kill()?;
        let mut rest = Vec::new();
        while let Some(line) = self.line().await? {
            rest.push(line);
        }
        self.gone().await?;
        Ok(rest)
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
    /// Where it may keep something; empty when nothing was said.
    pub(crate) file: PathBuf,
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
        file: env::var_os(FILE).unwrap_or_default().into(),
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
