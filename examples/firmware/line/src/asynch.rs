//! A call under an executor. Each future does one step at a time and keeps nothing, so it can be dropped at any time.

use core::future::poll_fn;
use core::task::Poll;

use embedded_io_async::{Read, Write};

use crate::wire::State;
use crate::{Call, LineError, Port};

impl<P: Port> Call<'_, P> {
    /// Begins a connection: asks the gateway, which [`answered`](Self::answered) waits for. To be repeated every 250 ms
    /// or so while it does, as [`ask_again`](Self::ask_again).
    ///
    /// # Errors
    /// The UART has failed.
    pub fn ask(&mut self) -> Result<(), LineError> {
        self.0.borrow_mut().dial()
    }

    /// Asks once more for the same connection.
    ///
    /// # Errors
    /// The UART has failed.
    pub fn ask_again(&mut self) -> Result<(), LineError> {
        self.0.borrow_mut().ask()
    }

    /// Waits until the gateway has answered.
    ///
    /// # Errors
    /// The UART has failed.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn answered(&mut self) -> Result<(), LineError> {
        poll_fn(|cx| {
            let line = &mut *self.0.borrow_mut();
            line.wake(cx.waker());
            line.drain()?;
            line.pull()?;
            match line.state() {
                State::Dialling => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        })
        .await
    }
}

impl<P: Port> Read for Call<'_, P> {
    /// 0 is the end. Cancel safe.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineError> {
        poll_fn(|cx| {
            let line = &mut *self.0.borrow_mut();
            line.wake(cx.waker());
            line.drain()?;
            match line.read_now(buffer)? {
                Some(count) => Poll::Ready(Ok(count)),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl<P: Port> Write for Call<'_, P> {
    /// Cancel safe: bytes were taken when it says so, and not otherwise.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, LineError> {
        poll_fn(|cx| {
            let line = &mut *self.0.borrow_mut();
            if line.state() != State::Up {
                return Poll::Ready(Err(LineError::Ended));
            }
            line.wake(cx.waker());
            match line.push(bytes)? {
                0 if !bytes.is_empty() => {
                    // It is full now: it wakes when it is not.
                    line.wake(cx.waker());
                    Poll::Pending
                }
                count => Poll::Ready(Ok(count)),
            }
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), LineError> {
        poll_fn(|cx| {
            let line = &mut *self.0.borrow_mut();
            if line.drain()? {
                return Poll::Ready(Ok(()));
            }
            line.wake(cx.waker());
            Poll::Pending
        })
        .await
    }
}
