//! Between gateway and service: counts what passes, connection by connection.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use super::counter::Counter;

/// After so long without a byte a connection is quiet. Less than the second between two readings.
const QUIET: Duration = Duration::from_millis(400);

/// What has passed on one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// From the station, bytes.
    pub(super) up: u64,
    /// To the station, bytes.
    pub(super) down: u64,
    /// When it began, and how many instructions the board had executed then.
    pub(super) begun: Instant,
    pub(super) instructions: u64,
    last: Instant,
}

impl Passed {
    pub(super) const fn bytes(&self) -> u64 {
        self.up + self.down
    }
}

#[derive(Clone)]
pub(super) struct Meter {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

struct Inside {
    connections: Vec<Passed>,
    open: Vec<TcpStream>,
}

impl Meter {
    /// To this service.
    pub(super) fn to(service: SocketAddr, counter: Counter) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let meter = Self {
            address: listener.local_addr().expect("bound"),
            inside: Arc::new(Mutex::new(Inside {
                connections: Vec::new(),
                open: Vec::new(),
            })),
        };
        let accepting = meter.clone();
        // It ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.connect(stream, service, counter.read());
            }
        });
        meter
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The newest connection.
    pub(super) fn passed(&self) -> Passed {
        *self.lock().connections.last().expect("a connection")
    }

    /// How many there have been.
    pub(super) fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// The newest connection, once nothing has passed on it for a while.
    pub(super) fn quiet(&self) -> Passed {
        loop {
            let passed = self.passed();
            match QUIET.checked_sub(passed.last.elapsed()) {
                Some(rest) => thread::sleep(rest),
                None => return passed,
            }
        }
    }

    /// Ends all connections, without a word of the two sides.
    pub(super) fn cut(&self) {
        for stream in self.lock().open.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("nothing panics while it is held")
    }

    fn connect(&self, near: TcpStream, service: SocketAddr, instructions: u64) {
        let far = TcpStream::connect(service).expect("the service listens");
        let mut inside = self.lock();
        let now = Instant::now();
        inside.connections.push(Passed {
            up: 0,
            down: 0,
            begun: now,
            instructions,
            last: now,
        });
        let number = inside.connections.len() - 1;
        for stream in [&near, &far] {
            stream.set_nodelay(true).expect("a socket");
            inside.open.push(stream.try_clone().expect("a handle"));
        }
        for (from, to, is_up) in [(&near, &far, true), (&far, &near, false)] {
            let handle = |stream: &TcpStream| stream.try_clone().expect("a handle");
            let (meter, from, to) = (self.clone(), handle(from), handle(to));
            thread::spawn(move || meter.copy(number, is_up, from, to));
        }
    }

    fn copy(&self, number: usize, is_up: bool, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let passed = &mut self.lock().connections[number];
            *(if is_up { &mut passed.up } else { &mut passed.down }) += count as u64;
            passed.last = Instant::now();
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}
