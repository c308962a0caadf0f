//! The line: the first UART of the chip, a PL011. Its interrupt puts what comes into a ring, which readers empty.
//!
//! When the ring is full the interrupt is switched off until there is room again; in QEMU that holds the other side back.
//! On a real line it takes flow control (RTS/CTS) or a ring that is long enough for what the peer's credit allows.

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use critical_section::Mutex;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use line::Port;

use crate::clock;
use crate::register::Register;
use crate::vectors::Interrupt;

const BASE: usize = 0x4000_C000;
// SAFETY (all below): registers of the PL011 at this address; only this file uses them.
const DATA: Register = unsafe { Register::at(BASE) };
// SAFETY: see above.
const FLAGS: Register = unsafe { Register::at(BASE + 0x18) };
// SAFETY: see above.
const LINE_CONTROL: Register = unsafe { Register::at(BASE + 0x2C) };
// SAFETY: see above.
const CONTROL: Register = unsafe { Register::at(BASE + 0x30) };
// SAFETY: see above.
const FIFO_LEVELS: Register = unsafe { Register::at(BASE + 0x34) };
// SAFETY: see above.
const MASK: Register = unsafe { Register::at(BASE + 0x38) };
// SAFETY: see above.
const CLEAR: Register = unsafe { Register::at(BASE + 0x44) };

const RX_EMPTY: u32 = 1 << 4;
const TX_FULL: u32 = 1 << 5;
/// Bytes have come: enough of them, or some and then none for a while.
const RX_INTERRUPTS: u32 = 1 << 4 | 1 << 6;
const TX_INTERRUPT: u32 = 1 << 5;

static RING: Mutex<RefCell<Ring>> = Mutex::new(RefCell::new(Ring {
    bytes: &mut [],
    at: 0,
    length: 0,
    waker: None,
}));

struct Ring {
    bytes: &'static mut [u8],
    /// The oldest byte.
    at: usize,
    length: usize,
    /// Who waits for bytes, or for room to write.
    waker: Option<Waker>,
}

impl Ring {
    /// From the hardware, as long as there is room.
    fn fill(&mut self) {
        while FLAGS.read() & RX_EMPTY == 0 {
            if self.length == self.bytes.len() {
                MASK.write(MASK.read() & !RX_INTERRUPTS);
                return;
            }
            let end = (self.at + self.length) % self.bytes.len();
            // The error bits above the byte are left alone: the wrapper around the line finds damage.
            self.bytes[end] = DATA.read() as u8;
            self.length += 1;
        }
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.length.min(buffer.len());
        for byte in &mut buffer[..count] {
            *byte = self.bytes[self.at];
            self.at = (self.at + 1) % self.bytes.len();
        }
        self.length -= count;
        if count > 0 {
            MASK.write(MASK.read() | RX_INTERRUPTS);
        }
        count
    }
}

fn with_ring<R>(work: impl FnOnce(&mut Ring) -> R) -> R {
    critical_section::with(|section| work(&mut RING.borrow_ref_mut(section)))
}

/// The line.
pub struct Uart(());

impl Uart {
    pub(crate) fn start(ring: &'static mut [u8]) -> Self {
        with_ring(|it| it.bytes = ring);
        // 8 bits, FIFO on; an interrupt as early as there is one.
        LINE_CONTROL.write(0x70);
        FIFO_LEVELS.write(0);
        CONTROL.write(0x301);
        // QEMU's main loop does not notice that the receiver is on before it was read from once.
        DATA.read();
        MASK.write(RX_INTERRUPTS);
        // SAFETY: the handler below is there and no critical section is built on this mask.
        unsafe { cortex_m::peripheral::NVIC::unmask(Interrupt::Uart0) };
        Self(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn UART0() {
    // What says that bytes have come ends when they are read, or stays until there is room for them.
    CLEAR.write(TX_INTERRUPT);
    let waker = with_ring(|ring| {
        // It says that there is room, and would again and again.
        MASK.write(MASK.read() & !TX_INTERRUPT);
        ring.fill();
        ring.waker.take()
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(with_ring(|ring| ring.length > 0))
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        clock::wait(u64::MAX, || with_ring(|ring| ring.length > 0));
        Ok(with_ring(|ring| ring.take(buffer)))
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(FLAGS.read() & TX_FULL == 0)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        for &byte in bytes {
            while FLAGS.read() & TX_FULL != 0 {
                if count > 0 {
                    return Ok(count);
                }
            }
            DATA.write(u32::from(byte));
            count += 1;
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        // What is in the hardware leaves by itself.
        Ok(())
    }
}

impl embedded_io_async::Read for Uart {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            self.wake(cx.waker());
            match with_ring(|ring| ring.take(buffer)) {
                0 if !buffer.is_empty() => Poll::Pending,
                count => Poll::Ready(Ok(count)),
            }
        })
        .await
    }
}

impl embedded_io_async::Write for Uart {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            self.wake(cx.waker());
            if FLAGS.read() & TX_FULL != 0 {
                return Poll::Pending;
            }
            Poll::Ready(Write::write(self, bytes))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Port for Uart {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn wait(&mut self, until: u64) {
        clock::wait(until, || with_ring(|ring| ring.length > 0));
    }

    fn wake(&mut self, waker: &Waker) {
        with_ring(|ring| {
            ring.waker = Some(waker.clone());
            if FLAGS.read() & TX_FULL != 0 {
                MASK.write(MASK.read() | TX_INTERRUPT);
            }
        });
    }
}
