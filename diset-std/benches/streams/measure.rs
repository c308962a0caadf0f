//! Measuring: CPU time of this process, child processes that do a job, bytes that cross a connection.

use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::job::{Job, Pair, Plan};
use crate::{CHILD, Outcome};

/// Taken by a child process around the messages that count.
#[derive(Default)]
pub(crate) struct Meter {
    began: Option<(Instant, Duration)>,
    spent: Option<Spent>,
}

/// What the measured messages took in one process.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

impl Meter {
    /// The warm-up is over.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.began = Some((Instant::now(), cpu_time()?));
        Ok(())
    }

    /// The last measured message was handled.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let (wall, cpu) = self
            .began
            .ok_or_else(|| io::Error::other("stopped before it was started"))?;
        self.spent = Some(Spent {
            cpu: cpu_time()?.saturating_sub(cpu),
            wall: wall.elapsed(),
        });
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<Spent> {
        self.spent
            .ok_or_else(|| io::Error::other("the contender did not measure"))
    }
}

/// User and system time of all threads of this process that are alive, in nanoseconds from the scheduler.
fn cpu_time() -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().map_err(io::Error::other)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Runs a plan in two child processes.
pub(crate) fn run(plan: Plan, tls: &Pair) -> Outcome<Run> {
    let (server, address) = Process::serve(plan, tls)?;
    finish(Process::drive(plan, tls, address)?, server)
}

/// Runs a plan with a relay between the processes and returns the bytes that crossed it, handshake included. What the
/// processes spent would mean nothing.
pub(crate) fn count_bytes(plan: Plan, tls: &Pair) -> Outcome<u64> {
    let (server, address) = Process::serve(plan, tls)?;
    let relay = Relay::start(address)?;
    finish(Process::drive(plan, tls, relay.address)?, server)?;
    Ok(relay.finish())
}

fn finish(mut client: Process, mut server: Process) -> Outcome<Run> {
    Ok(Run {
        client: client.spent()?,
        server: server.spent()?,
    })
}

/// The result of one run.
pub(crate) struct Run {
    pub(crate) client: Spent,
    pub(crate) server: Spent,
}

/// A child process; it ends with this value.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn serve(plan: Plan, tls: &Pair) -> Outcome<(Self, SocketAddr)> {
        let mut server = Self::start(&Job {
            plan,
            connect: None,
            tls: tls.server.clone(),
        })?;
        let address = server.word("listening")?.parse()?;
        Ok((server, address))
    }

    fn drive(plan: Plan, tls: &Pair, address: SocketAddr) -> Outcome<Self> {
        Self::start(&Job {
            plan,
            connect: Some(address),
            tls: tls.client.clone(),
        })
    }

    fn start(job: &Job) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&postcard::to_stdvec(job)?)?;
        }
        let out = child.stdout.take().ok_or("a child without output")?;
        Ok(Self {
            child,
            out: BufReader::new(out),
        })
    }

    /// The rest of the next line, which begins with `key`.
    fn word(&mut self, key: &str) -> Outcome<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        let rest = line
            .trim()
            .strip_prefix(key)
            .ok_or_else(|| format!("a child said {line:?} instead of {key}"))?;
        Ok(rest.trim().to_owned())
    }

    fn spent(&mut self) -> Outcome<Spent> {
        let line = self.word("spent")?;
        let mut numbers = line.split(' ').map(|n| n.parse().map(Duration::from_nanos));
        match (numbers.next(), numbers.next()) {
            (Some(cpu), Some(wall)) => Ok(Spent { cpu: cpu?, wall: wall? }),
            _ => Err(format!("a child said it spent {line:?}").into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that is done ends by itself; killing it then changes nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The job of this child process, from its parent.
pub(crate) fn receive_job() -> Outcome<Job> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(postcard::from_bytes(&bytes)?)
}

/// Tells the parent where the server listens.
pub(crate) fn say_listening(address: SocketAddr) {
    println!("listening {address}");
}

/// Tells the parent what this process spent.
pub(crate) fn say_spent(spent: Spent) {
    println!("spent {} {}", spent.cpu.as_nanos(), spent.wall.as_nanos());
}

/// A connection forwarded through this process, which counts its bytes.
struct Relay {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    forwarder: thread::JoinHandle<io::Result<()>>,
}

impl Relay {
    fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        let forwarder = thread::spawn(move || {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect(server)?;
            let back = (server.try_clone()?, client.try_clone()?, Arc::clone(&counter));
            let back = thread::spawn(move || forward(back.0, back.1, &back.2));
            forward(client, server, &counter);
            let _ = back.join();
            Ok(())
        });
        Ok(Self {
            address,
            bytes,
            forwarder,
        })
    }

    fn finish(self) -> u64 {
        let _ = self.forwarder.join();
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Copies until either side ends; how the connection ends is no part of the measurement.
fn forward(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
