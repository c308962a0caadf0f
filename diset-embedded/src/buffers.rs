//! The memory of a client: handed in once, lent to one connection after the other.

use diset_proto::limits::{MIN_FRAME, MIN_OUTPUT};

/// What a frame takes that is as long as [`Limits::CHIP`](crate::Limits::CHIP) allows, with its length.
const CHIP_FRAME: usize = MIN_FRAME as usize + 4;
/// What the smallest output takes.
const CHIP_OUTPUT: usize = MIN_OUTPUT;

/// The bytes a client works with; the default is for [`Limits::CHIP`](crate::Limits::CHIP).
///
/// - `FRAME`: keeps a frame that came in pieces; four bytes more than the frame limit.
/// - `OUTPUT`: what waits to leave; at least 768. What is sent at once, such as an answer and a report, must fit.
/// - `INPUT`: what one read takes. A frame that lies whole in it is not copied; messages are lent from here.
///
/// ```
/// use diset_embedded::Buffers;
/// let mut usual: Buffers = Buffers::new();
/// let mut larger: Buffers<1028, 2048, 512> = Buffers::new();
/// # let _ = (&mut usual, &mut larger);
/// ```
pub struct Buffers<const FRAME: usize = CHIP_FRAME, const OUTPUT: usize = CHIP_OUTPUT, const INPUT: usize = 128> {
    pub(crate) frame: [u8; FRAME],
    pub(crate) output: [u8; OUTPUT],
    pub(crate) input: [u8; INPUT],
}

impl<const FRAME: usize, const OUTPUT: usize, const INPUT: usize> Buffers<FRAME, OUTPUT, INPUT> {
    /// Zeros; may stand in a `static`'s initial value.
    pub const fn new() -> Self {
        Self {
            frame: [0; FRAME],
            output: [0; OUTPUT],
            input: [0; INPUT],
        }
    }
}

impl<const FRAME: usize, const OUTPUT: usize, const INPUT: usize> Default for Buffers<FRAME, OUTPUT, INPUT> {
    fn default() -> Self {
        Self::new()
    }
}

/// Sizes only: messages are in there.
impl<const FRAME: usize, const OUTPUT: usize, const INPUT: usize> core::fmt::Debug for Buffers<FRAME, OUTPUT, INPUT> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Buffers<{FRAME}, {OUTPUT}, {INPUT}>")
    }
}
