//! A line between two threads, in memory; to a client it is blocking, async, or async and as bad as can be.

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::Wake;
use std::thread::Thread;

/// Nothing that a test waits for takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    ended: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.changed.notify_all();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn wait(&self) -> MutexGuard<'_, State> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), LIMIT, |state| state.bytes.is_empty() && !state.ended);
        let (state, timeout) = waited.expect("no thread has panicked");
        assert!(!timeout.timed_out(), "nothing has come in time");
        state
    }
}

fn take(state: &mut State, buffer: &mut [u8]) -> usize {
    let count = buffer.len().min(state.bytes.len());
    for (to, from) in buffer.iter_mut().zip(state.bytes.drain(..count)) {
        *to = from;
    }
    count
}

/// One end. It ends both ways when it is dropped.
pub(crate) struct End {
    from: Arc<Way>,
    to: Arc<Way>,
}

pub(crate) fn line() -> (End, End) {
    let (one, two) = (Arc::<Way>::default(), Arc::<Way>::default());
    let first = End {
        from: Arc::clone(&one),
        to: Arc::clone(&two),
    };
    (first, End { from: two, to: one })
}

impl End {
    /// Ends the writing direction.
    pub(crate) fn end(&self) {
        self.to.change(|state| state.ended = true);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.from.change(|state| state.ended = true);
        self.end();
    }
}

impl io::Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(take(&mut self.from.wait(), buffer))
    }
}

impl io::Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.to.lock().ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.to.change(|state| state.bytes.extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The client's end.
pub(crate) struct Line {
    pub(crate) end: End,
    /// Each read and write moves one byte, and an async one waits once before it does.
    pub(crate) trickles: bool,
    waited: bool,
}

impl Line {
    pub(crate) fn new(end: End) -> Self {
        Self {
            end,
            trickles: false,
            waited: false,
        }
    }

    pub(crate) fn trickling(end: End) -> Self {
        Self {
            trickles: true,
            ..Self::new(end)
        }
    }

    fn limit(&self, length: usize) -> usize {
        if self.trickles { length.min(1) } else { length }
    }

    /// Whether to wait this time.
    fn hesitates(&mut self, cx: &Context<'_>) -> bool {
        self.waited = self.trickles && !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
        }
        self.waited
    }

    fn put(&self, bytes: &[u8]) -> usize {
        let count = self.limit(bytes.len());
        // A line that was hung up carries nothing.
        self.end.to.change(|state| match state.ended {
            true => {}
            false => state.bytes.extend(&bytes[..count]),
        });
        count
    }
}

impl embedded_io::ErrorType for Line {
    type Error = Infallible;
}

impl embedded_io::Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let count = self.limit(buffer.len());
        Ok(take(&mut self.end.from.wait(), &mut buffer[..count]))
    }
}

impl embedded_io::ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        let state = self.end.from.lock();
        Ok(!state.bytes.is_empty() || state.ended)
    }
}

impl embedded_io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(self.put(bytes))
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl embedded_io::WriteReady for Line {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }
}

impl embedded_io_async::Read for Line {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            if self.hesitates(cx) {
                return Poll::Pending;
            }
            let count = self.limit(buffer.len());
            let mut state = self.end.from.lock();
            if state.bytes.is_empty() && !state.ended {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(take(&mut state, &mut buffer[..count])))
        })
        .await
    }
}

impl embedded_io_async::Write for Line {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            if self.hesitates(cx) {
                return Poll::Pending;
            }
            Poll::Ready(Ok(self.put(bytes)))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    let begun = std::time::Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(begun.elapsed() < LIMIT, "nothing has come in time");
        std::thread::park_timeout(LIMIT);
    }
}

/// What a future has brought when it was looked at once; it is dropped then.
pub(crate) fn once<F: Future>(future: F) -> Option<F::Output> {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    match pin!(future).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
