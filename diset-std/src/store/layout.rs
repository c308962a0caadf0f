//! What stands in the file: tables, keys and rows.

use std::sync::Arc;

use diset_proto::store::{Stored, Unsure};
use diset_proto::{Key, SessionRecord, Trid};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::error::StoreError;

/// How the names of all these tables begin, and of no others.
pub(super) const RESERVED: &str = "diset.";

/// The version of all that follows.
pub(super) const FORMAT: u32 = 2;

/// What the file is; one row for each fact.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("diset.meta");
/// [`FORMAT`], as 4 bytes, the lowest first.
pub(super) const META_FORMAT: &str = "format";
/// The name of the service.
pub(super) const META_SERVICE: &str = "service";
/// The highest trid that a session has seen, as 8 bytes.
pub(super) const META_TRID: &str = "trid";

/// For how many milliseconds the store has been open in all, as 8 bytes, the lowest first.
pub(super) const META_UPTIME: &str = "uptime";

/// A [`Head`] for each session, by a number that the store gives it.
pub(super) const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("diset.sessions");
/// Messages that were sent and have no outcome: session, number; a row as [`row`] makes it.
pub(super) const REPLAY: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("diset.replay");
/// Messages that were received and are not handled: session, the trid with which it began, number.
pub(super) const INBOX: TableDefinition<'_, (u64, u64, u64), &[u8]> = TableDefinition::new("diset.inbox");

/// What is kept of a session besides its messages.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) principal: [u8; 32],
    pub(super) identity: [u8; 16],
    /// Since when it has no connection, in milliseconds for which the store was open; `None` while it has one.
    pub(super) left_at: Option<u64>,
    pub(super) trid: u64,
    /// The principal under which it may come back, and until when, in seconds since 1970.
    pub(super) next_key: Option<([u8; 32], u64)>,
    pub(super) record: SessionRecord,
}

impl Head {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        postcard::to_stdvec(self).map_err(|error| StoreError::Io(error.to_string()))
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        match postcard::take_from_bytes(row) {
            Ok((head, [])) => Ok(head),
            _ => Err(StoreError::damaged("a session cannot be read")),
        }
    }
}

const RESEND: u8 = 1;
const REPEATED: u8 = 2;
/// What stands before the payload: flags and key.
const HEAD: usize = 1 + 16;

/// A message as it stands in the file: flags, key, payload. Its number is in the key of the row. One that was received
/// is shared by the inbox and what waits to be written.
pub(super) type Row = Arc<[u8]>;

/// The row of a message.
pub(super) fn row(message: Stored<'_>) -> Row {
    let resend = if message.unsure == Unsure::Resend { RESEND } else { 0 };
    let repeated = if message.repeated { REPEATED } else { 0 };
    let mut row = Vec::with_capacity(HEAD + message.payload.len());
    row.push(resend | repeated);
    row.extend_from_slice(message.key.as_bytes());
    row.extend_from_slice(message.payload);
    row.into()
}

/// The message in a row.
pub(super) fn message(number: u64, row: &[u8]) -> Result<Stored<'_>, StoreError> {
    let split = row.split_first_chunk::<HEAD>();
    let (&[flags, ref key @ ..], payload) = split.ok_or_else(|| StoreError::damaged("a message cannot be read"))?;
    Ok(Stored {
        number,
        key: Key::from_bytes(*key),
        unsure: if flags & RESEND == 0 {
            Unsure::Report
        } else {
            Unsure::Resend
        },
        repeated: flags & REPEATED != 0,
        payload,
    })
}

/// Marks the message in this row as one that may have been dealt with before.
pub(super) fn mark_repeated(row: &mut [u8]) {
    if let Some(flags) = row.first_mut() {
        *flags |= REPEATED;
    }
}

/// A number of [`META`].
pub(super) fn number<const N: usize>(row: &[u8]) -> Result<[u8; N], StoreError> {
    row.try_into()
        .map_err(|_| StoreError::damaged("a fact about the file cannot be read"))
}

/// The trid in a row of [`META`].
pub(super) fn trid(row: &[u8]) -> Result<Trid, StoreError> {
    number(row).map(|bytes| Trid::new(u64::from_le_bytes(bytes)))
}
