//! The open channel, for both clients.

use core::fmt;

use embedded_io::{Error as _, ErrorType, Read, ReadReady, Write, WriteReady};

use super::error::TlsError;
use super::records::{Incoming, Outgoing};
use crate::{asynch, blocking};

/// A TLS channel to a server that has proven who it is. Made by [`Tls`](super::Tls) only.
///
/// `read` and `write` are cancel safe if those of the transport are: what has come of a record is kept, and what has
/// left of one. A write is kept until the record is full or flushed.
pub struct TlsChannel<'b, T> {
    pub(super) stream: T,
    pub(super) incoming: Incoming<'b>,
    pub(super) outgoing: Outgoing<'b>,
    pub(super) max_records: u32,
}

impl<T> TlsChannel<'_, T> {
    /// In each direction so many records may pass under the keys of this connection: connect again before.
    pub const fn max_records(&self) -> Option<u32> {
        Some(self.max_records)
    }

    /// Nine in ten of these have passed in one of the directions (PROTOCOL G-6). All goes on, up to 2^24 records, so
    /// that there is time to end in order; then there is [`TlsError::Worn`].
    pub const fn is_worn(&self) -> bool {
        let worn = self.max_records - self.max_records / 10;
        self.incoming.key.count() >= worn || self.outgoing.key.count() >= worn
    }

    /// The transport.
    pub fn into_inner(self) -> T {
        self.stream
    }
}

impl<T> ErrorType for TlsChannel<'_, T> {
    type Error = TlsError;
}

impl<T: embedded_io_async::Read + embedded_io_async::Write> TlsChannel<'_, T> {
    async fn drain(&mut self) -> Result<(), TlsError> {
        while !self.outgoing.unsent().is_empty() {
            let written = self.stream.write(self.outgoing.unsent()).await;
            wrote(&mut self.outgoing, written)?;
        }
        Ok(())
    }
}

/// Notes what a write of the transport has brought.
fn wrote<E: embedded_io::Error>(outgoing: &mut Outgoing<'_>, written: Result<usize, E>) -> Result<(), TlsError> {
    match written {
        Ok(0) => Err(TlsError::Io(embedded_io::ErrorKind::WriteZero)),
        Ok(count) => {
            outgoing.sent(count);
            Ok(())
        }
        Err(error) => Err(TlsError::Io(error.kind())),
    }
}

/// Notes what a read of the transport has brought.
fn got<E: embedded_io::Error>(incoming: &mut Incoming<'_>, read: Result<usize, E>) {
    match read {
        Ok(count) => incoming.received(count),
        Err(error) => incoming.fail(TlsError::Io(error.kind())),
    }
}

impl<T: embedded_io_async::Read + embedded_io_async::Write> asynch::Channel for TlsChannel<'_, T> {
    fn max_records(&self) -> Option<u32> {
        Self::max_records(self)
    }

    fn is_worn(&self) -> bool {
        Self::is_worn(self)
    }

    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        loop {
            if let Some(taken) = self.incoming.take(buffer) {
                return taken;
            }
            let read = self.stream.read(self.incoming.space()).await;
            got(&mut self.incoming, read);
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        self.drain().await?;
        self.outgoing.put(bytes)
    }

    async fn flush(&mut self) -> Result<(), TlsError> {
        self.drain().await?;
        self.outgoing.finish()?;
        self.drain().await?;
        flushed(self.stream.flush().await)
    }

    async fn close(&mut self) -> Result<(), TlsError> {
        self.drain().await?;
        self.outgoing.finish()?;
        self.drain().await?;
        self.outgoing.close()?;
        self.drain().await?;
        flushed(self.stream.flush().await)
    }
}

fn flushed<E: embedded_io::Error>(result: Result<(), E>) -> Result<(), TlsError> {
    result.map_err(|error| TlsError::Io(error.kind()))
}

impl<T: Read + Write> TlsChannel<'_, T> {
    fn drain_blocking(&mut self) -> Result<(), TlsError> {
        while !self.outgoing.unsent().is_empty() {
            let written = self.stream.write(self.outgoing.unsent());
            wrote(&mut self.outgoing, written)?;
        }
        Ok(())
    }
}

impl<T: Read + Write + ReadReady + WriteReady> blocking::Channel for TlsChannel<'_, T> {
    fn max_records(&self) -> Option<u32> {
        Self::max_records(self)
    }

    fn is_worn(&self) -> bool {
        Self::is_worn(self)
    }

    /// Takes in what is there. Something to give is a whole record.
    fn read_ready(&mut self) -> Result<bool, TlsError> {
        while !self.incoming.is_ready() {
            match self.stream.read_ready() {
                Ok(false) => return Ok(false),
                Ok(true) => {
                    let read = self.stream.read(self.incoming.space());
                    got(&mut self.incoming, read);
                }
                Err(error) => self.incoming.fail(TlsError::Io(error.kind())),
            }
        }
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        loop {
            if let Some(taken) = self.incoming.take(buffer) {
                return taken;
            }
            let read = self.stream.read(self.incoming.space());
            got(&mut self.incoming, read);
        }
    }

    /// Writes what the transport takes now. Ready when all of the record before has left.
    fn write_ready(&mut self) -> Result<bool, TlsError> {
        while !self.outgoing.unsent().is_empty() {
            match self.stream.write_ready() {
                Ok(false) => return Ok(false),
                Ok(true) => {
                    let written = self.stream.write(self.outgoing.unsent());
                    wrote(&mut self.outgoing, written)?;
                }
                Err(error) => return Err(TlsError::Io(error.kind())),
            }
        }
        self.stream.write_ready().map_err(|error| TlsError::Io(error.kind()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        self.drain_blocking()?;
        self.outgoing.put(bytes)
    }

    fn flush(&mut self) -> Result<(), TlsError> {
        self.drain_blocking()?;
        self.outgoing.finish()?;
        self.drain_blocking()?;
        flushed(self.stream.flush())
    }

    fn close(&mut self) -> Result<(), TlsError> {
        self.drain_blocking()?;
        self.outgoing.finish()?;
        self.drain_blocking()?;
        self.outgoing.close()?;
        self.drain_blocking()?;
        flushed(self.stream.flush())
    }
}

/// Neither keys nor content.
impl<T> fmt::Debug for TlsChannel<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsChannel")
            .field("received", &self.incoming.key.count())
            .field("sent", &self.outgoing.key.count())
            .finish_non_exhaustive()
    }
}
