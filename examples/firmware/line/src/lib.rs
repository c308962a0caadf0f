//! The line from the firmware to the gateway: a UART, and around it the wrapper of PROTOCOL part W, which gives it what a
//! UART lacks: an opening, an end, and that damage is found.
//!
//! ```text
//!   client, TLS ◀──▶ Call ◀──▶ Line (SerialLine) ◀──▶ Port: the UART ═══ gateway ◀──TCP──▶ service
//! ```
//!
//! A [`Line`] stays for the life of the board; each connection is a [`Call`] over it, as over a modem. The gateway dials
//! the service when the line opens and hangs up when one of the two sides does.
#![no_std]

mod asynch;
mod blocking;
mod wire;

use core::cell::RefCell;
use core::task::Waker;

use embedded_io::ErrorKind;

pub use wire::Line;

/// The UART, beside reading and writing: its time, and how it wakes.
pub trait Port: embedded_io::Read + embedded_io::ReadReady + embedded_io::Write + embedded_io::WriteReady {
    /// Milliseconds since the start.
    fn now(&self) -> u64;

    /// Sleeps until this time or until there is something to read.
    fn wait(&mut self, until: u64);

    /// Wakes the task once, when there is something to read or room to write.
    fn wake(&mut self, waker: &Waker);
}

/// One connection over the line: the transport of a client, TLS on top of it or not.
///
/// It is a handle: copies are the same call. All that it asks of the line it asks within one step, so two copies never
/// meet.
pub struct Call<'l, P>(&'l RefCell<Line<P>>);

impl<P> Clone for Call<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Call<'_, P> {}

impl<'l, P: Port> Call<'l, P> {
    /// Calls over this line.
    pub const fn over(line: &'l RefCell<Line<P>>) -> Self {
        Self(line)
    }

    /// Ends the connection, if there is one. The gateway is told.
    pub fn hang_up(&mut self) {
        self.0.borrow_mut().hang_up();
    }
}

/// What is wrong with the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum LineError {
    /// The gateway does not answer, or nothing has come for longer than a handshake may take.
    TimedOut,
    /// The connection has ended: nothing can be written.
    Ended,
    /// The UART itself has failed.
    Failed(ErrorKind),
}

impl core::fmt::Display for LineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TimedOut => f.write_str("nothing comes over the line"),
            Self::Ended => f.write_str("the connection over the line has ended"),
            Self::Failed(kind) => write!(f, "the UART has failed: {kind:?}"),
        }
    }
}

impl core::error::Error for LineError {}

impl embedded_io::Error for LineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Ended => ErrorKind::NotConnected,
            Self::Failed(kind) => *kind,
        }
    }
}

impl<P: Port> embedded_io::ErrorType for Call<'_, P> {
    type Error = LineError;
}
