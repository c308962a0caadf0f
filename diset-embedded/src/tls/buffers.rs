//! The memory of a TLS channel: lent to one after the other.

use core::cell::{RefCell, RefMut};
use core::fmt;

use diset_proto::Storage;

/// What a record of 1 KiB takes, with its header, type and tag.
const RECORD: usize = 1024 + 5 + 1 + 16;

/// The bytes of a TLS channel; the default is for a service that sends records of at most 1 KiB.
///
/// - `READ`: holds one whole record of the peer, also of its handshake, with 22 bytes for header, type and tag.
/// - `WRITE`: holds one whole record of the client; its certificate and 64 bytes at least.
///
/// They are not on top of a second pair: embedded-tls works in the same ones while the handshake lasts.
///
/// ```
/// use diset_embedded::tls::TlsBuffers;
/// let usual: TlsBuffers = TlsBuffers::new();
/// let larger: TlsBuffers<16_662, 1046> = TlsBuffers::new();
/// # let _ = (usual, larger);
/// ```
pub struct TlsBuffers<const READ: usize = RECORD, const WRITE: usize = RECORD> {
    input: RefCell<[u8; READ]>,
    output: RefCell<[u8; WRITE]>,
}

/// The two of them, without their lengths.
pub(super) type MemoryOf<'b> = (&'b RefCell<[u8]>, &'b RefCell<[u8]>);

impl<const READ: usize, const WRITE: usize> TlsBuffers<READ, WRITE> {
    /// Zeros; may stand in a `static`'s initial value.
    pub const fn new() -> Self {
        Self {
            input: RefCell::new([0; READ]),
            output: RefCell::new([0; WRITE]),
        }
    }

    pub(super) const fn memory(&self) -> MemoryOf<'_> {
        (&self.input, &self.output)
    }
}

impl<const READ: usize, const WRITE: usize> Default for TlsBuffers<READ, WRITE> {
    fn default() -> Self {
        Self::new()
    }
}

/// Sizes only: messages are in there.
impl<const READ: usize, const WRITE: usize> fmt::Debug for TlsBuffers<READ, WRITE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsBuffers<{READ}, {WRITE}>")
    }
}

/// A buffer lent to one channel. The next one can have it when this is dropped.
pub(super) struct Lent<'b>(RefMut<'b, [u8]>);

impl<'b> Lent<'b> {
    /// `None` while it is lent to another channel.
    pub(super) fn of(buffer: &'b RefCell<[u8]>) -> Option<Self> {
        buffer.try_borrow_mut().ok().map(Self)
    }
}

impl Storage for Lent<'_> {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
