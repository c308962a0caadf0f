//! The blocking client, over std.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant as Moment;

use diset_embedded::{Client, Config, ConnectError, Instant, Resumption, Retry, SendError};

use super::{Agent, Demo, Lines, Memory, Ping, PolledClient, SOON, Seen, Store, see};

pub(crate) struct Tcp(TcpStream);

impl Tcp {
    pub(crate) fn shut_down(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

impl embedded_io::ErrorType for Tcp {
    type Error = std::io::Error;
}

impl embedded_io::Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl embedded_io::ReadReady for Tcp {
    fn read_ready(&mut self) -> std::io::Result<bool> {
        self.0.set_nonblocking(true)?;
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false)?;
        match peeked {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl embedded_io::Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl embedded_io::WriteReady for Tcp {
    fn write_ready(&mut self) -> std::io::Result<bool> {
        // The system does not tell without a poll; a write of a few bytes seldom waits.
        Ok(true)
    }
}

pub(crate) struct Polled<'b, L: Lines<'b>> {
    client: PolledClient<'b, L::Polled>,
    lines: L,
    /// The same socket, to wait for input.
    socket: Option<TcpStream>,
    begun: Moment,
}

impl<'b, L: Lines<'b>> Polled<'b, L> {
    pub(crate) fn new(config: Config<'b>, buffers: &'b mut Memory, outbox: &'b mut Store, lines: L) -> Self {
        let client = Client::blocking(Demo, config, buffers).expect("settings");
        Self {
            client: client.with_outbox(outbox).expect("settings"),
            lines,
            socket: None,
            begun: Moment::now(),
        }
    }

    fn look(&mut self, now: Instant) -> Option<Seen> {
        let seen = see(self.client.poll(now)?);
        if let (Seen::Dropped(_), Some(channel)) = (&seen, self.client.take_channel()) {
            let socket = self.socket.as_ref().expect("dialled");
            socket.set_read_timeout(Some(SOON)).expect("a timeout");
            self.lines.polled_over(channel);
        }
        Some(seen)
    }
}

impl<'b, L: Lines<'b>> Agent<L::Error> for Polled<'b, L> {
    fn dial(&mut self, address: SocketAddr) -> Result<(), ConnectError<L::Error>> {
        let socket = TcpStream::connect(address).expect("the service listens");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        self.socket = Some(socket.try_clone().expect("a handle"));
        let now = self.now();
        self.lines.polled(&mut self.client, Tcp(socket), now)
    }

    fn ping(&mut self, id: i64) -> Result<(), SendError> {
        self.client.send(&Ping { id })
    }

    fn acked(&mut self, id: i64) -> Result<u64, SendError> {
        self.client.send_acked(&Ping { id })
    }

    fn disconnect(&mut self, reason: &str) {
        self.client.disconnect(reason);
    }

    fn retry(&self) -> Retry {
        self.client.retry()
    }

    fn resumption(&self) -> Option<Resumption> {
        self.client.resumption()
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.begun.elapsed().as_millis()).expect("in time"))
    }

    fn event(&mut self, within: Duration) -> Seen {
        let end = self.now().after(within);
        loop {
            let now = self.now();
            match self.look(now) {
                Some(seen) => return seen,
                None if now >= end => return Seen::Nothing,
                None => {}
            }
            // As a chip sleeps: until input, or until something is due.
            let wake = self.client.wake().map_or(end, |wake| wake.min(end));
            let wait = wake.since(self.now()).max(Duration::from_millis(1));
            let socket = self.socket.as_ref().expect("dialled");
            socket.set_read_timeout(Some(wait)).expect("a timeout");
            let _ = socket.peek(&mut [0]);
        }
    }
}
