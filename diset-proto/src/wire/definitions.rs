//! The definitions of a client, for a service that does not know its catalog (PROTOCOL H-8).

use super::tlv::Writer;
#[cfg(feature = "alloc")]
use super::tlv::{BadPacket, Cursor};
use crate::definition::{Direction, EntryKind, Key};
#[cfg(feature = "alloc")]
use crate::limits::{MAX_MESSAGE_NAME, MAX_MESSAGES};

/// The kind stands above the direction in the first byte of an entry.
const KIND_SHIFT: u32 = 2;

/// One entry of the client's definitions: what peers compare. Its number follows from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Definition<'f> {
    pub(crate) name: &'f str,
    pub(crate) key: Key,
    pub(crate) direction: Direction,
    pub(crate) kind: EntryKind,
}

/// A part of the client's definitions, as a service reads it.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Definitions<'f> {
    /// The number of the first entry of this part.
    pub(crate) first: u8,
    /// How many entries the client has in all.
    pub(crate) total: u8,
    entries: Cursor<'f>,
}

#[cfg(feature = "alloc")]
impl<'f> Definitions<'f> {
    pub(crate) fn read(body: &'f [u8]) -> Result<Self, BadPacket> {
        let mut entries = Cursor::new(body, 1);
        let (first, total) = (entries.byte(), entries.byte());
        entries.check()?;
        if usize::from(total) > MAX_MESSAGES || first > total || (entries.is_empty() && first != total) {
            return Err(entries.bad());
        }
        Ok(Self { first, total, entries })
    }

    /// The next entry of this part.
    pub(crate) fn next(&mut self) -> Result<Option<Definition<'f>>, BadPacket> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let first = self.entries.byte();
        let name = self.entries.text();
        let key = Key(self.entries.array());
        self.entries.check()?;
        let direction = Direction::from_number(first & ((1 << KIND_SHIFT) - 1));
        let kind = EntryKind::from_number(first >> KIND_SHIFT);
        let (Some(direction), Some(kind), 1..=MAX_MESSAGE_NAME) = (direction, kind, name.len()) else {
            return Err(self.entries.bad());
        };
        Ok(Some(Definition {
            name,
            key,
            direction,
            kind,
        }))
    }
}

/// Writes as many entries as fit, from number `first` on; gives the next number. An entry for which there is no room
/// at all shows in the writer.
pub(crate) fn write<'d>(
    out: &mut Writer<'_>,
    first: u8,
    total: u8,
    entries: impl Iterator<Item = Definition<'d>>,
) -> u8 {
    out.raw(&[first, total]);
    let mut next = first;
    for entry in entries.skip(usize::from(first)) {
        let before = out.len();
        out.byte(entry.direction.number() | (entry.kind.number() << KIND_SHIFT));
        out.counted(entry.name.as_bytes());
        out.raw(&entry.key.0);
        if next > first && !out.fits() {
            out.truncate(before);
            break;
        }
        next = next.saturating_add(1);
    }
    next
}
