//! Input bytes → frames. A frame that lies whole in the input is lent from there; only a
//! partial one is kept.

use super::bytes::copy;
use super::frame::{Frame, Malformed, RawFrame};
use super::preamble::{MAGIC, PREAMBLE};
use super::storage::Storage;
use super::varint::{self, Parsed};

/// A length takes at most this many bytes (PROTOCOL F-2).
const MAX_LENGTH_BYTES: usize = 4;

/// Cuts what arrives into frames.
///
/// Any split of the bytes gives the same frames. `B` keeps a frame that came in pieces,
/// header included; it must hold four bytes more than the frame limit, and may be empty
/// the rest of the time (see [`Storage`]).
#[cfg_attr(feature = "snapshot", derive(Clone))]
pub struct Deframer<B> {
    storage: B,
    kept: usize,
    state: State,
}

/// What is kept of a frame, and nothing else.
#[cfg(feature = "snapshot")]
impl<B: Storage> core::hash::Hash for Deframer<B> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.state.hash(state);
        self.storage.bytes().get(..self.kept).hash(state);
    }
}

/// How much it keeps; the bytes are those of messages, and do not show.
impl<B> core::fmt::Debug for Deframer<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Deframer")
            .field("kept", &self.kept)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    /// So many bytes of the preamble have come.
    Preamble(u8),
    /// Between frames, or inside one of which `kept` bytes are stored.
    Frames,
    /// The stored frame has been lent and goes at the next call.
    Lent,
    /// The bytes made no sense; nothing more is read.
    Broken,
}

/// What the front of some bytes holds.
enum Header {
    Partial,
    Whole { prefix: usize, length: usize },
    Bad(Malformed),
}

impl<B: Storage> Deframer<B> {
    /// A deframer that waits for the peer's preamble.
    pub const fn new(storage: B) -> Self {
        Self {
            storage,
            kept: 0,
            state: State::Preamble(0),
        }
    }

