//! Numbers that follow from a seed: SplitMix64.

use core::time::Duration;

/// A row of numbers that follows from its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The row of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `end`; 0 when that is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        let any = self.any();
        if end == 0 { 0 } else { any % end }
    }

    /// One from 0 below `end`, as an index.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or_default()
    }

    /// True once in so many times.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Any span up to so many milliseconds.
    pub const fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most.saturating_add(1)))
    }

    /// 16 bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        let (one, two) = (u128::from(self.any()), u128::from(self.any()));
        (one << 64 | two).to_le_bytes()
    }
}
