//! One direction of a simulated transport.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::time::Instant;

/// How a pipe splits the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chunks {
    /// As they were written.
    Whole,
    /// In pieces of this many.
    Of(usize),
    /// In pieces of 1 to 64 bytes, drawn from the seed.
    Random,
}

/// Bytes on their way from one peer to the other.
#[derive(Debug)]
pub struct Pipe {
    chunks: Chunks,
    delay: Duration,
    random: u64,
    queue: VecDeque<(Instant, Vec<u8>)>,
    end: Option<Instant>,
    ended: bool,
    stalled: bool,
    cut_at: Option<usize>,
    cut_short: bool,
    carried: usize,
}

impl Pipe {
    pub(super) fn new(chunks: Chunks, delay: Duration, seed: u64) -> Self {
        Self {
            chunks,
            delay,
            random: seed,
            queue: VecDeque::new(),
            end: None,
            ended: false,
            stalled: false,
            cut_at: None,
            cut_short: false,
            carried: 0,
        }
    }

    /// Loses everything from byte number `position` on, counted from the first byte of
    /// all, and ends there.
    pub fn cut_at(&mut self, position: usize) {
        self.cut_at = Some(position);
    }

    /// Whether bytes were lost by that.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Nothing arrives while it is stalled; nothing is lost.
    pub fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// How many bytes were written to it in all.
    pub fn carried(&self) -> usize {
        self.carried
    }

    /// How many bytes have not arrived yet.
    pub fn under_way(&self) -> usize {
        self.queue.iter().map(|(_, piece)| piece.len()).sum()
    }

    /// Puts bytes behind those that are under way, as if the peer had sent them.
    pub fn inject(&mut self, now: Instant, bytes: &[u8]) {
        let _ = self.write(now, bytes);
    }

    pub(super) fn cut(&mut self) {
        self.queue.clear();
        self.cut_at = Some(0);
        self.end = Some(Instant::ZERO);
    }

    /// False when the transport is gone.
    pub(super) fn write(&mut self, now: Instant, mut bytes: &[u8]) -> bool {
        if self.end.is_some() {
            return false;
        }
        if let Some(position) = self.cut_at {
            let room = position.saturating_sub(self.carried);
            if room < bytes.len() {
                bytes = bytes.split_at(room).0;
                self.cut_short = true;
                self.end(now);
            }
        }
        self.carried += bytes.len();
        while !bytes.is_empty() {
            let size = self.piece().clamp(1, bytes.len());
            let (piece, rest) = bytes.split_at(size);
            self.queue.push_back((now.after(self.delay), piece.to_vec()));
            bytes = rest;
        }
        true
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.end.get_or_insert_with(|| now.after(self.delay));
    }

    /// What arrives by `now`: a piece, or the end (once).
    pub(super) fn read(&mut self, now: Instant) -> Option<Option<Vec<u8>>> {
        if self.stalled {
            return None;
        }
        if let Some((due, _)) = self.queue.front() {
            return if *due <= now {
                self.queue.pop_front().map(|(_, piece)| Some(piece))
            } else {
                None
            };
        }
        if !self.ended && self.end.is_some_and(|end| end <= now) {
            self.ended = true;
            return Some(None);
        }
        None
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        if self.stalled {
            return None;
        }
        match self.queue.front() {
            Some((due, _)) => Some(*due),
            None => self.end.filter(|_| !self.ended),
        }
    }

    fn piece(&mut self) -> usize {
        match self.chunks {
            Chunks::Whole => usize::MAX,
            Chunks::Of(size) => size,
            Chunks::Random => {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (self.random >> 58) as usize + 1
            }
        }
    }
}
