//! The line itself: bytes between the UART and the wrapper. Nothing here waits.

use core::num::NonZeroU32;
use core::task::Waker;

use diset_proto::serial::{MAX_PACKET, MAX_PAYLOAD};
use diset_proto::{LineEvent, SerialLine};

use crate::{LineError, Port};

/// How many bytes are taken from the UART at once.
const CHUNK: usize = 32;

/// A UART and the wrapper around it.
pub struct Line<P> {
    pub(crate) port: P,
    serial: SerialLine,
    nonce: NonZeroU32,
    state: State,
    /// A read or write that waits does so until then at the latest.
    pub(crate) limit: u64,
    /// From the UART, not looked at yet.
    raw: Queue<CHUNK>,
    /// Out of the wrapper, not read yet.
    payload: Queue<MAX_PAYLOAD>,
    /// For the UART.
    out: Queue<MAX_PACKET>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No connection, and the end of the last one has been told.
    Down,
    /// The gateway has been asked.
    Dialling,
    Up,
    /// The other side has ended it, or the line is broken; what came before can be read.
    Ended,
}

impl<P: Port> Line<P> {
    /// A line over this UART. The chance tells the openings of this run from those of earlier ones: take it from a
    /// random number generator, or from a counter that survives a restart.
    pub const fn new(port: P, chance: u32) -> Self {
        Self {
            port,
            serial: SerialLine::client(),
            nonce: match NonZeroU32::new(chance) {
                Some(nonce) => nonce,
                None => NonZeroU32::MIN,
            },
            state: State::Down,
            limit: u64::MAX,
            raw: Queue::new(),
            payload: Queue::new(),
            out: Queue::new(),
        }
    }

    /// The UART, to sleep until it has something.
    pub const fn port(&mut self) -> &mut P {
        &mut self.port
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Asks the gateway for a new connection.
    pub(crate) fn dial(&mut self) -> Result<(), LineError> {
        self.nonce = self.nonce.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.payload.clear();
        self.state = State::Dialling;
        self.ask()
    }

    /// Asks again, under the same nonce: one of the two packets may be lost.
    pub(crate) fn ask(&mut self) -> Result<(), LineError> {
        // Only the end of a service refuses.
        let _ = self.serial.open(self.nonce);
        self.push(b"").map(drop)
    }

    pub(crate) fn hang_up(&mut self) {
        self.serial.close();
        self.state = State::Down;
        self.payload.clear();
        // If the UART takes no more now, the end leaves with the next packet, or a new opening says it.
        let _ = self.push(b"");
    }

    /// Takes what has come. False when nothing was to be had.
    pub(crate) fn pull(&mut self) -> Result<bool, LineError> {
        let mut some = false;
        // What is not read yet stays where it is, and the rest with the UART.
        while self.payload.is_empty() {
            if self.raw.is_empty() {
                if !self.port.read_ready().map_err(failed)? {
                    break;
                }
                let count = self.port.read(self.raw.space()).map_err(failed)?;
                self.raw.filled(count);
                some = true;
            }
            let mut input = self.raw.bytes();
            let before = input.len();
            let event = self.serial.next(&mut input);
            let looked_at = before.saturating_sub(input.len());
            match event {
                None => {}
                Some(LineEvent::Data(bytes)) => self.payload.fill(bytes),
                Some(LineEvent::Opened) => self.state = State::Up,
                Some(LineEvent::Ended | LineEvent::Broken) => self.state = State::Ended,
            }
            self.raw.take(looked_at);
        }
        if !self.serial.is_output_empty() {
            self.push(b"")?;
        }
        Ok(some)
    }

    /// Whether a read has something to give: bytes, or the end.
    pub(crate) fn is_readable(&mut self) -> Result<bool, LineError> {
        self.pull()?;
        Ok(!self.payload.is_empty() || matches!(self.state, State::Ended | State::Down))
    }

    /// Reads what is there; `None` when nothing is.
    pub(crate) fn read_now(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LineError> {
        if buffer.is_empty() {
            return Ok(Some(0));
        }
        if !self.is_readable()? {
            return Ok(None);
        }
        Ok(Some(self.payload.drain(buffer)))
    }

    /// Wraps as much as there is room for and gives it to the UART; 0 when there is no room now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<usize, LineError> {
        if !self.drain()? {
            return Ok(0);
        }
        let done = self.serial.transmit(bytes, self.out.space());
        self.out.filled(done.written);
        self.drain()?;
        Ok(done.taken)
    }

    /// Whether all that was wrapped is with the UART, after having given it what it takes.
    pub(crate) fn drain(&mut self) -> Result<bool, LineError> {
        while !self.out.is_empty() {
            if !self.port.write_ready().map_err(failed)? {
                return Ok(false);
            }
            let count = self.port.write(self.out.bytes()).map_err(failed)?;
            self.out.take(count);
        }
        Ok(true)
    }

    pub(crate) fn wake(&mut self, waker: &Waker) {
        self.port.wake(waker);
    }
}

fn failed(error: impl embedded_io::Error) -> LineError {
    LineError::Failed(error.kind())
}

/// Bytes that wait; filled when it is empty.
struct Queue<const N: usize> {
    bytes: [u8; N],
    at: usize,
    end: usize,
}

impl<const N: usize> Queue<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            at: 0,
            end: 0,
        }
    }

    const fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    const fn clear(&mut self) {
        (self.at, self.end) = (0, 0);
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    /// All of it: what was in it is over.
    const fn space(&mut self) -> &mut [u8] {
        self.clear();
        &mut self.bytes
    }

    fn filled(&mut self, count: usize) {
        (self.at, self.end) = (0, count.min(N));
    }

    /// At most `N` bytes.
    fn fill(&mut self, bytes: &[u8]) {
        if let Some(space) = self.bytes.get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
            self.filled(bytes.len());
        }
    }

    fn take(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.end);
    }

    fn drain(&mut self, buffer: &mut [u8]) -> usize {
        let bytes = self.bytes();
        let count = bytes.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.take(count);
        count
    }
}
