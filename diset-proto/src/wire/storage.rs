//! Where bytes are kept: buffers that the caller supplies.

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, vec::Vec};

/// A buffer that an engine keeps bytes in.
///
/// Arrays, `&mut [u8]` and `Box<[u8]>` are buffers of a fixed size. [`GrowBuf`] (feature
/// `alloc`) grows up to a bound and gives its memory back when it is empty. An adapter
/// may bring its own, for instance one that borrows from a pool.
pub trait Storage {
    /// All bytes, used or not.
    fn bytes(&self) -> &[u8];

    /// All bytes, used or not.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Makes room for at least `min` bytes in all, keeping what is there; false when it
    /// cannot. Buffers of a fixed size need not implement it.
    fn grow(&mut self, min: usize) -> bool {
        self.bytes().len() >= min
    }

    /// Nothing is kept any more: a buffer that grew may give its memory back.
    fn release(&mut self) {}
}

impl<const N: usize> Storage for [u8; N] {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Storage for &mut [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

#[cfg(feature = "alloc")]
impl Storage for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// A buffer on the heap that grows as bytes arrive, never beyond its bound, and is given
/// back when it is empty.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct GrowBuf {
    bytes: Vec<u8>,
    max: usize,
}

#[cfg(feature = "alloc")]
impl GrowBuf {
    /// An empty buffer that grows to at most `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max }
    }
}

#[cfg(feature = "alloc")]
impl Storage for GrowBuf {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn grow(&mut self, min: usize) -> bool {
        if min > self.max {
            return false;
        }
        if min > self.bytes.len() {
            let size = min
                .checked_next_power_of_two()
                .unwrap_or(self.max)
                .max(64)
                .min(self.max);
            self.bytes.resize(size, 0);
        }
        true
    }

    fn release(&mut self) {
        self.bytes = Vec::new();
    }
}
