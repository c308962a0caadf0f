//! How much of the stack has been used: the start code of cortex-m-rt paints it (feature `paint-stack`).

use core::ptr::addr_of;

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of the stack that have been written at least once.
pub fn used() -> usize {
    let (top, bottom) = (addr_of!(_stack_start) as usize, addr_of!(_stack_end) as usize);
    let mut at = bottom;
    while at < top {
        // SAFETY: between the two symbols lies the stack, aligned to words; reading it does no harm.
        let word = unsafe { core::ptr::with_exposed_provenance::<u32>(at).read_volatile() };
        if word != STACK_PAINT_VALUE {
            break;
        }
        at += size_of::<u32>();
    }
    top - at
}
