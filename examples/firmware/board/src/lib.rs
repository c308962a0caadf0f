//! All that belongs to the board: the lm3s6965evb (Cortex-M, 256 KiB of flash, 64 KiB of RAM) as QEMU plays it.
//!
//! The agents know the board by what is public here and nothing else. For another board write these anew; README.md of
//! the firmware says how.
//!
//! | what | here | on a real board |
//! |---|---|---|
//! | line | [`Uart`]: PL011, interrupt, ring | its UART, modem or network socket |
//! | clock | [`clock`]: SysTick, 1 ms | any timer |
//! | chance | [`random`]: the host's | the chip's random number generator |
//! | credentials | [`credentials`]: the last page of the flash | flash that cannot be read out |
//! | date | [`unix_time`]: the host's | a battery-backed clock, or told by a network |
//! | logs | defmt over semihosting | defmt over RTT or a second UART |
//! | end | [`restart`]: ends QEMU | a reset |
#![no_std]

pub mod clock;
#[cfg(feature = "embassy")]
pub mod executor;
mod flash;
mod host;
mod led;
mod panic;
mod register;
mod sensor;
pub mod stack;
mod uart;
mod vectors;

pub use cortex_m_rt::entry;
pub use flash::credentials;
pub use host::{random, report, restart, unix_time};
pub use led::Led;
pub use sensor::{Measured, Sensor};
pub use uart::Uart;

use cortex_m::peripheral::syst::SystClkSource;
// Takes what is logged.
use defmt_semihosting as _;

/// The parts of the board, each handed out once.
#[non_exhaustive]
pub struct Board {
    /// The line.
    pub uart: Uart,
    /// What is measured.
    pub sensor: Sensor,
    /// A light.
    pub led: Led,
}

impl Board {
    /// Starts clock and line. `ring` keeps what has come over the line until it is read.
    ///
    /// `None` when the board has been taken before.
    pub fn take(ring: &'static mut [u8]) -> Option<Self> {
        let mut core = cortex_m::Peripherals::take()?;
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.set_reload(clock::RELOAD);
        core.SYST.clear_current();
        core.SYST.enable_interrupt();
        core.SYST.enable_counter();
        Some(Self {
            uart: Uart::start(ring),
            sensor: Sensor::new(),
            led: Led::new(),
        })
    }
}
