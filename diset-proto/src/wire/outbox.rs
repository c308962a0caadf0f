//! Frames that wait to leave, encoded in place. A frame is whole or not there.

use core::convert::Infallible;

use super::bytes::{copy, shift};
use super::frame::Kind;
use super::storage::Storage;
use super::tlv::Writer;
use super::varint;

/// Why a frame was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutError<E> {
    /// No room now; there will be when bytes have left.
    Full,
    /// No room even when all is empty, or longer than the peer takes.
    TooLong,
    /// What writes the body failed.
    Body(E),
}

/// What became of a body.
enum Put {
    /// It is in, as a frame of this length.
    In(u32),
    /// It must be written again: there is more room now.
    Again,
    /// As [`PutError::Full`].
    Full,
    /// As [`PutError::TooLong`].
    TooLong,
}

/// Bytes on their way out, in the order in which they were put in (PROTOCOL M-3):
/// `sent..end` of the storage.
#[cfg_attr(feature = "sim", derive(Clone))]
pub(crate) struct Outbox<B> {
    storage: B,
    sent: usize,
    end: usize,
    /// How many bytes the length of the last frame took. Frames of a stream are alike, so
    /// a body seldom has to move to make room for its length.
    prefix: usize,
}

/// How much waits; the bytes are those of messages, and do not show.
impl<B> core::fmt::Debug for Outbox<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.end - self.sent)
    }
}

