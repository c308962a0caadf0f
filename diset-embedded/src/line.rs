//! A channel that proves nothing, by a name that says so.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

use crate::{asynch, blocking};

/// A plain stream to a peer that is trusted because of where the line leads: nothing is authenticated, encrypted or
/// protected from change. For a closed network, a board's own bus, and tests.
///
/// The stream must be reliable and ordered and must show when it ends, as TCP does; a bare UART does not. For a
/// blocking client it is of [`embedded_io`], with both `Ready` traits; for an async one of [`embedded_io_async`],
/// and its `read` and `write` must be cancel safe.
#[derive(Debug)]
pub struct TrustedLine<T> {
    stream: T,
    end: Option<fn(&mut T)>,
}

impl<T> TrustedLine<T> {
    /// A line over this stream.
    pub const fn new(stream: T) -> Self {
        Self { stream, end: None }
    }

    /// Ends the writing direction so, as `TcpSocket::close` of some stacks does. Without it the peer learns of an
    /// orderly end by its notice, and the client waits up to two seconds longer for the peer.
    #[must_use]
    pub const fn ending_with(mut self, end: fn(&mut T)) -> Self {
        self.end = Some(end);
        self
    }

    /// The stream.
    pub fn into_inner(self) -> T {
        self.stream
    }
}

impl<T: ErrorType> ErrorType for TrustedLine<T> {
    type Error = T::Error;
}

impl<T: Read + Write + ReadReady + WriteReady> blocking::Open for TrustedLine<T> {
    type Channel = Self;
    type Error = Infallible;

    fn open(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl<T: Read + Write + ReadReady + WriteReady> blocking::Channel for TrustedLine<T> {
    fn read_ready(&mut self) -> Result<bool, T::Error> {
        self.stream.read_ready()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        self.stream.read(buffer)
    }

    fn write_ready(&mut self) -> Result<bool, T::Error> {
        self.stream.write_ready()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> Result<(), T::Error> {
        self.stream.flush()
    }

    fn close(&mut self) -> Result<(), T::Error> {
        self.stream.flush()?;
        if let Some(end) = self.end {
            end(&mut self.stream);
        }
        Ok(())
    }
}

impl<T: embedded_io_async::Read + embedded_io_async::Write> asynch::Open for TrustedLine<T> {
    type Channel = Self;
    type Error = Infallible;

    async fn open(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl<T: embedded_io_async::Read + embedded_io_async::Write> asynch::Channel for TrustedLine<T> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        self.stream.read(buffer).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        self.stream.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.stream.flush().await
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.stream.flush().await?;
        if let Some(end) = self.end {
            end(&mut self.stream);
        }
        Ok(())
    }
}
