//! Counts the TLS records that pass, by their headers.

use core::cell::RefCell;
use std::rc::Rc;

/// What has passed one way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Encrypted records that have begun.
    pub(crate) records: u32,
    /// The longest of all records, its header included.
    pub(crate) longest: usize,
    /// The header as far as it has come, and what is left of the body.
    header: [u8; 5],
    known: usize,
    body: usize,
}

impl Passed {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.body > 0 {
                let count = self.body.min(bytes.len());
                self.body -= count;
                bytes = &bytes[count..];
                continue;
            }
            self.header[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if let (5, [kind, _, _, high, low]) = (self.known, self.header) {
                self.known = 0;
                self.body = usize::from(u16::from_be_bytes([high, low]));
                self.records += u32::from(kind == 23);
                self.longest = self.longest.max(5 + self.body);
            }
        }
    }
}

/// Both ways of one connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) came: Passed,
    pub(crate) went: Passed,
}

pub(crate) type Tap = Rc<RefCell<Counts>>;

/// A transport that is watched.
pub(crate) struct Tapped<T> {
    pub(crate) stream: T,
    pub(crate) tap: Tap,
}

impl<T: embedded_io::ErrorType> embedded_io::ErrorType for Tapped<T> {
    type Error = T::Error;
}

impl<T: embedded_io::Read> embedded_io::Read for Tapped<T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        let count = self.stream.read(buffer)?;
        self.tap.borrow_mut().came.pass(&buffer[..count]);
        Ok(count)
    }
}

impl<T: embedded_io::ReadReady> embedded_io::ReadReady for Tapped<T> {
    fn read_ready(&mut self) -> Result<bool, T::Error> {
        self.stream.read_ready()
    }
}

impl<T: embedded_io::Write> embedded_io::Write for Tapped<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        let count = self.stream.write(bytes)?;
        self.tap.borrow_mut().went.pass(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), T::Error> {
        self.stream.flush()
    }
}

impl<T: embedded_io::WriteReady> embedded_io::WriteReady for Tapped<T> {
    fn write_ready(&mut self) -> Result<bool, T::Error> {
        self.stream.write_ready()
    }
}

impl<T: embedded_io_async::Read> embedded_io_async::Read for Tapped<T> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        let count = self.stream.read(buffer).await?;
        self.tap.borrow_mut().came.pass(&buffer[..count]);
        Ok(count)
    }
}

impl<T: embedded_io_async::Write> embedded_io_async::Write for Tapped<T> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        let count = self.stream.write(bytes).await?;
        self.tap.borrow_mut().went.pass(&bytes[..count]);
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.stream.flush().await
    }
}
