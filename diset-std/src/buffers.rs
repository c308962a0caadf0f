//! Buffers that belong to the worker thread, not to a connection: what an idle connection
//! would hold for nothing.

use core::cell::RefCell;

use diset_proto::Storage;

use crate::channel::{MAX_UNCONSUMED, OutBuf};

/// How much is read from a socket at once.
pub(crate) const READ_SIZE: usize = 64 * 1024;
/// Size of an output buffer as it comes from the pool.
pub(crate) const OUTPUT_SIZE: usize = 64 * 1024;
/// Most output buffers a thread keeps.
const POOLED: usize = 16;

/// What one turn of a connection works with.
pub(crate) struct Scratch {
    /// Bytes from the socket: what was kept from the last turn, then what is read.
    pub(crate) incoming: Box<[u8]>,
    /// Bytes for the socket.
    pub(crate) out: OutBuf,
}

impl Scratch {
    fn new() -> Self {
        Self {
            incoming: vec![0; MAX_UNCONSUMED + READ_SIZE].into(),
            out: OutBuf::with_room(OUTPUT_SIZE),
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Works with this thread's scratch buffers. They are taken out meanwhile, so that a
/// handler that polls another connection inside gets others.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_else(Scratch::new);
    let result = work(&mut scratch);
    scratch.out.shrink(OUTPUT_SIZE * 2);
    SCRATCH.with_borrow_mut(|kept| {
        if kept.len() < 2 {
            kept.push(scratch);
        }
    });
    result
}

/// An engine's output buffer: borrowed from the thread's pool while it holds something.
#[derive(Debug)]
pub(crate) struct PooledOutput {
    bytes: Box<[u8]>,
    max: usize,
}

impl PooledOutput {
    /// Holds nothing yet, and at most `max` bytes ever.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            bytes: Box::default(),
            max,
        }
    }
}

impl Storage for PooledOutput {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn grow(&mut self, min: usize) -> bool {
        if self.bytes.len() >= min {
            return true;
        }
        if min > self.max {
            return false;
        }
        if min <= OUTPUT_SIZE && self.bytes.is_empty() {
            self.bytes = OUTPUTS
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; OUTPUT_SIZE].into());
        } else {
            let mut larger = vec![0; min.next_power_of_two().min(self.max).max(min)];
            if let Some(front) = larger.get_mut(..self.bytes.len()) {
                front.copy_from_slice(&self.bytes);
            }
            self.release();
            self.bytes = larger.into();
        }
        true
    }

    fn release(&mut self) {
        let bytes = core::mem::take(&mut self.bytes);
        if bytes.len() == OUTPUT_SIZE {
            OUTPUTS.with_borrow_mut(|pool| {
                if pool.len() < POOLED {
                    pool.push(bytes);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_holds_memory_only_while_it_is_used() {
        let mut output = PooledOutput::new(200 * 1024);
        assert!(output.grow(10) && output.bytes().len() == OUTPUT_SIZE);
        output.bytes_mut()[0] = 7;
        assert!(output.grow(OUTPUT_SIZE + 1));
        assert_eq!(output.bytes()[0], 7);
        assert!(!output.grow(200 * 1024 + 1));
        output.release();
        assert!(output.bytes().is_empty());
    }
}
