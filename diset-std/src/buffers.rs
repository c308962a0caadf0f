//! Buffers that belong to the worker thread, not to a connection: what an idle connection
//! would hold for nothing.

use core::cell::RefCell;

use diset_proto::Storage;

use crate::channel::{MAX_UNCONSUMED, OutBuf};

/// How much is read from a socket at once.
pub(crate) const READ_SIZE: usize = 64 * 1024;
/// Size of an output buffer as it comes from the pool.
pub(crate) const OUTPUT_SIZE: usize = 64 * 1024;
/// Sizes of output buffers that a thread keeps.
const POOLED_SIZES: [usize; 2] = [OUTPUT_SIZE, 2 * OUTPUT_SIZE];
/// Most output buffers of one size that a thread keeps.
const POOLED: usize = 16;
/// Above this size the buffer of sealed bytes is given back. It holds what two output
/// buffers hold, with room for what TLS adds.
const SEALED_KEPT: usize = 4 * OUTPUT_SIZE;

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
    static OUTPUTS: RefCell<[Vec<Box<[u8]>>; POOLED_SIZES.len()]> =
        const { RefCell::new([const { Vec::new() }; POOLED_SIZES.len()]) };
}

/// Works with this thread's scratch buffers. They are taken out meanwhile, so that a
/// handler that polls another connection inside gets others. What is left in the output is
/// thrown away: the next user is another connection.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_else(Scratch::new);
    let result = work(&mut scratch);
    scratch.out.sent(usize::MAX);
    scratch.out.shrink(SEALED_KEPT);
    SCRATCH.with_borrow_mut(|kept| {
        if kept.len() < 2 {
            kept.push(scratch);
        }
    });
    result
}

/// A connection's buffer, for its output or for a frame that comes in pieces: borrowed from the thread's pool, or from
/// the heap, while it holds something.
pub(crate) struct Pooled {
    bytes: Box<[u8]>,
    least: usize,
    max: usize,
}

/// Its size; the bytes are those of messages, and do not show.
impl core::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {} bytes", self.bytes.len(), self.max)
    }
}

impl Pooled {
    /// For output: holds nothing yet, and at most `max` bytes ever.
    pub(crate) fn output(max: usize) -> Self {
        Self {
            bytes: Box::default(),
            least: OUTPUT_SIZE,
            max,
        }
    }

    /// For a frame that comes in pieces: takes no more than twice what has come.
    pub(crate) fn input(max: usize) -> Self {
        Self {
            least: 0,
            ..Self::output(max)
        }
    }
}

impl Storage for Pooled {
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
        let size = min.next_power_of_two().max(self.least).min(self.max).max(min);
        let mut larger = pooled(size).unwrap_or_else(|| vec![0; size].into());
        if let Some(front) = larger.get_mut(..self.bytes.len()) {
            front.copy_from_slice(&self.bytes);
        }
        self.release();
        self.bytes = larger;
        true
    }

    fn bound(&self) -> usize {
        self.max
    }

    fn release(&mut self) {
        let bytes = core::mem::take(&mut self.bytes);
        with_pool(bytes.len(), |pool| {
            if pool.len() < POOLED {
                pool.push(bytes);
            }
        });
    }
}

fn pooled(size: usize) -> Option<Box<[u8]>> {
    with_pool(size, Vec::pop).flatten()
}

/// Does something with this thread's buffers of that size, if such are kept.
fn with_pool<T>(size: usize, work: impl FnOnce(&mut Vec<Box<[u8]>>) -> T) -> Option<T> {
    let place = POOLED_SIZES.iter().position(|&pooled| pooled == size)?;
    OUTPUTS.with_borrow_mut(|pools| pools.get_mut(place).map(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_finds_what_another_left() {
        with_scratch(|scratch| scratch.out.extend(b"secret"));
        with_scratch(|scratch| assert!(scratch.out.is_empty()));
    }

    #[test]
    fn an_output_holds_memory_only_while_it_is_used() {
        let mut output = Pooled::output(200 * 1024);
        assert!(output.grow(10) && output.bytes().len() == OUTPUT_SIZE);
        output.bytes_mut()[0] = 7;
        assert!(output.grow(OUTPUT_SIZE + 1));
        assert_eq!(output.bytes()[0], 7);
        assert!(!output.grow(200 * 1024 + 1));
        output.release();
        assert!(output.bytes().is_empty());
    }
}
