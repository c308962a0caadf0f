//! Registers of peripherals, read and written as the manual of the chip says.

/// One register.
pub(crate) struct Register(usize);

impl Register {
    /// # Safety
    /// At this address is a 32-bit register that may be read and written at any time without harm to memory.
    pub(crate) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(crate) fn read(&self) -> u32 {
        // SAFETY: `at` was promised a register here.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    pub(crate) fn write(&self, value: u32) {
        // SAFETY: as in `read`.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}
