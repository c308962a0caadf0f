//! Frames that wait to leave, encoded in place. A frame is whole or not there.
//!
//! The length of a frame stands before its body, and is known behind it. So room is left for as many bytes as that of
//! the last frame took: a length that is shorter is padded, for one that is longer the body moves (PROTOCOL F-2).
//! Nothing is encoded again but what found too little room.

use super::bytes::{copy, shift};
use super::frame::Kind;
use super::storage::Storage;
use super::tlv::Writer;
use super::varint;
use crate::error::Misuse;
use crate::limits::MIN_OUTPUT;

/// Why a frame was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutError {
    /// No room now; there will be when bytes have left, or the storage can grow.
    Full,
    /// No room even when all is empty, or longer than the peer takes.
    TooLong,
    /// What writes the body failed.
    Body,
}

/// A storage that grows has room for this much at first, when it can.
const FIRST_ROOM: usize = 1024;

/// Bytes on their way out, in the order in which they were put in (PROTOCOL M-3):
/// `sent..end` of the storage.
#[cfg_attr(feature = "snapshot", derive(Clone))]
pub(crate) struct Outbox<B> {
    storage: B,
    sent: usize,
    end: usize,
    /// How many bytes the length of the last frame needed. Those of a stream are alike.
    width: usize,
}

/// How much waits; the bytes are those of messages, and do not show.
impl<B> core::fmt::Debug for Outbox<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.end - self.sent)
    }
}

/// What waits, and nothing else: where in the storage it lies, and the guess for the next length, do
/// not show while there is room.
#[cfg(feature = "snapshot")]
impl<B: Storage> core::hash::Hash for Outbox<B> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl<B> Outbox<B> {
    pub(crate) const fn new(storage: B) -> Self {
        Self {
            storage,
            sent: 0,
            end: 0,
            width: 1,
        }
    }

    pub(crate) fn into_storage(self) -> B {
        self.storage
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.sent == self.end
    }
}

impl<B: Storage> Outbox<B> {
    /// One in a storage that takes each control frame.
    pub(crate) fn checked(mut storage: B) -> Result<Self, Misuse> {
        if !storage.grow(MIN_OUTPUT) {
            return Err(Misuse::OutputTooSmall);
        }
        storage.release();
        Ok(Self::new(storage))
    }

    /// The most bytes it can hold.
    pub(crate) fn bound(&self) -> usize {
        self.storage.bound()
    }

