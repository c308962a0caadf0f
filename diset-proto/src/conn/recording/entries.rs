//! What calls look like in a log, and how it begins.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;

use super::super::Connection;
use super::super::adopt::Adopted;
use super::super::slot::SessionSlot;
use super::super::state::Phase;
use crate::error::{Bound, Misuse, SendError};
use crate::limits::MAX_MESSAGES;
use crate::message::{self, Held, MessageRef, Tag};
use crate::recording::{Begin, Bytes, Entry, Record, Recorder, Said, Summary, VerdictTable, sum};
use crate::schema::agree::Agreement;
use crate::schema::invalid::Invalid;
use crate::session::Session;
use crate::status::Notice;
use crate::store::Unsure;
use crate::time::{Instant, millis};
use crate::wire::frame::{Frame, Malformed};
use crate::wire::preamble::PREAMBLE;
use crate::wire::storage::Storage;

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// Notes from now on everything that happens to the connection in a log. **It holds the bodies
    /// of messages and the token of the session** ([`crate::recording`]).
    ///
    /// What the stores of the session keep ([`store::Replay::kept`](crate::store::Replay::kept))
    /// is looked at before each call. When it changes during a call, from another thread, the
    /// log may replay to another output.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`]: something has happened already. Call it first.
    pub fn record(&mut self, sink: Box<dyn Record>) -> Result<(), Misuse> {
        let (role, fresh) = match self.core.phase {
            Phase::Awaiting => (0, self.out.is_empty() && self.core.pending.is_preamble_due()),
            Phase::Proposing => (1, self.out.bytes().starts_with(&PREAMBLE)),
            Phase::Adopting => (2, self.out.bytes().starts_with(&PREAMBLE)),
            _ => return Err(Misuse::WrongPhase),
        };
        let deadline = self.core.deadline.filter(|_| fresh).ok_or(Misuse::WrongPhase)?;
        let service = match &self.core.adopted {
            Adopted::Learning(learner) => learner.service(),
            _ => self.core.catalog.service().as_str(),
        };
        let limits = &self.core.limits;
        let mut recorder = Recorder::new(sink);
        recorder.write(
            None,
            &Entry::Begin(Begin {
                role,
                service,
                digest: *self.core.catalog.digest().as_bytes(),
                limits: (limits.max_frame, limits.credit_bytes, limits.credit_messages),
                spans: (limits.max_silence.0.into(), limits.handshake.0.into()),
                records: limits.records(),
                deadline: deadline.as_millis(),
                output_bound: self.out.bound() as u64,
                output: Bytes(self.out.bytes()),
            }),
        );
        if self.core.tells() {
            recorder.write(None, &Entry::Telling);
        }
        self.log = Some(Box::new(recorder));
        Ok(())
    }

    /// Whether a log is kept.
    pub const fn is_recorded(&self) -> bool {
        self.log.is_some()
    }

    #[cold]
    pub(in crate::conn) fn note(&mut self, now: Option<Instant>, entry: &Entry<'_>) {
        self.look();
        if let Some(log) = &mut self.log {
            log.write(now.map(Instant::as_millis), entry);
        }
    }

    /// Notes what changed past the connection.
    pub(in crate::conn) fn look(&mut self) {
        if let Some(log) = &mut self.log {
            log.look(self.slot.session());
        }
    }

    /// The session goes to the user, who may change it.
    pub(in crate::conn) fn lend_session(&mut self) {
        if let Some(log) = &mut self.log {
            log.lend(self.slot.session());
        }
    }

    /// Another session is here.
    pub(in crate::conn) fn replaced_session(&mut self) {
        if let Some(log) = &mut self.log {
            log.replaced();
        }
    }

    /// A frame comes. What [`after_frame`](Self::after_frame) wants to know.
    pub(in crate::conn) fn before_frame(&mut self, now: Instant, came: &Frame<'_>) -> Option<u64> {
        self.log.as_ref()?;
        self.note(Some(now), &frame(came));
        came.is_acked().then(|| self.arriving())
    }

    /// As [`before_frame`](Self::before_frame), for one that may not be taken at all.
    pub(in crate::conn) fn before_offer(&mut self, came: &Frame<'_>) -> Option<u64> {
        self.log.as_ref()?;
        // Anything but a message is given back, and has changed nothing.
        self.note(None, &offered(came)?);
        came.is_acked().then(|| self.arriving())
    }

    /// An acked message that the inbox did not take was not counted.
    pub(in crate::conn) fn after_frame(&mut self, before: Option<u64>) {
        if before.is_some_and(|before| self.arriving() == before) {
            self.note(None, &Entry::NoRoom);
        }
    }

    fn arriving(&self) -> u64 {
        self.slot.session().map_or(0, Session::arriving)
    }

    pub(in crate::conn) fn note_send<T: Serialize + ?Sized>(&mut self, number: u8, message: &T) {
        let payload = encoded(message);
        let payload = payload.as_deref().map(Bytes);
        self.note(None, &Entry::Send { number, payload });
    }

    pub(in crate::conn) fn note_send_acked<T: Serialize + ?Sized>(&mut self, number: u8, message: &T, unsure: Unsure) {
        let payload = encoded(message);
        let resend = unsure == Unsure::Resend;
        self.note(
            None,
            &Entry::SendAcked {
                number,
                resend,
                payload: payload.as_deref().map(Bytes),
            },
        );
    }

    pub(in crate::conn) fn note_stored(&mut self, stored: &Result<u64, SendError>) {
        if matches!(stored, Err(SendError::Full(Bound::Session))) {
            self.note(None, &Entry::NoRoom);
        }
    }

    /// What is in the output, and how things stand.
    pub(in crate::conn) fn summary(&self) -> Summary {
        let bytes = self.out.bytes();
        let code = self.cause().and_then(crate::error::Cause::code);
        Summary {
            len: bytes.len() as u64,
            check: sum(bytes),
            phase: self.core.phase as u8,
            code: code.map_or(0, crate::status::Code::number),
        }
    }
}

