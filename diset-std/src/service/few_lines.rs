//! Lines of a log that strangers can cause: a few each second, then their number.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use diset_proto::Instant;

/// Most lines in a second.
const MOST: u32 = 10;
const SPAN: Duration = Duration::from_secs(1);

/// Counts the lines of one listener.
#[derive(Default)]
pub(super) struct FewLines(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// When this second ends; none before the first line.
    until: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl FewLines {
    /// Whether one more is to be written: then how many were left out since the last one.
    pub(super) fn one_more(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.until.is_none_or(|until| now >= until) {
            counted.until = Some(now.after(SPAN));
            counted.written = 0;
        }
        if counted.written == MOST {
            counted.left_out += 1;
            return None;
        }
        counted.written += 1;
        Some(core::mem::take(&mut counted.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_then_their_number() {
        let (lines, at) = (FewLines::default(), Instant::from_millis);
        let written = (0..25).filter_map(|_| lines.one_more(at(500)));
        assert_eq!(written.collect::<Vec<_>>(), [0; 10]);
        assert_eq!(lines.one_more(at(1499)), None);
        assert_eq!(lines.one_more(at(1500)), Some(16));
        assert_eq!(lines.one_more(at(1500)), Some(0));
    }
}