    /// The next frame of `input`, which is advanced past it; `None` when the rest of the
    /// input has been taken in and holds no whole frame.
    ///
    /// `max` is the longest frame allowed now:
    /// [`Connection::max_frame`](crate::Connection::max_frame). A longer one is refused
    /// from its header alone (PROTOCOL F-5).
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8], max: u32) -> Option<Frame<'s>> {
        if let State::Lent = self.state {
            self.kept = 0;
            self.storage.release();
            self.state = State::Frames;
        }
        if let State::Preamble(seen) = self.state
            && let Err(malformed) = self.take_preamble(seen, input)
        {
            return Some(self.broken(input, malformed));
        }
        match self.state {
            State::Frames if self.kept == 0 => self.next_from_input(input, max),
            State::Frames => self.next_from_pieces(input, max),
            // In the preamble: everything was taken.
            State::Preamble(_) | State::Lent => None,
            State::Broken => {
                *input = &[];
                None
            }
        }
    }

    /// Whether the frame that [`next`](Self::next) lent last is in the storage. So a loop can pass over frames, and borrow
    /// the one that it ends with.
    pub(crate) fn is_lent(&self) -> bool {
        self.state == State::Lent
    }

    /// The body of that frame, which is so long and stands at its end.
    pub(crate) fn lent(&self, length: usize) -> &[u8] {
        let start = self.kept.saturating_sub(length);
        self.storage.bytes().get(start..self.kept).unwrap_or_default()
    }

    /// Another transport: it waits for the preamble of the peer.
    pub(crate) fn restart(&mut self) {
        self.kept = 0;
        self.storage.release();
        self.state = State::Preamble(0);
    }

    /// Its storage.
    pub(crate) fn into_storage(self) -> B {
        self.storage
    }

    /// Whether a frame, or the preamble, has come in part.
    pub const fn is_partial(&self) -> bool {
        match self.state {
            State::Preamble(seen) => seen > 0,
            State::Frames => self.kept > 0,
            State::Lent | State::Broken => false,
        }
    }

    /// PROTOCOL P-2: the first byte that differs is enough to know.
    fn take_preamble(&mut self, seen: u8, input: &mut &[u8]) -> Result<(), Malformed> {
        let mut seen = seen;
        for &expected in PREAMBLE.iter().skip(usize::from(seen)) {
            let Some((&byte, rest)) = input.split_first() else {
                break;
            };
            if byte != expected {
                let version = usize::from(seen) == MAGIC.len();
                return Err(if version {
                    Malformed::Version(byte)
                } else {
                    Malformed::NotDiset
                });
            }
            *input = rest;
            seen += 1;
        }
        self.state = if usize::from(seen) == PREAMBLE.len() {
            State::Frames
        } else {
            State::Preamble(seen)
        };
        Ok(())
    }

    /// Nothing is kept: lend from the input, or begin to keep.
    fn next_from_input<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8], max: u32) -> Option<Frame<'s>> {
        if input.is_empty() {
            return None;
        }
        match header(input, max) {
            Header::Bad(malformed) => Some(self.broken(input, malformed)),
            Header::Whole { prefix, length } => {
                let whole = input.split_at_checked(prefix + length);
                let Some((frame, rest)) = whole else {
                    return self.keep_all(input);
                };
                *input = rest;
                Some(lend(frame, prefix))
            }
            Header::Partial => self.keep_all(input),
        }
    }

    /// A frame has begun: keep up to its end, then lend it.
    fn next_from_pieces<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8], max: u32) -> Option<Frame<'s>> {
        loop {
            let kept = self.storage.bytes().get(..self.kept).unwrap_or_default();
            match header(kept, max) {
                Header::Bad(malformed) => return Some(self.broken(input, malformed)),
                Header::Partial => {
                    if input.is_empty() {
                        return None;
                    }
                    if let Err(malformed) = self.keep(input, 1) {
                        return Some(self.broken(input, malformed));
                    }
                }
                Header::Whole { prefix, length } => {
                    let missing = (prefix + length).saturating_sub(self.kept);
                    let taken = missing.min(input.len());
                    if let Err(malformed) = self.keep(input, taken) {
                        return Some(self.broken(input, malformed));
                    }
                    if taken < missing {
                        return None;
                    }
                    self.state = State::Lent;
                    let kept = self.storage.bytes().get(..self.kept).unwrap_or_default();
                    return Some(lend(kept, prefix));
                }
            }
        }
    }

    fn keep_all(&mut self, input: &mut &[u8]) -> Option<Frame<'static>> {
        let all = input.len();
        match self.keep(input, all) {
            Ok(()) => None,
            Err(malformed) => Some(self.broken(input, malformed)),
        }
    }

    /// Moves `count` bytes of the input into the storage. The storage grows by what has
    /// arrived, never by what a header promises.
    fn keep(&mut self, input: &mut &[u8], count: usize) -> Result<(), Malformed> {
        let end = self.kept + count;
        if !self.storage.grow(end) {
            return Err(Malformed::NoRoom);
        }
        let (Some((taken, rest)), Some(place)) = (
            input.split_at_checked(count),
            self.storage.bytes_mut().get_mut(self.kept..end),
        ) else {
            return Err(Malformed::NoRoom);
        };
        copy(taken, place);
        self.kept = end;
        *input = rest;
        Ok(())
    }

    fn broken(&mut self, input: &mut &[u8], malformed: Malformed) -> Frame<'static> {
        self.state = State::Broken;
        self.kept = 0;
        self.storage.release();
        *input = &[];
        Frame(Err(malformed))
    }
}

/// Reads the length at the front of `bytes` and holds it against the limit.
#[inline]
fn header(bytes: &[u8], max: u32) -> Header {
    match varint::read_padded(bytes, MAX_LENGTH_BYTES) {
        Parsed::Partial => Header::Partial,
        Parsed::Malformed | Parsed::Value(0, _) => Header::Bad(Malformed::Header),
        Parsed::Value(length, _) if length > u64::from(max) => Header::Bad(Malformed::TooLong),
        Parsed::Value(length, prefix) => match usize::try_from(length) {
            Ok(length) => Header::Whole { prefix, length },
            Err(_) => Header::Bad(Malformed::TooLong),
        },
    }
}

