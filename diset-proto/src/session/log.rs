//! Messages in a buffer, one behind the other, fixed or growing.
//!
//! ```text
//! entry:  number, flags, length (4), payload          plain, or acked and the one behind the last acked one
//!         number, flags, length (4), session (8), number in the session (8), payload          any other acked one
//! ```
//!
//! An acked message that follows on the one before needs no number of its own: it follows from its place.

use crate::id::Trid;
use crate::wire::bytes::{copy, shift};
use crate::wire::storage::Storage;

/// Number in the catalog, flags, length of the payload.
const HEAD: usize = 1 + 1 + 4;
/// Session, and number in it.
const MARK: usize = 8 + 8;

const ACKED: u8 = 1;
const MARKED: u8 = 2;
const REPEATED: u8 = 4;

/// Which acked message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Acked {
    /// The connection with which its session began.
    pub(crate) began: Trid,
    /// Its number in the session, from 1.
    pub(crate) number: u64,
}

impl Acked {
    /// The next one of the session.
    pub(super) const fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            ..self
        }
    }
}

/// What kind of message an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Plain,
    /// Acked, and the one behind the last acked one.
    Next,
    /// Acked, and this one.
    At(Acked),
}

/// A message as it stands in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Entry<'l> {
    /// Its number in the catalog.
    pub(super) number: u8,
    pub(super) place: Place,
    /// It may have been handled before.
    pub(super) repeated: bool,
    pub(super) payload: &'l [u8],
}

impl Entry<'_> {
    /// How many bytes it takes; `None` when it is longer than any message.
    fn size(&self) -> Option<usize> {
        let mark = if let Place::At(_) = self.place { MARK } else { 0 };
        u32::try_from(self.payload.len()).ok()?;
        self.payload.len().checked_add(HEAD + mark)
    }
}

/// `start..end` of the buffer are entries.
#[cfg_attr(any(test, feature = "snapshot"), derive(Clone))]
pub(super) struct Log<B> {
    buffer: B,
    start: usize,
    end: usize,
}

/// Its entries; where in the buffer they lie does not show.
#[cfg(feature = "snapshot")]
impl<B: Storage> core::hash::Hash for Log<B> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.buffer.bytes().get(self.start..self.end).hash(state);
    }
}

impl<B: Storage> Log<B> {
    pub(super) const fn new(buffer: B) -> Self {
        Self {
            buffer,
            start: 0,
            end: 0,
        }
    }

    /// Adds an entry behind all others; false, and nothing changed, when there is no room.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> bool {
        let Some(size) = entry.size() else { return false };
        if !self.make_room(size) {
            return false;
        }
        let end = self.end + size;
        let place = self.buffer.bytes_mut().get_mut(self.end..end);
        if place.and_then(|place| write(entry, place)).is_none() {
            return false;
        }
        self.end = end;
        true
    }

    /// Whether this many bytes are free behind the last entry, once all others were moved to the front.
    fn make_room(&mut self, size: usize) -> bool {
        if size > self.buffer.bytes().len().saturating_sub(self.end) && self.start > 0 {
            shift(self.buffer.bytes_mut(), self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.end.checked_add(size).is_some_and(|end| self.buffer.grow(end))
    }

    /// The entry that begins here, and where the next one does.
    fn at(&self, offset: usize) -> Option<(Entry<'_>, usize)> {
        let bytes = self.buffer.bytes().get(offset..self.end)?;
        let (&[number, flags, length @ ..], rest) = bytes.split_first_chunk::<HEAD>()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
        let (place, rest) = if flags & MARKED != 0 {
            let (began, rest) = rest.split_first_chunk()?;
            let (number, rest) = rest.split_first_chunk()?;
            let (began, number) = (Trid::new(u64::from_le_bytes(*began)), u64::from_le_bytes(*number));
            (Place::At(Acked { began, number }), rest)
        } else if flags & ACKED != 0 {
            (Place::Next, rest)
        } else {
            (Place::Plain, rest)
        };
        let (payload, rest) = rest.split_at_checked(length)?;
        let entry = Entry {
            number,
            place,
            repeated: flags & REPEATED != 0,
            payload,
        };
        Some((entry, self.end - rest.len()))
    }

    /// The oldest entry.
    pub(super) fn first(&self) -> Option<Entry<'_>> {
        self.at(self.start).map(|(entry, _)| entry)
    }

    /// Takes out the oldest entry.
    pub(super) fn pop(&mut self) {
        if let Some((_, next)) = self.at(self.start) {
            self.start = next;
        }
        self.give_back();
    }

    /// Takes out all entries that are not to stay, asked from the oldest on.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&Entry<'_>) -> bool) {
        let (mut from, mut to) = (self.start, self.start);
        while let Some((entry, next)) = self.at(from) {
            if stays(&entry) {
                if to < from {
                    shift(self.buffer.bytes_mut(), from..next, to);
                }
                to += next - from;
            }
            from = next;
        }
        self.end = to;
        self.give_back();
    }

    /// A buffer that grew may be given back when nothing is in it.
    fn give_back(&mut self) {
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
            self.buffer.release();
        }
    }
}