    /// What is to be transmitted.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.storage.bytes().get(self.sent..self.end).unwrap_or_default()
    }

    /// The first `count` bytes have left.
    pub(crate) fn transmitted(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(self.end);
        if self.sent == self.end {
            self.sent = 0;
            self.end = 0;
            self.storage.release();
        }
    }

    /// Whether a frame of this length, with `reserve` bytes behind it, fits when all is empty.
    pub(crate) fn could_take(&self, length: usize, reserve: usize) -> bool {
        let prefix = varint::len(length as u64);
        length.saturating_add(prefix + reserve) <= self.storage.bound()
    }

    /// Forgets what has not been transmitted, and how wide the last length was.
    pub(crate) fn clear(&mut self) {
        let all = self.end - self.sent;
        self.transmitted(all);
        self.width = 1;
    }

    /// Appends bytes that are no frame.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        let end = self.end + bytes.len();
        if !self.storage.grow(end) {
            return false;
        }
        match self.storage.bytes_mut().get_mut(self.end..end) {
            Some(place) => copy(bytes, place),
            None => return false,
        }
        self.end = end;
        true
    }

    /// Appends a frame whose body `write` encodes in place, and whose length is at most `max`; `reserve` bytes stay free
    /// behind it. Gives the frame's length, head and body.
    ///
    /// `write` answers how long the body is, or that it failed. When that is more than the place it was given, nothing of
    /// it counts, and `write` is asked again when there can be one that is long enough.
    pub(crate) fn frame(
        &mut self,
        head: u8,
        reserve: usize,
        max: u32,
        write: &mut dyn FnMut(&mut [u8]) -> Option<usize>,
    ) -> Result<u32, PutError> {
        if self.storage.bytes().is_empty() {
            let first = FIRST_ROOM.min(self.storage.bound());
            self.storage.grow(first);
        }
        loop {
            let (width, place) = self.place(head, reserve);
            let room = place.len();
            let Some(size) = write(place) else {
                self.give_back();
                return Err(PutError::Body);
            };
            let length = u32::try_from(size.saturating_add(1)).unwrap_or(u32::MAX);
            if length > max {
                self.give_back();
                return Err(PutError::TooLong);
            }
            if size <= room && self.close(length, width, reserve) {
                return Ok(length);
            }
            if !self.make_room(varint::len_of_length(length) + length as usize + reserve) {
                self.give_back();
                let ever = self.could_take(length as usize, reserve);
                return Err(if ever { PutError::Full } else { PutError::TooLong });
            }
        }
    }

    /// Appends a control frame of at most this length. They need not leave anything free.
    // Called and not copied to each kind.
    #[inline(never)]
    pub(crate) fn control(
        &mut self,
        kind: Kind,
        max: u32,
        write: &mut dyn FnMut(&mut Writer<'_>),
    ) -> Result<(), PutError> {
        let put = self.frame(kind.head(), 0, max, &mut |place| {
            // A body is at most a frame less its head.
            let size = place.len().min(max as usize - 1);
            let mut writer = Writer::new(place.get_mut(..size).unwrap_or_default());
            write(&mut writer);
            Some(writer.len())
        });
        put.map(|_| ())
    }

    /// How many bytes wait: for [`undo`](Self::undo).
    pub(crate) const fn waiting(&self) -> usize {
        self.end - self.sent
    }

    /// Takes back all that was put in since so many bytes waited.
    pub(crate) fn undo(&mut self, waiting: usize) {
        self.end = self.end.min(self.sent.saturating_add(waiting));
        self.give_back();
    }

    /// A storage that grew for nothing may shrink again.
    fn give_back(&mut self) {
        if self.is_empty() {
            self.transmitted(0);
        }
    }

    /// Where a body may be written, behind its head and a length, and how many bytes are left for that length: no more
    /// than one takes for which there is room, or what fits could seem not to.
    fn place(&mut self, head: u8, reserve: usize) -> (usize, &mut [u8]) {
        let (width, end) = (self.width, self.end);
        let bytes = self.storage.bytes_mut();
        let usable = bytes.len().saturating_sub(reserve);
        let longest = usable.saturating_sub(end.saturating_add(width));
        let longest = u32::try_from(longest).unwrap_or(u32::MAX);
        let width = width.min(varint::len_of_length(longest));
        let frame = bytes.get_mut(end.saturating_add(width)..usable).unwrap_or_default();
        match frame.split_first_mut() {
            Some((first, body)) => {
                *first = head;
                (width, body)
            }
            None => (width, &mut []),
        }
    }

    /// Puts the length before what was written to [`place`](Self::place); false when there is no room for it.
    fn close(&mut self, length: u32, width: usize, reserve: usize) -> bool {
        let (needed, size) = (varint::len_of_length(length), length as usize);
        let taken = needed.max(width);
        let end = self.end.saturating_add(taken).saturating_add(size);
        let bytes = self.storage.bytes_mut();
        let usable = bytes.len().saturating_sub(reserve);
        let Some(frame) = bytes.get_mut(self.end..end).filter(|_| end <= usable) else {
            return false;
        };
        if needed > width {
            shift(frame, width..width + size, needed);
        }
        varint::write_padded(length.into(), taken, frame);
        (self.width, self.end) = (needed, end);
        true
    }

    /// Moves what waits to the front, and grows the storage, so that there is room for so much behind it.
    fn make_room(&mut self, needed: usize) -> bool {
        if self.sent > 0 {
            shift(self.storage.bytes_mut(), self.sent..self.end, 0);
            self.end -= self.sent;
            self.sent = 0;
        }
        self.storage.grow(self.end.saturating_add(needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Appends a frame whose body is `size` bytes of `fill`.
    fn put<B: Storage>(out: &mut Outbox<B>, size: usize, fill: u8, reserve: usize) -> Result<u32, PutError> {
        out.frame(0x00, reserve, 1 << 20, &mut |place| {
            if let Some(place) = place.get_mut(..size) {
                place.fill(fill);
            }
            Some(size)
        })
    }

    /// The frame that `put` appends, with a length of at least this width.
    fn wide(size: usize, fill: u8, width: usize) -> Vec<u8> {
        let length = size as u64 + 1;
        let mut prefix = [0; 4];
        let width = varint::write_padded(length, width.max(varint::len(length)), &mut prefix).unwrap();
        [&prefix[..width], &[0], &vec![fill; size]].concat()
    }

    fn frame(size: usize, fill: u8) -> Vec<u8> {
        wide(size, fill, 1)
    }

    #[test]
    fn a_length_that_is_too_wide_is_padded_and_one_that_is_too_narrow_moves_the_body() {
        let mut out = Outbox::new(vec![0; 60_000].into_boxed_slice());
        let mut expected = Vec::new();
        for (size, fill, width) in [
            (126, 1, 1),
            (127, 2, 2),
            (128, 3, 2),
            (126, 4, 2),
            (0, 5, 1),
            (16_383, 6, 3),
            (0, 7, 3),
            (0, 8, 1),
        ] {
            let mut written = 0;
            out.frame(0x00, 0, 1 << 20, &mut |place| {
                written += 1;
                place[..size].fill(fill);
                Some(size)
            })
            .unwrap();
            assert_eq!(written, 1, "PROTOCOL F-2: nothing is encoded again");
            expected.extend(wide(size, fill, width));
            assert!(out.bytes() == expected, "PROTOCOL F-2: after a body of {size}");
        }
    }

    /// A width that was left does not take the room of a frame that fits without.
    #[test]
    fn what_fits_in_its_shortest_form_fits_after_any_other() {
        let before = 16_384;
        for room in (0..=140).chain(16_370..=16_400) {
            for first in [0, 127, before] {
                let mut out = Outbox::new(vec![0; before + 4 + room].into_boxed_slice());
                put(&mut out, first, 1, 0).unwrap();
                let filler = before + 4 - out.waiting();
                assert!(out.raw(&vec![0; filler]));
                let size = (0..=room).rev().find(|size| frame(*size, 2).len() <= room);
                let (waiting, next) = (out.waiting(), size.map_or(0, |size| size + 1));
                assert_eq!(put(&mut out, next, 2, 0), Err(PutError::Full), "{room} after {first}");
                if let Some(size) = size {
                    put(&mut out, size, 2, 0).unwrap();
                    let end = &out.bytes()[waiting..];
                    assert!(
                        end.ends_with(&vec![2; size]) && end.len() <= room,
                        "{room} after {first}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_last_byte_can_be_used_whatever_was_guessed() {
        for first in [126, 127] {
            let mut out = Outbox::new([0; 200]);
            put(&mut out, first, 1, 0).unwrap();
            let free = 200 - out.bytes().len();
            assert_eq!(put(&mut out, free - 1, 2, 0), Err(PutError::Full));
            assert_eq!(put(&mut out, free - 2, 2, 0).unwrap() as usize, free - 1);
            assert_eq!(out.bytes().len(), 200);
        }
    }

    #[test]
    fn undo_leaves_what_was_there() {
        let mut out = Outbox::new([0; 512]);
        put(&mut out, 5, 1, 0).unwrap();
        let waiting = out.waiting();
        for size in [0, 126, 127, 200, 0] {
            put(&mut out, size, 2, 0).unwrap();
            put(&mut out, 1, 3, 0).unwrap();
            out.undo(waiting);
            assert_eq!(out.bytes(), frame(5, 1));
        }
        out.transmitted(3);
        let waiting = out.waiting();
        put(&mut out, 450, 3, 0).unwrap();
        out.undo(waiting);
        assert_eq!(out.bytes(), &frame(5, 1)[3..]);
    }

    #[test]
    fn a_reserve_stays_free_and_is_for_those_without_one() {
        let mut out = Outbox::new([0; 300]);
        assert_eq!(put(&mut out, 100, 1, 200), Err(PutError::TooLong), "PROTOCOL L-1");
        put(&mut out, 50, 1, 200).unwrap();
        assert_eq!(put(&mut out, 60, 1, 200), Err(PutError::Full), "PROTOCOL L-1");
        put(&mut out, 200, 2, 0).unwrap();
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn a_buffer_that_grows_reaches_its_bound() {
        use crate::wire::storage::GrowBuf;
        for bound in [64, 100, 768, 1000, 1500, 5000] {
            let mut out = Outbox::new(GrowBuf::new(bound));
            let prefix = varint::len(bound as u64);
            put(&mut out, bound - prefix - 1, 1, 0).unwrap();
            assert_eq!(out.bytes().len(), bound);
            assert_eq!(put(&mut out, 0, 1, 0), Err(PutError::Full));
            out.transmitted(bound);
            assert_eq!(put(&mut out, bound, 1, 0), Err(PutError::TooLong));
            assert_eq!(out.storage.bytes().len(), 0, "what grew for nothing is given back");
        }
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn a_frame_is_encoded_once_more_when_the_buffer_must_grow() {
        use crate::wire::storage::GrowBuf;
        let mut out = Outbox::new(GrowBuf::new(200_000));
        for size in [1000, 20_000, 100_000] {
            let mut written = 0;
            out.frame(0x00, 256, 1 << 20, &mut |_| {
                written += 1;
                Some(size)
            })
            .unwrap();
            assert!(written <= 2, "{written} times for {size} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            frames in prop::collection::vec(
                (prop_oneof![0usize..300, 120usize..132, 16_300usize..17_000], 0usize..400, any::<bool>()),
                1..40,
            ),
            bound in prop_oneof![Just(512usize), 17_000usize..40_000],
        ) {
            let mut out = Outbox::new(vec![0; bound].into_boxed_slice());
            let (mut expected, mut left) = (Vec::new(), Vec::new());
            let mut width = 1;
            for (number, &(size, transmit, stays)) in frames.iter().enumerate() {
                let (before, fill) = (out.bytes().to_vec(), number as u8);
                match put(&mut out, size, fill, 0) {
                    Ok(_) if stays => {
                        let added = &out.bytes()[before.len()..];
                        let widths = varint::len(size as u64 + 1)..=width.max(varint::len(size as u64 + 1));
                        let at = widths.clone().find(|width| added == wide(size, fill, *width));
                        prop_assert!(at.is_some(), "PROTOCOL F-2: {widths:?} for {size}");
                        expected.extend_from_slice(added);
                    }
                    Ok(_) => out.undo(before.len()),
                    Err(_) => prop_assert_eq!(out.bytes(), before),
                }
                width = out.width;
                let count = transmit.min(out.bytes().len());
                left.extend_from_slice(&out.bytes()[..count]);
                out.transmitted(count);
            }
            left.extend_from_slice(out.bytes());
            prop_assert_eq!(left, expected, "PROTOCOL M-3");
        }
    }
}
