//! The UART as postcard-rpc wants it: two halves, of an older embedded-io-async.

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;

use board::Uart;
use critical_section::Mutex;
use embedded_io::{ReadReady as _, WriteReady as _};
use embedded_io_async_06::{ErrorType, Read, Write};

/// Both halves have it.
pub struct Shared(Mutex<RefCell<Uart>>);

impl Shared {
    pub(crate) const fn new(uart: Uart) -> Self {
        Self(Mutex::new(RefCell::new(uart)))
    }

    /// Whether a byte has come.
    pub(crate) fn is_readable(&self) -> bool {
        self.with(|uart| uart.read_ready() == Ok(true))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Uart) -> R) -> R {
        critical_section::with(|section| work(&mut self.0.borrow_ref_mut(section)))
    }
}

pub struct Receiving(pub &'static Shared);

impl ErrorType for Receiving {
    type Error = Infallible;
}

impl Read for Receiving {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            self.0.with(|uart| match uart.read_ready() {
                Ok(true) => Poll::Ready(embedded_io::Read::read(uart, buffer)),
                _ => Poll::Pending,
            })
        })
        .await
    }
}

pub struct Sending(pub &'static Shared);

impl ErrorType for Sending {
    type Error = Infallible;
}

impl Write for Sending {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            self.0.with(|uart| match uart.write_ready() {
                Ok(true) => Poll::Ready(embedded_io::Write::write(uart, bytes)),
                _ => Poll::Pending,
            })
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