/// The frame in `bytes` after its length.
#[inline]
fn lend(bytes: &[u8], prefix: usize) -> Frame<'_> {
    let raw = bytes.get(prefix..).and_then(<[u8]>::split_first);
    Frame(
        raw.map(|(&head, body)| RawFrame { head, body })
            .ok_or(Malformed::Header),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: [u8; 5] = PREAMBLE;

    fn heads<B: Storage>(deframer: &mut Deframer<B>, mut input: &[u8], max: u32) -> Vec<Result<u8, Malformed>> {
        let mut seen = Vec::new();
        while let Some(frame) = deframer.next(&mut input, max) {
            seen.push(frame.0.map(|raw| raw.head));
        }
        seen
    }

    fn ready<B: Storage>(storage: B) -> Deframer<B> {
        let mut deframer = Deframer::new(storage);
        assert!(heads(&mut deframer, &STREAM, 512).is_empty());
        deframer
    }

    #[test]
    fn the_preamble_is_compared_byte_by_byte() {
        let mut deframer = Deframer::new([0; 8]);
        assert!(!deframer.is_partial());
        assert!(heads(&mut deframer, &STREAM[..3], 512).is_empty());
        assert!(deframer.is_partial());
        assert_eq!(
            heads(&mut deframer, b"X", 512),
            [Err(Malformed::NotDiset)],
            "PROTOCOL P-2"
        );
        assert!(
            heads(&mut deframer, &[1, 0x86], 512).is_empty(),
            "PROTOCOL P-2: nothing more"
        );
        let mut deframer = Deframer::new([0; 8]);
        assert_eq!(
            heads(&mut deframer, &[0xd1, b'S', b'E', b'T', 2], 512),
            [Err(Malformed::Version(2))],
            "PROTOCOL P-2"
        );
    }

    #[test]
    fn the_limit_may_change_between_frames_of_one_input() {
        let mut deframer = ready([0; 16]);
        let mut input = &[1, 0x81, 3, 0x82, 0, 0, 1, 0x83][..];
        let mut heads = Vec::new();
        for max in [1, 3, 3] {
            let frame = deframer.next(&mut input, max).unwrap();
            heads.push(frame.0.unwrap().head);
        }
        assert_eq!(heads, [0x81, 0x82, 0x83], "PROTOCOL F-6, H-1");
        assert!(deframer.next(&mut input, 3).is_none());
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header() {
        for input in [&[0x81, 0x04][..], &[0xff, 0xff, 0xff, 0x7f]] {
            let mut deframer = ready([0; 8]);
            assert_eq!(
                heads(&mut deframer, input, 512),
                [Err(Malformed::TooLong)],
                "PROTOCOL F-5"
            );
        }
        for input in [&[0][..], &[0x80, 0x80, 0x80, 0x00], &[0xff, 0xff, 0xff, 0xff]] {
            let mut deframer = ready([0; 8]);
            assert_eq!(
                heads(&mut deframer, input, 512),
                [Err(Malformed::Header)],
                "PROTOCOL F-2"
            );
        }
    }

    #[test]
    fn a_longest_frame_with_a_longest_length_has_room() {
        let frame = [&[0x90, 0x80, 0x80, 0x00, 0x86][..], &[7; 15]].concat();
        let mut deframer = ready([0; 16 + MAX_LENGTH_BYTES]);
        for byte in &frame[..frame.len() - 1] {
            assert!(heads(&mut deframer, &[*byte], 16).is_empty());
        }
        assert_eq!(heads(&mut deframer, &[7], 16), [Ok(0x86)], "PROTOCOL F-2");
        assert_eq!(heads(&mut deframer, &frame, 16), [Ok(0x86)]);
    }

    #[test]
    fn a_storage_that_is_too_small_is_told() {
        let mut deframer = ready([0; 8]);
        assert_eq!(
            heads(&mut deframer, &[20, 1, 2, 3, 4, 5, 6, 7, 8], 512),
            [Err(Malformed::NoRoom)]
        );
        // Whole in the input it needs none.
        let mut deframer = ready([0; 0]);
        assert_eq!(heads(&mut deframer, &[2, 0x85, 0], 512), [Ok(0x85)]);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn storage_grows_with_what_came_and_is_given_back() {
        use crate::wire::storage::GrowBuf;
        let mut deframer = ready(GrowBuf::new(100_000));
        // 60000 bytes are announced, two have come.
        assert!(heads(&mut deframer, &[0xe0, 0xd4, 0x03, 0, 0], 65536).is_empty());
        assert!(deframer.is_partial());
        assert_eq!(deframer.storage.bytes().len(), 64);
        let rest = vec![0; 60_000 - 2];
        assert_eq!(heads(&mut deframer, &rest, 65536), [Ok(0)]);
        assert_eq!(deframer.storage.bytes().len(), 0, "given back");
        assert!(!deframer.is_partial());
    }
}
