//! Reading a log: whole entries in order, or what is wrong.

use super::entry::Entry;
use super::{MAGIC, check, sum};
use crate::wire::varint::{self, Parsed};

/// Bytes of the check behind each entry.
const CHECK: usize = 4;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged<'l> {
    /// Its place in the log, from 0.
    pub number: u64,
    /// When: milliseconds of the clock that the connection was given. A call that has no time has
    /// that of the last one that had.
    pub time: u64,
    /// What.
    pub entry: Entry<'l>,
}

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadLog {
    /// It does not begin as a log does.
    NotALog,
    /// It is a log of another version of the format.
    Version(u8),
    /// It ends inside the entry with this number: what wrote it was stopped.
    Truncated(u64),
    /// The entry with this number was changed, or is not what it should be here.
    Damaged(u64),
}

impl core::fmt::Display for BadLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotALog => f.write_str("this is no log of a connection"),
            Self::Version(version) => write!(f, "a log of version {version}, which is not known here"),
            Self::Truncated(number) => write!(f, "the log ends inside entry {number}"),
            Self::Damaged(number) => write!(f, "entry {number} is damaged"),
        }
    }
}

impl core::error::Error for BadLog {}

/// The entries of a log, one after the other. After an error there are no more.
#[derive(Debug, Clone)]
pub struct Entries<'l> {
    rest: &'l [u8],
    number: u64,
    time: u64,
    check: u32,
}

impl<'l> Entries<'l> {
    /// Those of this log.
    ///
    /// # Errors
    /// [`BadLog::NotALog`], [`BadLog::Version`].
    pub fn new(log: &'l [u8]) -> Result<Self, BadLog> {
        let (magic, rest) = log.split_first_chunk::<{ MAGIC.len() }>().ok_or(BadLog::NotALog)?;
        match (magic.split_last(), MAGIC.split_last()) {
            (Some((version, front)), Some((known, expected))) if front == expected => {
                if version != known {
                    return Err(BadLog::Version(*version));
                }
            }
            _ => return Err(BadLog::NotALog),
        }
        Ok(Self {
            rest,
            number: 0,
            time: 0,
            check: sum(magic),
        })
    }

    fn read(&mut self) -> Result<Logged<'l>, BadLog> {
        let number = self.number;
        let (damaged, truncated) = (BadLog::Damaged(number), BadLog::Truncated(number));
        let (len, prefix) = match varint::read(self.rest, varint::MAX_BYTES) {
            Parsed::Value(len, prefix) => (len, prefix),
            Parsed::Partial => return Err(truncated),
            Parsed::Malformed => return Err(damaged),
        };
        let len = usize::try_from(len).map_err(|_| truncated)?;
        let whole = self.rest.get(prefix..).unwrap_or_default();
        let (body, rest) = whole.split_at_checked(len).ok_or(truncated)?;
        let (written, rest) = rest.split_first_chunk::<CHECK>().ok_or(truncated)?;
        let check = check(self.check, body);
        if u32::from_le_bytes(*written) != check {
            return Err(damaged);
        }
        let ((step, entry), left) = postcard::take_from_bytes::<(i64, Entry<'l>)>(body).map_err(|_| damaged)?;
        if !left.is_empty() {
            return Err(damaged);
        }
        self.time = self.time.wrapping_add_signed(step);
        self.check = check;
        self.rest = rest;
        self.number += 1;
        Ok(Logged {
            number,
            time: self.time,
            entry,
        })
    }
}

impl<'l> Iterator for Entries<'l> {
    type Item = Result<Logged<'l>, BadLog>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}
