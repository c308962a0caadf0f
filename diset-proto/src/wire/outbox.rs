//! Frames that wait to leave, encoded in place. A frame is whole or not there.

use super::storage::Storage;
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

/// What the writer of a body answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError<E> {
    /// The place is too small.
    NoRoom,
    /// It will never work.
    Failed(E),
}

/// Bytes on their way out: `sent..end` of the storage.
#[derive(Debug)]
pub(crate) struct Outbox<B> {
    storage: B,
    sent: usize,
    end: usize,
    /// How many bytes the length of the last frame took. Frames of a stream are alike, so
    /// a body seldom has to move to make room for its length.
    prefix: usize,
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
            Some(place) => place.copy_from_slice(bytes),
            None => return false,
        }
        self.end = end;
        true
    }

    /// Appends a frame whose body `write` encodes in place and whose length is at most
    /// `max`; `reserve` bytes stay free behind it. Gives the frame's length, head and body.
    pub(crate) fn frame<E>(
        &mut self,
        head: u8,
        reserve: usize,
        max: u32,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, BodyError<E>>,
    ) -> Result<u32, PutError<E>> {
        loop {
            match self.try_frame(head, reserve, &mut write) {
                Ok(length) if length > max => {
                    self.give_back();
                    return Err(PutError::TooLong);
                }
                Ok(length) => {
                    self.end += varint::len(length.into()) + length as usize;
                    return Ok(length);
                }
                Err(BodyError::Failed(error)) => {
                    self.give_back();
                    return Err(PutError::Body(error));
                }
                Err(BodyError::NoRoom) if self.make_room(max) => {}
                // A guess that was too long wastes bytes; one byte is never too long.
                Err(BodyError::NoRoom) if self.prefix > 1 => self.prefix = 1,
                Err(BodyError::NoRoom) if self.is_empty() => {
                    self.give_back();
                    return Err(PutError::TooLong);
                }
                Err(BodyError::NoRoom) => return Err(PutError::Full),
            }
        }
    }

    /// Takes back the frame that was put in last, of this length.
    pub(crate) fn undo(&mut self, length: u32) {
        self.end -= varint::len(length.into()) + length as usize;
        self.give_back();
    }

    /// A storage that grew for nothing may shrink again.
    fn give_back(&mut self) {
        if self.is_empty() {
            self.transmitted(0);
        }
    }

    /// Writes a frame behind the end without moving the end.
    fn try_frame<E>(
        &mut self,
        head: u8,
        reserve: usize,
        write: &mut impl FnMut(&mut [u8]) -> Result<usize, BodyError<E>>,
    ) -> Result<u32, BodyError<E>> {
        let guess = self.prefix;
        let usable = self.storage.bytes().len().saturating_sub(reserve);
        let place = self
            .storage
            .bytes_mut()
            .get_mut(self.end..usable)
            .ok_or(BodyError::NoRoom)?;
        let (head_place, body_place) = place
            .get_mut(guess..)
            .and_then(<[u8]>::split_first_mut)
            .ok_or(BodyError::NoRoom)?;
        *head_place = head;
        let size = write(body_place)? + 1;
        let length = u32::try_from(size).map_err(|_| BodyError::NoRoom)?;
        let prefix = varint::len(length.into());
        if prefix != guess {
            if place.len() < prefix + size {
                return Err(BodyError::NoRoom);
            }
            place.copy_within(guess..guess + size, prefix);
            self.prefix = prefix;
        }
        varint::write(length.into(), place).ok_or(BodyError::NoRoom)?;
        Ok(length)
    }

    /// Moves what waits to the front, or grows the storage; false when neither helps.
    fn make_room(&mut self, max: u32) -> bool {
        if self.sent > 0 {
            self.storage.bytes_mut().copy_within(self.sent..self.end, 0);
            self.end -= self.sent;
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
