//! How what has changed is written into the tables.

use redb::{ReadableTable, Table, WriteTransaction};

use super::changes::Changes;
use super::error::StoreError;
use super::journal::Taken;
use super::layout::{self, INBOX, META, META_TRID, META_UPTIME, REPLAY, SESSIONS};

type Replay<'t> = Table<'t, (u64, u64), &'static [u8]>;
type Inbox<'t> = Table<'t, (u64, u64, u64), &'static [u8]>;

/// Writes what has changed in these sessions.
pub(super) fn batch(transaction: &WriteTransaction, sessions: &[Taken]) -> Result<(), StoreError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let mut heads = transaction.open_table(SESSIONS)?;
    let mut replay = transaction.open_table(REPLAY)?;
    let mut inbox = transaction.open_table(INBOX)?;
    for taken in sessions {
        let id = taken.cell.id;
        if let Some(head) = &taken.head {
            heads.insert(id, head.encode()?.as_slice())?;
            write_replay(&mut replay, id, &taken.changes)?;
            write_inbox(&mut inbox, id, &taken.changes)?;
        } else {
            heads.remove(id)?;
            replay.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
            inbox.retain_in((id, 0, 0)..=(id, u64::MAX, u64::MAX), |_, _| false)?;
        }
    }
    Ok(())
}

fn write_replay(replay: &mut Replay<'_>, id: u64, changes: &Changes) -> Result<(), StoreError> {
    for (number, row) in &changes.stored {
        replay.insert((id, *number), &**row)?;
    }
    for number in &changes.repeated {
        let row = replay.get((id, *number))?.map(|row| row.value().to_vec());
        if let Some(mut row) = row {
            layout::mark_repeated(&mut row);
            replay.insert((id, *number), row.as_slice())?;
        }
    }
    for number in &changes.removed {
        replay.remove((id, *number))?;
    }
    if changes.removed_through > 0 {
        replay.retain_in((id, 0)..=(id, changes.removed_through), |_, _| false)?;
    }
    Ok(())
}

fn write_inbox(inbox: &mut Inbox<'_>, id: u64, changes: &Changes) -> Result<(), StoreError> {
    for ((began, number), row) in &changes.received {
        inbox.insert((id, *began, *number), &**row)?;
    }
    for (began, number) in &changes.handled {
        inbox.retain_in((id, *began, 0)..=(id, *began, *number), |_, _| false)?;
    }
    Ok(())
}

/// Writes the newest trid.
pub(super) fn newest(transaction: &WriteTransaction, newest: u64) -> Result<(), StoreError> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_TRID, newest.to_le_bytes().as_slice())?;
    Ok(())
}

/// Writes for how long the store has been open.
pub(super) fn uptime(transaction: &WriteTransaction, uptime: u64) -> Result<(), StoreError> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_UPTIME, uptime.to_le_bytes().as_slice())?;
    Ok(())
}

/// Marks this message as handled, and all before it; false when it is not there.
pub(super) fn take_message(
    transaction: &WriteTransaction,
    id: u64,
    began: u64,
    number: u64,
) -> Result<bool, StoreError> {
    let mut inbox = transaction.open_table(INBOX)?;
    if inbox.remove((id, began, number))?.is_none() {
        return Ok(false);
    }
    inbox.retain_in((id, began, 0)..=(id, began, number), |_, _| false)?;
    Ok(true)
}
