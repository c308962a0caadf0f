//! What a file says when it is opened: whose it is, and the sessions that it keeps.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use diset_proto::store::{HeapReplay, Volatile};
use diset_proto::{Identity, ServiceName, Session, Trid};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle};

use super::error::StoreError;
use super::file::Opener;
use super::journal::{Cell, Shared};
use super::kept::{KeptInbox, KeptReplay};
use super::layout::{
    self, FORMAT, Head, INBOX, META, META_FORMAT, META_SERVICE, META_TRID, META_UPTIME, REPLAY, Row, SESSIONS,
};
use super::{RestoredSession, StoreBounds};
use crate::service::SessionId;
use crate::tls::Principal;

/// What is in a file.
pub(super) struct Contents {
    pub(super) newest: Trid,
    pub(super) next_id: u64,
    pub(super) uptime: u64,
    sessions: BTreeMap<u64, Stored>,
}

/// One session in a file.
struct Stored {
    head: Head,
    /// By number.
    replay: Vec<(u64, Row)>,
    /// By beginning and number.
    inbox: Vec<(u64, u64, Row)>,
}

/// Opens the database of this service and reads it.
pub(super) fn open(opener: &Opener, service: ServiceName<'_>) -> Result<(Database, Contents), StoreError> {
    let database = opener.open(true)?;
    check(&database, service)?;
    let contents = Contents::read(&database.begin_read()?)?;
    Ok((database, contents))
}

/// Makes the tables of a file that has none.
pub(super) fn make_tables(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    transaction
        .open_table(META)?
        .insert(META_FORMAT, FORMAT.to_le_bytes().as_slice())?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(REPLAY)?;
    transaction.open_table(INBOX)?;
    transaction.commit()?;
    Ok(())
}

/// Whether it is a store, of this format, and of this service, to whom a new one belongs from now on.
fn check(database: &Database, service: ServiceName<'_>) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    let names: Vec<_> = transaction
        .list_tables()?
        .map(|table| table.name().to_owned())
        .collect();
    if !names.iter().any(|name| name == META.name()) {
        return Err(StoreError::NotAStore);
    }
    {
        let mut meta = transaction.open_table(META)?;
        let found = match meta.get(META_FORMAT)? {
            Some(row) => u32::from_le_bytes(layout::number(row.value())?),
            None => return Err(StoreError::damaged("its format is not said")),
        };
        if found != FORMAT {
            return Err(StoreError::OtherFormat {
                found,
                expected: FORMAT,
            });
        }
        let owner = meta.get(META_SERVICE)?.map(|row| row.value().to_vec());
        match owner {
            Some(owner) if owner == service.as_str().as_bytes() => {}
            Some(owner) => return Err(StoreError::OtherService(String::from_utf8_lossy(&owner).into_owned())),
            None => {
                meta.insert(META_SERVICE, service.as_str().as_bytes())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

impl Contents {
    fn read(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        let newest = match transaction.open_table(META)?.get(META_TRID)? {
            Some(row) => layout::trid(row.value())?,
            None => Trid::new(0),
        };
        let uptime = match transaction.open_table(META)?.get(META_UPTIME)? {
            Some(row) => u64::from_le_bytes(layout::number(row.value())?),
            None => 0,
        };
        let mut sessions = BTreeMap::new();
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let (id, head) = row?;
            let stored = Stored {
                head: Head::decode(head.value())?,
                replay: Vec::new(),
                inbox: Vec::new(),
            };
            sessions.insert(id.value(), stored);
        }
        let strange = || StoreError::damaged("a message of a session that is not there");
        for row in transaction.open_table(REPLAY)?.iter()? {
            let (key, message) = row?;
            let (id, number) = key.value();
            let session: &mut Stored = sessions.get_mut(&id).ok_or_else(strange)?;
            session.replay.push((number, message.value().into()));
        }
        for row in transaction.open_table(INBOX)?.iter()? {
            let (key, message) = row?;
            let (id, began, number) = key.value();
            let session: &mut Stored = sessions.get_mut(&id).ok_or_else(strange)?;
            session.inbox.push((began, number, message.value().into()));
        }
        let next_id = sessions.last_key_value().map_or(1, |(id, _)| id.saturating_add(1));
        Ok(Self {
            newest,
            next_id,
            uptime,
            sessions,
        })
    }

    /// The sessions, as they go on.
    pub(super) fn restore(
        self,
        shared: &Arc<Shared>,
        bounds: &StoreBounds,
    ) -> Result<Vec<RestoredSession>, StoreError> {
        let sessions = self.sessions.into_iter();
        sessions
            .map(|(id, stored)| stored.restore(id, shared, bounds))
            .collect()
    }
}

impl Stored {
    fn restore(self, id: u64, shared: &Arc<Shared>, bounds: &StoreBounds) -> Result<RestoredSession, StoreError> {
        let Self { head, replay, inbox } = self;
        let record = head.record.clone();
        let began = record.began();
        let owner = SessionId {
            principal: Principal::from(head.principal),
            identity: Identity::from_bytes(head.identity),
        };
        let trid = Trid::new(head.trid);
        let away = head.left_at.map_or(0, |at| shared.uptime_before.saturating_sub(at));
        let cell = Cell::new(Arc::clone(shared), id, head, true);
        let replay = restore_replay(&cell, &replay, record.stored(), bounds)?;
        let mut kept = KeptInbox::new(cell, began, bounds);
        let mut first = None;
        for (of, number, mut row) in inbox {
            layout::mark_repeated(Arc::make_mut(&mut row));
            let message = layout::message(number, &row)?;
            let of = Trid::new(of);
            if of == began {
                if number > record.received() {
                    return Err(StoreError::damaged("a message that was not received"));
                }
                first = first.or(Some(number));
            }
            let len = message.payload.len();
            kept.put_back(of, number, row, len);
        }
        Session::restore(&record, HeapReplay::new(0, 0), Volatile).map_err(StoreError::damaged)?;
        // A transaction of a handler takes the message out and leaves the record as it was.
        let processed = first.map_or_else(|| record.received(), |first| first.saturating_sub(1));
        Ok(RestoredSession {
            id: owner,
            trid,
            away: Duration::from_millis(away),
            record,
            replay,
            inbox: kept,
            processed,
        })
    }
}

fn restore_replay(
    cell: &Arc<Cell>,
    rows: &[(u64, Row)],
    last: u64,
    bounds: &StoreBounds,
) -> Result<KeptReplay, StoreError> {
    let messages = rows
        .iter()
        .map(|(number, row)| layout::message(*number, row))
        .collect::<Result<Vec<_>, _>>()?;
    // What was taken is kept, also when the bounds are lower now.
    let bytes = messages.iter().map(|message| message.payload.len()).sum();
    let count = bounds.replay_messages.max(messages.len());
    let mut replay = KeptReplay::new(Arc::clone(cell), count, bounds.replay_bytes.max(bytes));
    for message in messages {
        if message.number > last || !replay.put_back(message) {
            return Err(StoreError::damaged("a message that was not stored"));
        }
    }
    Ok(replay)
}