/// Writes an entry into a place that is as long as it is.
fn write(entry: &Entry<'_>, place: &mut [u8]) -> Option<()> {
    let ([number, flags, length @ ..], mut rest) = place.split_first_chunk_mut::<HEAD>()?;
    *number = entry.number;
    *flags = if entry.repeated { REPEATED } else { 0 };
    *length = u32::try_from(entry.payload.len()).ok()?.to_le_bytes();
    match entry.place {
        Place::Plain => {}
        Place::Next => *flags |= ACKED,
        Place::At(acked) => {
            *flags |= ACKED | MARKED;
            let (began, behind) = rest.split_first_chunk_mut()?;
            let (number, behind) = behind.split_first_chunk_mut()?;
            *began = acked.began.number().to_le_bytes();
            *number = acked.number.to_le_bytes();
            rest = behind;
        }
    }
    copy(entry.payload, rest);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(payload: &[u8]) -> Entry<'_> {
        Entry {
            number: 1,
            place: Place::Plain,
            repeated: false,
            payload,
        }
    }

    fn payloads<B: Storage>(log: &Log<B>) -> Vec<Vec<u8>> {
        let mut offset = log.start;
        core::iter::from_fn(|| {
            let (entry, next) = log.at(offset)?;
            offset = next;
            Some(entry.payload.to_vec())
        })
        .collect()
    }

    #[test]
    fn an_entry_comes_back_as_it_was_given() {
        let acked = Acked {
            began: Trid::new(u64::MAX),
            number: 1 << 40,
        };
        for place in [Place::Plain, Place::Next, Place::At(acked)] {
            for repeated in [false, true] {
                let mut log = Log::new([0; 32]);
                let entry = Entry {
                    number: 127,
                    place,
                    repeated,
                    payload: b"payload",
                };
                assert!(log.push(&entry));
                let first = log.first().unwrap();
                assert_eq!((first.number, first.place, first.repeated), (127, place, repeated));
                assert_eq!(first.payload, b"payload");
            }
        }
    }

    #[test]
    fn what_is_full_takes_nothing_and_room_comes_back() {
        let mut log = Log::new([0; 2 * (HEAD + 3)]);
        assert!(log.push(&plain(b"abc")) && log.push(&plain(b"def")));
        assert!(!log.push(&plain(b"")));
        log.pop();
        assert!(log.push(&plain(b"ghi")), "the rest is moved to the front");
        assert_eq!(payloads(&log), [b"def", b"ghi"]);
    }

    #[test]
    fn entries_are_taken_out_of_the_middle() {
        let mut log = Log::new([0; 100]);
        for payload in [&b"a"[..], b"bb", b"", b"dddd", b"e"] {
            assert!(log.push(&plain(payload)));
        }
        log.pop();
        log.retain(|entry| entry.payload.len() != 2 && entry.payload.len() != 4);
        assert_eq!(payloads(&log), [&b""[..], b"e"]);
        log.retain(|_| false);
        assert!(log.first().is_none() && (log.start, log.end) == (0, 0));
        log.pop();
        assert!(log.push(&plain(b"again")));
    }
}
