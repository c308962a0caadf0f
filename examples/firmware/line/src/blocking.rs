//! A call without an executor.

use embedded_io::{Read, ReadReady, Write, WriteReady};

use crate::wire::State;
use crate::{Call, Line, LineError, Port};

/// So often the gateway is asked.
const ASK: u64 = 250;
/// So long it may take to answer.
const ANSWER: u64 = 2_000;
/// So long a read or write waits: longer than a peer may take in a handshake, which is when they wait at all.
const PATIENCE: u64 = 10_000;

impl<P: Port> Call<'_, P> {
    /// Asks the gateway for a connection to the service and waits for it.
    ///
    /// # Errors
    /// [`LineError::TimedOut`]: there is no gateway. One that cannot reach the service opens the line and ends it.
    pub fn dial(&mut self) -> Result<(), LineError> {
        let line = &mut *self.0.borrow_mut();
        let end = line.port.now() + ANSWER;
        line.dial()?;
        let mut again = line.port.now() + ASK;
        loop {
            line.pull()?;
            if line.state() != State::Dialling {
                return Ok(());
            }
            let now = line.port.now();
            if now >= end {
                line.hang_up();
                return Err(LineError::TimedOut);
            }
            if now >= again {
                line.ask()?;
                again = now + ASK;
            }
            line.drain()?;
            line.port.wait(again.min(end));
        }
    }
}

impl<P: Port> Call<'_, P> {
    /// From now on reads and writes wait until this time at the latest, for a handshake as a whole: a peer that says a
    /// byte now and then would hold the caller for hours. `u64::MAX` lifts it.
    pub fn give_up_at(&mut self, time: u64) {
        self.0.borrow_mut().limit = time;
    }
}

impl<P: Port> Line<P> {
    /// When a wait that begins now is over.
    fn patience(&self) -> u64 {
        self.limit.min(self.port.now() + PATIENCE)
    }
}

impl<P: Port> ReadReady for Call<'_, P> {
    fn read_ready(&mut self) -> Result<bool, LineError> {
        self.0.borrow_mut().is_readable()
    }
}

impl<P: Port> Read for Call<'_, P> {
    /// At most ten seconds, see [`Call::give_up_at`]; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineError> {
        let line = &mut *self.0.borrow_mut();
        let end = line.patience();
        loop {
            line.drain()?;
            if let Some(count) = line.read_now(buffer)? {
                return Ok(count);
            }
            if line.port.now() >= end {
                return Err(LineError::TimedOut);
            }
            line.port.wait(end);
        }
    }
}

impl<P: Port> WriteReady for Call<'_, P> {
    fn write_ready(&mut self) -> Result<bool, LineError> {
        self.0.borrow_mut().drain()
    }
}

impl<P: Port> Write for Call<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, LineError> {
        let line = &mut *self.0.borrow_mut();
        let end = line.patience();
        loop {
            if line.state() != State::Up {
                return Err(LineError::Ended);
            }
            match line.push(bytes)? {
                0 if bytes.is_empty() => return Ok(0),
                // The UART is as fast as it is.
                0 if line.port.now() >= end => return Err(LineError::TimedOut),
                0 => {}
                count => return Ok(count),
            }
        }
    }

    fn flush(&mut self) -> Result<(), LineError> {
        let line = &mut *self.0.borrow_mut();
        let end = line.patience();
        while !line.drain()? {
            if line.port.now() >= end {
                return Err(LineError::TimedOut);
            }
        }
        Ok(())
    }
}