fn encoded<T: Serialize + ?Sized>(message: &T) -> Option<Vec<u8>> {
    let mut payload = vec![0; message::size(message)?];
    message::encode_whole(message, &mut payload).then_some(payload)
}

pub(in crate::conn) fn said(notice: &Notice) -> Said<'_> {
    Said {
        code: notice.code.number(),
        text: notice.text.as_str(),
        retry: notice.retry.map(|retry| (retry.min_ms, retry.spread_ms)),
        about: notice.message,
        permanent: notice.permanent,
    }
}

fn frame<'l>(frame: &Frame<'l>) -> Entry<'l> {
    match frame.0 {
        Ok(raw) => Entry::Frame {
            head: raw.head,
            body: Bytes(raw.body),
        },
        Err(malformed) => {
            let (what, version) = match malformed {
                Malformed::NotDiset => (1, 0),
                Malformed::Version(version) => (2, version),
                Malformed::TooLong => (3, 0),
                Malformed::Header => (4, 0),
                Malformed::NoRoom => (5, 0),
            };
            Entry::Malformed { what, version }
        }
    }
}

fn offered<'l>(frame: &Frame<'l>) -> Option<Entry<'l>> {
    let raw = frame.0.ok()?;
    frame.is_message().then_some(Entry::Offered {
        head: raw.head,
        body: Bytes(raw.body),
    })
}

pub(in crate::conn) fn decoded<T>(message: &MessageRef<'_>, checked: &Result<T, Invalid>) -> Entry<'static> {
    let Tag { wire, acked } = message.tag();
    Entry::Decoded {
        lent: message.lent,
        wire,
        acked,
        invalid: checked.as_ref().err().copied().map(invalid_numbers),
    }
}

pub(in crate::conn) const fn released(held: &Held) -> Entry<'static> {
    let &Held { bytes, messages, acked } = held;
    Entry::Release { bytes, messages, acked }
}

pub(in crate::conn) fn failed(tag: Tag, notice: &Notice) -> Entry<'_> {
    let Tag { wire, acked } = tag;
    let why = said(notice);
    Entry::Fail { wire, acked, why }
}

pub(in crate::conn) fn going(notice: &Notice, deadline: Duration) -> Entry<'_> {
    Entry::GoAway {
        why: said(notice),
        deadline: millis(deadline),
    }
}

pub(in crate::conn) fn invalid(tag: Tag, invalid: Invalid) -> Entry<'static> {
    let Tag { wire, acked } = tag;
    let invalid = invalid_numbers(invalid);
    Entry::Invalid { wire, acked, invalid }
}

const fn invalid_numbers(invalid: Invalid) -> (u8, u64) {
    match invalid {
        Invalid::TooShort => (1, 0),
        Invalid::LeftOver(count) => (2, count as u64),
        Invalid::Number => (3, 0),
        Invalid::Bool => (4, 0),
        Invalid::Text => (5, 0),
        Invalid::Variant(number) => (6, number as u64),
        Invalid::Capacity => (7, 0),
        Invalid::Depth => (8, 0),
        Invalid::Refused => (9, 0),
        Invalid::TooMuchWork => (10, 0),
        Invalid::Unread => (11, 0),
    }
}

pub(in crate::conn) fn invalid_from((what, detail): (u8, u64)) -> Option<Invalid> {
    Some(match what {
        1 => Invalid::TooShort,
        2 => Invalid::LeftOver(u32::try_from(detail).ok()?),
        3 => Invalid::Number,
        4 => Invalid::Bool,
        5 => Invalid::Text,
        6 => Invalid::Variant(u32::try_from(detail).ok()?),
        7 => Invalid::Capacity,
        8 => Invalid::Depth,
        9 => Invalid::Refused,
        10 => Invalid::TooMuchWork,
        11 => Invalid::Unread,
        _ => return None,
    })
}

/// A table that was given, as it is logged.
pub(in crate::conn) struct GivenTable {
    own: heapless::Vec<u8, MAX_MESSAGES>,
    differs: [u8; MAX_MESSAGES / 8],
}

impl GivenTable {
    pub(in crate::conn) fn of(known: &Agreement) -> Self {
        Self {
            own: known.entries(),
            differs: *known.differs().as_bytes(),
        }
    }

    pub(in crate::conn) fn entry(&self) -> VerdictTable<'_> {
        VerdictTable {
            own: Bytes(&self.own),
            differs: self.differs,
        }
    }
}
