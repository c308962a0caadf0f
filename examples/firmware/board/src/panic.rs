//! What happens when something is wrong with the firmware itself: the run fails.
//!
//! **On hardware both handlers reset the chip** (`cortex_m::peripheral::SCB::sys_reset`), so that nothing a peer sends
//! can take the device out of service for longer than a restart.

use core::panic::PanicInfo;

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    // The message itself would bring the formatting of core with it.
    match info.location() {
        Some(at) => defmt::error!("panic in {=str}:{=u32}", at.file(), at.line()),
        None => defmt::error!("panic"),
    }
    crate::host::exit(1)
}

#[defmt::panic_handler]
fn panicked_with_a_log() -> ! {
    crate::host::exit(1)
}

/// # Safety
/// Called by the hardware only.
#[cortex_m_rt::exception]
unsafe fn HardFault(_frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!("hard fault");
    crate::host::exit(1)
}
