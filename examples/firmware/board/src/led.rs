//! The light of the board: pin 0 of port F.

use crate::register::Register;

/// The light.
pub struct Led(());

// SAFETY: registers of the lm3s6965, port F and the clock of the ports; pin 0 is the light and nothing else uses the
// port.
const CLOCK: Register = unsafe { Register::at(0x400F_E108) };
// SAFETY: as above.
const DIRECTION: Register = unsafe { Register::at(0x4002_5400) };
// SAFETY: as above.
const DIGITAL: Register = unsafe { Register::at(0x4002_551C) };
// SAFETY: as above. The address selects the pins that are written.
const PIN: Register = unsafe { Register::at(0x4002_5004) };

impl Led {
    pub(crate) fn new() -> Self {
        CLOCK.write(CLOCK.read() | 1 << 5);
        DIRECTION.write(DIRECTION.read() | 1);
        DIGITAL.write(DIGITAL.read() | 1);
        Self(())
    }

    /// On or off.
    pub fn set(&mut self, on: bool) {
        PIN.write(u32::from(on));
    }
}
