//! The time since the start, in milliseconds, and sleep until an interrupt.
//!
//! SysTick counts milliseconds. A board that lives on a battery takes a timer that is set to the next time instead.

use core::cell::Cell;

use critical_section::Mutex;

/// The core runs at 12.5 MHz, as QEMU resets it.
const CORE_HERTZ: u32 = 12_500_000;
/// SysTick counts from here to 0 in one millisecond.
pub(crate) const RELOAD: u32 = CORE_HERTZ / 1000 - 1;

static MILLISECONDS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Milliseconds since the start.
pub fn now() -> u64 {
    critical_section::with(|section| MILLISECONDS.borrow(section).get())
}

/// Sleeps until this time, or until `ready`, which is asked after each interrupt.
pub fn wait(until: u64, mut ready: impl FnMut() -> bool) {
    while now() < until {
        // Nothing can become ready between the question and the sleep: an interrupt that comes meanwhile ends the sleep.
        let done = critical_section::with(|_| {
            let done = ready();
            if !done {
                cortex_m::asm::wfi();
            }
            done
        });
        if done {
            return;
        }
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    let now = critical_section::with(|section| {
        let milliseconds = MILLISECONDS.borrow(section);
        let now = milliseconds.get() + 1;
        milliseconds.set(now);
        now
    });
    #[cfg(feature = "embassy")]
    crate::executor::tick(now);
    #[cfg(not(feature = "embassy"))]
    let _ = now;
}
