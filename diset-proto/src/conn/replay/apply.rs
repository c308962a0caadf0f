//! What each entry of a log means for the connection.

use core::time::Duration;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::super::recording::invalid_from;
use super::super::{Admission, Connection};
use super::stores::Slot;
use super::{Replay, ReplayError};
use crate::definition::{Key, MessageSet};
use crate::id::Trid;
use crate::message::{Encoded, Held, MessageRef, Payload, Tag};
use crate::recording::{BadLog, Bytes, Entry, Logged, Said, VerdictTable};
use crate::schema::MessageDef;
use crate::schema::agree::Agreement;
use crate::status::{Code, Notice, RetryAfter};
use crate::store::{Stored, Unsure};
use crate::time::Instant;
use crate::wire::frame::{Frame, Malformed, RawFrame};
use crate::wire::storage::GrowBuf;

type Conn = Connection<GrowBuf, Slot>;

/// A message that could not be encoded.
struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("as it was recorded"))
    }
}

impl Replay<'_> {
    pub(super) fn apply(&mut self, logged: &Logged<'_>) -> Result<(), ReplayError> {
        let now = Instant::from_millis(logged.time);
        let damaged = ReplayError::Log(BadLog::Damaged(logged.number));
        match &logged.entry {
            Entry::Session(state) => self.take_session(state).ok_or(damaged),
            Entry::NoSession => {
                self.conn.slot = None;
                Ok(())
            }
            Entry::Kept {
                sent,
                received,
                handled,
                durable,
                sends,
                takes,
            } => {
                self.kept = (*sent, (*received, *handled), [*durable, *sends, *takes]);
                self.keep();
                Ok(())
            }
            &Entry::Stored {
                number,
                key,
                resend,
                repeated,
                payload,
            } => {
                let head = Stored {
                    number,
                    key: Key::from_bytes(key),
                    unsure: unsure(resend),
                    repeated,
                    payload: payload.0,
                };
                self.take_stored(head).ok_or(damaged)
            }
            Entry::Telling => {
                self.conn.core.told.clone_from(&self.told);
                Ok(())
            }
            Entry::Transmit(recorded) => {
                let _ = self.conn.transmit();
                self.is_like(logged.number, recorded)
            }
            Entry::Transmitted { count } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                let bytes = self.conn.out.bytes();
                self.left.extend_from_slice(bytes.get(..count).ok_or(damaged)?);
                self.conn.transmitted(count);
                Ok(())
            }
            entry => call(&mut self.conn, now, entry).ok_or(damaged),
        }
    }
}

/// A call of the user. What it returns went to that user, and shows in what is transmitted.
fn call(conn: &mut Conn, now: Instant, entry: &Entry<'_>) -> Option<()> {
    match *entry {
        Entry::Frame { .. } | Entry::Malformed { .. } | Entry::Offered { .. } => return frame(conn, now, entry),
        Entry::Decoded { .. } | Entry::Invalid { .. } | Entry::Release { .. } | Entry::Fail { .. } | Entry::Keep => {
            return handled(conn, entry);
        }
        Entry::Received => conn.handle_received(now),
        Entry::Time => drop(conn.handle_time(now)),
        Entry::Eof => drop(conn.handle_eof()),
        Entry::Accept { trid, table, forbidden } => {
            let mut admission = Admission::new(Trid::new(trid)).with_forbidden(MessageSet::from_bytes(forbidden));
            if let Some(VerdictTable { own, differs, .. }) = table {
                let differs = MessageSet::from_bytes(differs);
                admission = admission.with_table(Agreement::logged(conn.core.catalog, own.0, differs)?);
            }
            let _ = conn.accept(now, admission);
        }
        Entry::Refuse(said) => drop(conn.refuse(notice(said))),
        Entry::Send { number, payload } => {
            let _ = match payload {
                Some(Bytes(payload)) => conn.send(number, &Encoded(payload)),
                None => conn.send(number, &Unencodable),
            };
        }
        Entry::SendAcked {
            number,
            resend,
            payload,
        } => {
            let _ = match payload {
                Some(Bytes(payload)) => conn.send_acked(number, &Encoded(payload), unsure(resend)),
                None => conn.send_acked(number, &Unencodable, unsure(resend)),
            };
        }
        Entry::GoAway { why, deadline } => {
            let _ = conn.go_away(now, notice(why), Duration::from_millis(deadline));
        }
        Entry::Disconnect(said) => conn.disconnect(notice(said)),
        Entry::Started { number } => drop(conn.begin(number)),
        Entry::Answer => conn.expect_answer(),
        Entry::TakeOutcome => drop(conn.take_outcome()),
        Entry::SkipOldest => drop(conn.skip_oldest()),
        Entry::TakeSession => drop(conn.take_session()),
        Entry::NextKey { service, hash, seconds } => {
            let lasts = Duration::from_secs(seconds);
            let _ = if service {
                conn.next_key_remembered(hash, lasts)
            } else {
                conn.announce_next_key(hash, lasts)
            };
        }
        // Looked at with the entry before.
        Entry::NoRoom => {}
        // Only once, at the front; the others have no place here.
        _ => return None,
    }
    Some(())
}

/// Input.
fn frame(conn: &mut Conn, now: Instant, entry: &Entry<'_>) -> Option<()> {
    match *entry {
        Entry::Frame { head, body } => drop(conn.handle_frame(now, raw(head, body))),
        Entry::Offered { head, body } => drop(conn.take_message(raw(head, body))),
        Entry::Malformed { what, version } => {
            let malformed = match what {
                1 => Malformed::NotDiset,
                2 => Malformed::Version(version),
                3 => Malformed::TooLong,
                4 => Malformed::Header,
                5 => Malformed::NoRoom,
                _ => return None,
            };
            drop(conn.handle_frame(now, Frame(Err(malformed))));
        }
        _ => return None,
    }
    Some(())
}

const fn raw(head: u8, body: Bytes<'_>) -> Frame<'_> {
    Frame(Ok(RawFrame { head, body: body.0 }))
}

/// What became of messages that came.
fn handled(conn: &mut Conn, entry: &Entry<'_>) -> Option<()> {
    match *entry {
        Entry::Decoded {
            lent,
            wire,
            acked,
            invalid,
        } => {
            let message = MessageRef {
                def: &MessageDef::LEARNED,
                number: 0,
                wire,
                cost: 0,
                acked,
                repeated: false,
                lent,
                payload: Payload(&[]),
            };
            let checked = match invalid {
                None => Ok(()),
                Some(invalid) => Err(invalid_from(invalid)?),
            };
            let _ = conn.settle(message, checked);
        }
        Entry::Invalid { wire, acked, invalid } => {
            let invalid = invalid_from(invalid)?;
            conn.core.invalid(Tag { wire, acked }, invalid, &mut conn.slot);
        }
        Entry::Release { bytes, messages, acked } => conn.release(Held { bytes, messages, acked }),
        Entry::Fail { wire, acked, why } => conn.fail(Tag { wire, acked }, Code::from_number(why.code), why.text),
        Entry::Keep => conn.core.unsettled = None,
        _ => return None,
    }
    Some(())
}

fn notice(said: Said<'_>) -> Notice {
    let mut notice = Notice::new(Code::from_number(said.code)).with_text(said.text);
    notice.retry = said.retry.map(|(min_ms, spread_ms)| RetryAfter { min_ms, spread_ms });
    notice.message = said.about;
    notice.permanent = said.permanent;
    notice
}

const fn unsure(resend: bool) -> Unsure {
    if resend { Unsure::Resend } else { Unsure::Report }
}