/// What waits, and nothing else: where in the storage it lies, and the guess for the next length, do
/// not show while there is room.
#[cfg(feature = "sim")]
impl<B: Storage> core::hash::Hash for Outbox<B> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl<B: Storage> Outbox<B> {
    pub(crate) const fn new(storage: B) -> Self {
        Self {
            storage,
            sent: 0,
            end: 0,
            prefix: 1,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.sent == self.end
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

    /// Forgets what has not been transmitted.
    pub(crate) fn clear(&mut self) {
        let all = self.end - self.sent;
        self.transmitted(all);
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
    /// `write` answers how long the body is. When that is more than the place it was given, nothing of it counts, and
    /// `write` may be asked again with a longer one.
    pub(crate) fn frame<E>(
        &mut self,
        head: u8,
        reserve: usize,
        max: u32,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<u32, PutError<E>> {
        if self.storage.bytes().is_empty() {
            self.make_room(max);
        }
        loop {
            let (place, space) = self.place(head, reserve);
            let put = match write(place) {
                Ok(size) => self.put(size, space, max),
                Err(error) => {
                    self.give_back();
                    return Err(PutError::Body(error));
                }
            };
            match put {
                Put::In(length) => return Ok(length),
                Put::Again => {}
                Put::Full => return Err(PutError::Full),
                Put::TooLong => return Err(PutError::TooLong),
            }
        }
    }

    /// Appends a control frame of at most this length. They need not leave anything free.
    pub(crate) fn control(
        &mut self,
        kind: Kind,
        max: u32,
        write: &mut dyn FnMut(&mut Writer<'_>),
    ) -> Result<(), PutError<Infallible>> {
        let put = self.frame(kind.head(), 0, max, |place| {
            // A body is at most a frame less its head.
            let size = place.len().min(max as usize - 1);
            let mut writer = Writer::new(place.get_mut(..size).unwrap_or_default());
            write(&mut writer);
            Ok(writer.len())
        });
        put.map(|_| ())
    }

    /// Takes back the frame that was put in last, of this length.
    pub(crate) fn undo(&mut self, length: u32) {
        self.end -= varint::len_of_length(length) + length as usize;
        self.give_back();
    }

    /// A storage that grew for nothing may shrink again.
    fn give_back(&mut self) {
        if self.is_empty() {
            self.transmitted(0);
        }
    }

    /// Where a body may be written, behind its head and a length of the guessed size; and how much space there is for
    /// the frame, length and head included.
    fn place(&mut self, head: u8, reserve: usize) -> (&mut [u8], usize) {
        let (guess, end) = (self.prefix, self.end);
        let bytes = self.storage.bytes_mut();
        let usable = bytes.len().saturating_sub(reserve);
        let space = usable.saturating_sub(end);
        let frame = bytes.get_mut(end.saturating_add(guess)..usable).unwrap_or_default();
        match frame.split_first_mut() {
            Some((first, body)) => {
                *first = head;
                (body, space)
            }
            None => (&mut [], space),
        }
    }

    /// Takes in what was written to [`place`](Self::place), or makes room for it.
    fn put(&mut self, size: usize, space: usize, max: u32) -> Put {
        let length = size.saturating_add(1);
        let frame = u32::try_from(length).unwrap_or(u32::MAX);
        if frame > max {
            self.give_back();
            return Put::TooLong;
        }
        let (guess, prefix) = (self.prefix, varint::len_of_length(frame));
        if length.saturating_add(prefix.max(guess)) <= space {
            let place = self.storage.bytes_mut().get_mut(self.end..).unwrap_or_default();
            shift(place, guess..guess.saturating_add(length), prefix);
            varint::write(frame.into(), place);
            self.prefix = prefix;
            self.end += prefix + length;
            return Put::In(frame);
        }
        if self.make_room(max) {
            return Put::Again;
        }
        if guess > 1 {
            // A guess that was too long wastes bytes; one byte is never too long.
            self.prefix = 1;
            return Put::Again;
        }
        if self.is_empty() {
            self.give_back();
            return Put::TooLong;
        }
        Put::Full
    }

    /// Moves what waits to the front, or grows the storage; false when neither helps.
    fn make_room(&mut self, max: u32) -> bool {
        if self.sent > 0 {
            shift(self.storage.bytes_mut(), self.sent..self.end, 0);
            self.end = self.end.saturating_sub(self.sent);
            self.sent = 0;
            return true;
        }
        let size = self.storage.bytes().len();
        let mut step = size.max(1024).min(max as usize + 1024);
        // Near its bound a storage grows by less than it is asked for at first.
        while step > 0 {
            if self.storage.grow(size.saturating_add(step)) {
                return self.storage.bytes().len() > size;
            }
            step /= 2;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Appends a frame whose body is `size` bytes of `fill`.
    fn put<B: Storage>(out: &mut Outbox<B>, size: usize, fill: u8, reserve: usize) -> Result<u32, PutError<()>> {
        out.frame(0x00, reserve, 1 << 20, |place| {
            if let Some(place) = place.get_mut(..size) {
                place.fill(fill);
            }
            Ok(size)
        })
    }

    /// The frame that `put` appends.
    fn frame(size: usize, fill: u8) -> Vec<u8> {
        let mut prefix = [0; 4];
        let length = varint::write(size as u64 + 1, &mut prefix).unwrap();
        [&prefix[..length], &[0], &vec![fill; size]].concat()
    }

    #[test]
    fn a_guess_that_is_wrong_moves_the_body() {
        let mut out = Outbox::new([0; 1024]);
        let mut expected = Vec::new();
        for (size, fill) in [(126, 1), (127, 2), (128, 3), (126, 4), (0, 5)] {
            put(&mut out, size, fill, 0).unwrap();
            expected.extend(frame(size, fill));
            assert_eq!(out.bytes(), expected, "PROTOCOL F-1, F-2: after a body of {size}");
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
        for size in [0, 126, 127, 200] {
            let length = put(&mut out, size, 2, 0).unwrap();
            out.undo(length);
            assert_eq!(out.bytes(), frame(5, 1));
        }
        out.transmitted(3);
        let length = put(&mut out, 450, 3, 0).unwrap();
        out.undo(length);
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

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            frames in prop::collection::vec((0usize..300, 0usize..400), 1..40),
        ) {
            let mut out = Outbox::new([0; 512]);
            let (mut expected, mut left) = (Vec::new(), Vec::new());
            for (number, &(size, transmit)) in frames.iter().enumerate() {
                let before = out.bytes().to_vec();
                match put(&mut out, size, number as u8, 0) {
                    Ok(_) => expected.extend(frame(size, number as u8)),
                    Err(_) => prop_assert_eq!(out.bytes(), before),
                }
                let count = transmit.min(out.bytes().len());
                left.extend_from_slice(&out.bytes()[..count]);
                out.transmitted(count);
            }
            left.extend_from_slice(out.bytes());
            prop_assert_eq!(left, expected, "PROTOCOL M-3");
        }
    }
}
