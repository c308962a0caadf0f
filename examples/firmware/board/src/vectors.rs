//! The interrupt table of the chip: entry 5 is the first UART, no other is used.

use cortex_m::interrupt::InterruptNumber;

unsafe extern "C" {
    fn UART0();
    fn DefaultHandler();
}

/// The linker puts it behind the exceptions of the core. The chip has 44.
// SAFETY: the section is that of cortex-m-rt for this table, and its entries are handlers.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 44] = {
    let mut table: [unsafe extern "C" fn(); 44] = [DefaultHandler; 44];
    table[Interrupt::Uart0 as usize] = UART0;
    table
};

/// The interrupts that are used.
#[derive(Clone, Copy)]
pub(crate) enum Interrupt {
    Uart0 = 5,
}

// SAFETY: the numbers are those of the chip's manual and do not change.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}
