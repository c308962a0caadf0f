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
    /// cannot: never beyond its [`bound`](Self::bound), below it not now, and it is asked again. Buffers of a fixed
    /// size need not implement it.
    fn grow(&mut self, min: usize) -> bool {
        self.bytes().len() >= min
    }

    /// The most bytes it can ever hold; that of a buffer of a fixed size is its length.
    fn bound(&self) -> usize {
        self.bytes().len()
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
#[derive(Clone)]
pub struct GrowBuf {
    bytes: Vec<u8>,
    max: usize,
}

/// Its size; what it keeps may be of messages, and does not show.
#[cfg(feature = "alloc")]
impl core::fmt::Debug for GrowBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {} bytes", self.bytes.len(), self.max)
    }
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

    fn bound(&self) -> usize {
        self.max
    }

    fn release(&mut self) {
        self.bytes = Vec::new();
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_to_its_bound_and_shrinks_to_nothing() {
        let mut buffer = GrowBuf::new(1000);
        assert!(buffer.grow(1));
        assert_eq!(buffer.bytes().len(), 64);
        buffer.bytes_mut()[63] = 7;
        assert!(buffer.grow(65));
        assert_eq!((buffer.bytes().len(), buffer.bytes()[63]), (128, 7));
        assert!(buffer.grow(600));
        assert_eq!(buffer.bytes().len(), 1000);
        assert!(!buffer.grow(1001));
        assert_eq!(buffer.bytes().len(), 1000);
        buffer.release();
        assert_eq!(buffer.bytes().len(), 0);
        let mut tiny = GrowBuf::new(10);
        assert!(tiny.grow(10) && !tiny.grow(11));
        assert_eq!(tiny.bytes().len(), 10);
    }

    #[test]
    fn a_fixed_buffer_does_not_grow() {
        let mut array = [0u8; 4];
        assert!(array.grow(4) && !array.grow(5));
        let mut lent = &mut array[..];
        assert!(lent.grow(4) && !lent.grow(5));
        let mut boxed: Box<[u8]> = Box::new([0; 4]);
        assert!(boxed.grow(4) && !boxed.grow(5));
    }
}
