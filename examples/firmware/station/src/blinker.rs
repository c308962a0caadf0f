//! Blinks in the background.

use board::Led;

/// Milliseconds on, and as long off.
const HALF: u64 = 50;

/// How far the blinking is.
#[derive(Default)]
pub(crate) struct Blinker {
    times: u8,
    /// Changes of the light that are left.
    left: u16,
    next: u64,
}

impl Blinker {
    pub(crate) fn begin(&mut self, times: u8, now: u64) {
        self.times = times;
        self.left = u16::from(times) * 2;
        self.next = now;
    }

    /// Changes the light when it is time; gives how often it has blinked when it has done so.
    pub(crate) fn step(&mut self, led: &mut Led, now: u64) -> Option<u8> {
        if self.left == 0 || now < self.next {
            return None;
        }
        led.set(self.left.is_multiple_of(2));
        self.left -= 1;
        self.next = now + HALF;
        (self.left == 0).then_some(self.times)
    }

    pub(crate) fn wake(&self) -> Option<u64> {
        (self.left > 0).then_some(self.next)
    }
}
