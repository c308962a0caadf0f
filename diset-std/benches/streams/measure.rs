//! Measuring: runs of two processes, what they spent, bytes that cross their connection.

use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::common::{Outcome, Pair, Process, cpu_time};
use crate::job::{Job, Plan};

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
        self.began = Some((Instant::now(), cpu_time("self")?));
        Ok(())
    }

    /// The last measured message was handled.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let (wall, cpu) = self
            .began
            .ok_or_else(|| io::Error::other("stopped before it was started"))?;
        self.spent = Some(Spent {
            cpu: cpu_time("self")?.saturating_sub(cpu),
            wall: wall.elapsed(),
        });
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<Spent> {
        self.spent
            .ok_or_else(|| io::Error::other("the contender did not measure"))
    }
}

/// Runs a plan in two child processes.
pub(crate) fn run(plan: Plan, tls: &Pair) -> Outcome<Run> {
    let (server, address) = serve(plan, tls)?;
    finish(drive(plan, tls, address)?, server)
}

/// Runs a plan with a relay between the processes and returns the bytes that crossed it, handshake included. What the
/// processes spent would mean nothing.
pub(crate) fn count_bytes(plan: Plan, tls: &Pair) -> Outcome<u64> {
    let (server, address) = serve(plan, tls)?;
    let relay = Relay::start(address)?;
    finish(drive(plan, tls, relay.address)?, server)?;
    Ok(relay.finish())
}

fn finish(mut client: Process, mut server: Process) -> Outcome<Run> {
    Ok(Run {
        client: spent(&mut client)?,
        server: spent(&mut server)?,
    })
}

/// The result of one run.
pub(crate) struct Run {
    pub(crate) client: Spent,
    pub(crate) server: Spent,
}

fn serve(plan: Plan, tls: &Pair) -> Outcome<(Process, SocketAddr)> {
    let mut server = Process::start(&Job {
        plan,
        connect: None,
        tls: tls.server.clone(),
    })?;
    let address = server.word("listening")?.parse()?;
    Ok((server, address))
}

fn drive(plan: Plan, tls: &Pair, address: SocketAddr) -> Outcome<Process> {
    Process::start(&Job {
        plan,
        connect: Some(address),
        tls: tls.client.clone(),
    })
}

/// What a child process ends with.
fn spent(child: &mut Process) -> Outcome<Spent> {
    let line = child.word("spent")?;
    let mut numbers = line.split(' ').map(|n| n.parse().map(Duration::from_nanos));
    match (numbers.next(), numbers.next()) {
        (Some(cpu), Some(wall)) => Ok(Spent { cpu: cpu?, wall: wall? }),
        _ => Err(format!("a child said it spent {line:?}").into()),
    }
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
