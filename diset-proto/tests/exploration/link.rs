//! The way between the two ends of one connection: whole frames that are under way, and who has
//! left.

use std::collections::VecDeque;
use std::rc::Rc;

use super::given::Side;

/// What each side sends first.
pub(crate) const PREAMBLE: [u8; 5] = [0xd1, 0x53, 0x45, 0x54, 1];

/// A connection between two ends, by side.
///
/// Frames are the smallest thing that is delivered or lost: a part of a frame at the end of a
/// stream is to its receiver the same as nothing.
#[derive(Clone, Default, Hash)]
pub(crate) struct Link {
    /// What is under way to each side.
    to: [VecDeque<Rc<[u8]>>; 2],
    /// This side writes no more.
    finished: [bool; 2],
    /// This side is not there any more: what comes to it is lost.
    left: [bool; 2],
    /// It carries nothing any more, and each side that is still there will see that.
    cut: bool,
}

impl Link {
    /// What one side writes, frame by frame.
    pub(crate) fn carry(&mut self, to: Side, bytes: &[u8]) {
        if self.cut || self.left[to as usize] {
            return;
        }
        let mut bytes = bytes.strip_prefix(&PREAMBLE[..]).unwrap_or(bytes);
        while !bytes.is_empty() {
            let (frame, rest) = bytes.split_at(length(bytes));
            self.to[to as usize].push_back(frame.into());
            bytes = rest;
        }
    }

    /// The next frame that comes to this side.
    pub(crate) fn deliver(&mut self, to: Side) -> Option<Rc<[u8]>> {
        self.to[to as usize].pop_front()
    }

    /// Whether a message comes next to this side.
    pub(crate) fn is_message(&self, to: Side) -> bool {
        let next = self.to[to as usize].front();
        next.is_some_and(|frame| matches!(head(frame), Some(PLAIN | ACKED)))
    }

    pub(crate) fn is_carrying(&self, to: Side) -> bool {
        !self.to[to as usize].is_empty()
    }

    pub(crate) const fn has_finished(&self, side: Side) -> bool {
        self.finished[side as usize]
    }

    pub(crate) const fn finish(&mut self, side: Side) {
        self.finished[side as usize] = true;
    }

    /// This side is gone, with all that was under way to it.
    pub(crate) fn leave(&mut self, side: Side) {
        self.finished[side as usize] = true;
        self.left[side as usize] = true;
        self.to[side as usize].clear();
    }

    /// It breaks. What is under way to the side that sees it first is lost; the other may still get
    /// what is under way to it, until it sees it, too.
    pub(crate) const fn cut(&mut self) {
        self.cut = true;
    }

    /// Whether it can still break: something could still come to either side.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.cut && !self.left[0] && !self.left[1]
    }

    pub(crate) const fn has_left(&self, side: Side) -> bool {
        self.left[side as usize]
    }

    /// Whether something comes to this side whatever the other does: a frame, or the end.
    pub(crate) fn has_input(&self, to: Side) -> bool {
        self.is_carrying(to) || self.shows_end(to)
    }

    /// Whether this side can see the end: in order, behind all frames, or that the link broke.
    pub(crate) fn shows_end(&self, to: Side) -> bool {
        self.cut || (self.finished[to.other() as usize] && !self.is_carrying(to))
    }
}

/// Head of a plain message, and of an acked one (PROTOCOL F-3).
pub(crate) const PLAIN: u8 = 0;
const ACKED: u8 = 0x40;

/// The head byte of a frame.
pub(crate) fn head(frame: &[u8]) -> Option<u8> {
    let prefix = frame.iter().position(|byte| byte & 0x80 == 0)?;
    frame.get(prefix + 1).copied()
}

/// The length of the first frame, with its prefix (PROTOCOL F-2).
fn length(bytes: &[u8]) -> usize {
    let mut length = 0;
    for (place, byte) in bytes.iter().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return length + place + 1;
        }
    }
    unreachable!("a whole frame")
}
