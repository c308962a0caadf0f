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
    /// What ends the writing direction of the stream, until it has.
    pub(super) end: Option<fn(&mut T)>,
    pub(super) incoming: Incoming<'b>,
    pub(super) outgoing: Outgoing<'b>,
}

impl<T> TlsChannel<'_, T> {
    /// In each direction so many records may pass under the keys of this connection: connect again before. At the
    /// limit there is [`TlsError::Worn`] in place of another record; the last one is kept for `close`.
    pub const fn max_records(&self) -> Option<u32> {
        Some(self.outgoing.key.most())
    }

    /// In one of the directions nine in ten of these have passed, or all but 32 (PROTOCOL G-6): time to end in order.
    pub fn is_worn(&self) -> bool {
        self.incoming.key.is_worn() || self.outgoing.key.is_worn()
    }

    /// What is wrong, if something is, with the direction from the peer: an alert, such as that the service refuses
    /// the client's certificate; an end without close_notify; a record that is not the peer's. It stays so.
    ///
    /// A client tells of it by the kind only ([`Dropped`](crate::Dropped)). Ask the channel that
    /// [`take_channel`](crate::Client::take_channel) gives then.
    pub const fn fault(&self) -> Option<TlsError> {
        self.incoming.fault()
    }

    /// The transport.
    pub fn into_inner(self) -> T {
        self.stream
    }

    fn end_writing(&mut self) {
        if let Some(end) = self.end.take() {
            end(&mut self.stream);
        }
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
        flushed(self.stream.flush().await)?;
        self.end_writing();
        Ok(())
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
        flushed(self.stream.flush())?;
        self.end_writing();
        Ok(())
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
