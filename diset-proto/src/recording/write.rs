//! Writing a log.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::entry::{Bytes, Entry};
use super::{MAGIC, Record, check, sum};
use crate::session::{Session, SessionState};
use crate::store::{Inbox, Replay, Unsure};
use crate::wire::varint;

/// Memory that a large entry took is given back above this size.
const BUFFER_KEPT: usize = 16 * 1024;

/// What stands for a session: its state, and a check of the messages it stores.
pub(crate) type Fingerprint = Option<(SessionState, u32)>;

/// What the stores of a session say that they keep.
type Kept = (u64, (u64, u64), [bool; 3]);

/// Writes entries.
pub(crate) struct Recorder {
    sink: Box<dyn Record>,
    body: Vec<u8>,
    whole: Vec<u8>,
    time: u64,
    check: u32,
    kept: Kept,
    /// The session was lent to the user, and stood like this before.
    lent: Option<Fingerprint>,
    /// The last entry lent no bytes: another such one says nothing.
    is_idle: bool,
}

impl core::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    pub(crate) fn new(mut sink: Box<dyn Record>) -> Self {
        sink.write(&MAGIC);
        Self {
            sink,
            body: Vec::new(),
            whole: Vec::new(),
            time: 0,
            check: sum(&MAGIC),
            kept: (u64::MAX, (u64::MAX, u64::MAX), [false, true, true]),
            lent: Some(None),
            is_idle: false,
        }
    }

    /// Writes an entry, at this time if it has one.
    pub(crate) fn write(&mut self, now: Option<u64>, entry: &Entry<'_>) {
        let is_idle = matches!(entry, Entry::Transmit(lent) if lent.len == 0);
        if is_idle && self.is_idle {
            return;
        }
        self.is_idle = is_idle;
        let now = now.unwrap_or(self.time);
        let step = now.wrapping_sub(self.time).cast_signed();
        self.time = now;
        self.body.clear();
        // Nothing in an entry can fail to be encoded; an empty one would show as damaged.
        self.body = postcard::to_extend(&(step, entry), core::mem::take(&mut self.body)).unwrap_or_default();
        self.check = check(self.check, &self.body);
        let mut prefix = [0; varint::MAX_BYTES];
        let len = varint::write(self.body.len() as u64, &mut prefix).unwrap_or_default();
        self.whole.clear();
        self.whole.extend_from_slice(prefix.get(..len).unwrap_or_default());
        self.whole.extend_from_slice(&self.body);
        self.whole.extend_from_slice(&self.check.to_le_bytes());
        self.sink.write(&self.whole);
        if matches!(entry, Entry::Transmit(_)) {
            self.sink.pause();
        }
        if self.whole.capacity() > BUFFER_KEPT {
            (self.body, self.whole) = (Vec::new(), Vec::new());
        }
    }

    /// The session is about to be lent to the user.
    pub(crate) fn lend<R: Replay, I: Inbox>(&mut self, session: Option<&Session<R, I>>) {
        if self.lent.is_none() {
            self.lent = Some(fingerprint(session));
        }
    }

    /// Another session may be here from now on: it is written whole.
    pub(crate) fn replaced(&mut self) {
        self.lent = Some(None);
    }

    /// Writes what changed past the connection since the last entry: the session, and what its
    /// stores keep.
    pub(crate) fn look<R: Replay, I: Inbox>(&mut self, session: Option<&Session<R, I>>) {
        let kept = session.map_or(self.kept, kept);
        if core::mem::replace(&mut self.kept, kept) != kept {
            let (sent, (received, handled), [durable, sends, takes]) = kept;
            self.write(
                None,
                &Entry::Kept {
                    sent,
                    received,
                    handled,
                    durable,
                    sends,
                    takes,
                },
            );
        }
        let Some(before) = self.lent.take() else { return };
        let now = fingerprint(session);
        if before == now {
            return;
        }
        let (Some(session), Some((state, _))) = (session, now) else {
            return self.write(None, &Entry::NoSession);
        };
        self.write(None, &Entry::Session(state));
        let mut last = 0;
        while let Some(stored) = session.replay().after(last) {
            last = stored.number;
            self.write(
                None,
                &Entry::Stored {
                    number: stored.number,
                    key: *stored.key.as_bytes(),
                    resend: stored.unsure == Unsure::Resend,
                    repeated: stored.repeated,
                    payload: Bytes(stored.payload),
                },
            );
        }
    }
}

fn kept<R: Replay, I: Inbox>(session: &Session<R, I>) -> Kept {
    (
        session.replay().kept(),
        session.inbox().kept(),
        [
            session.inbox().is_durable(),
            session.replay().sends(),
            session.inbox().takes(),
        ],
    )
}

fn fingerprint<R: Replay, I: Inbox>(session: Option<&Session<R, I>>) -> Fingerprint {
    let session = session?;
    let mut stands = 0;
    let mut last = 0;
    while let Some(stored) = session.replay().after(last) {
        last = stored.number;
        let flags = [u8::from(stored.repeated), u8::from(stored.unsure == Unsure::Resend)];
        stands = check(stands, &last.to_le_bytes());
        stands = check(check(stands, &flags), stored.key.as_bytes());
        stands = check(stands, stored.payload);
    }
    Some((session.state(), stands))
}
