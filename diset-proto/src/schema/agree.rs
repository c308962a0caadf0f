//! What two sides share: a table from the numbers on the wire (the client's) to the
//! numbers of this side.

use super::Catalog;
use crate::definition::{Direction, Key, Verdict};
use crate::limits::MAX_MESSAGES;

/// Table entries from here on are verdicts, not numbers.
const UNKNOWN: u8 = 0xff;
const DIFFERS: u8 = 0xfe;
const FORBIDDEN: u8 = 0xfd;

/// The table of one connection (PROTOCOL S-4). On a client both numbers are the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Agreement {
    own: [u8; MAX_MESSAGES],
    /// How many messages the client has.
    total: u8,
    /// How many entries are filled in; the table is complete at `total`.
    filled: u8,
    /// One bit for each message of this side that the peer defines otherwise.
    differs: [u8; MAX_MESSAGES / 8],
}

impl Agreement {
    /// Both sides have this catalog.
    pub fn identical(catalog: &Catalog) -> Self {
        let mut table = Self::empty(catalog.count());
        for (number, entry) in (0..catalog.count()).zip(&mut table.own) {
            *entry = number;
        }
        table.filled = table.total;
        table
    }

    /// What a service with `own` shares with a client that was built with `client`, an
    /// older or newer form of it.
    pub fn between(own: &Catalog, client: &Catalog) -> Self {
        let mut table = Self::empty(client.count());
        for def in client.messages() {
            table.add(own, def.name(), def.key(), def.direction());
        }
        table
    }

    /// A table for a client with `total` messages, to be filled by [`Agreement::add`].
    pub(crate) const fn empty(total: u8) -> Self {
        Self {
            own: [UNKNOWN; MAX_MESSAGES],
            total,
            filled: 0,
            differs: [0; MAX_MESSAGES / 8],
        }
    }

    /// Fills in the verdict on the client's next message.
    pub(crate) fn add(&mut self, own: &Catalog, name: &str, key: Key, direction: Direction) {
        let mut found = own.messages().iter().zip(0u8..);
        let entry = match found.find(|(def, _)| def.name() == name) {
            None => UNKNOWN,
            Some((def, number)) if def.key() == key && def.direction() == direction => number,
            Some((_, number)) => {
                self.mark(number);
                DIFFERS
            }
        };
        if let Some(place) = self.own.get_mut(usize::from(self.filled))
            && self.filled < self.total
        {
            *place = entry;
            self.filled += 1;
        }
    }

    /// How many entries are still to be filled in.
    pub(crate) const fn missing(&self) -> u8 {
        self.total - self.filled
    }

    /// The number of the entry to be filled in next.
    pub(crate) const fn filled(&self) -> u8 {
        self.filled
    }

    /// Sets the verdict on one entry, as the service stated it.
    pub(crate) fn set(&mut self, number: u8, verdict: Verdict) -> bool {
        if number >= self.total {
            return false;
        }
        let entry = match verdict {
            Verdict::Same => return true,
            Verdict::Unknown => UNKNOWN,
            Verdict::Differs => {
                self.mark(number);
                DIFFERS
            }
            Verdict::Forbidden => FORBIDDEN,
        };
        self.own.get_mut(usize::from(number)).is_some_and(|place| {
            *place = entry;
            true
        })
    }

    /// The entries that are not `Same`, by number on the wire.
    pub(crate) fn exceptions(&self) -> impl Iterator<Item = (u8, Verdict)> {
        (0..self.total).filter_map(|number| Some((number, self.own(number).err()?)))
    }

    /// This side's number for a number on the wire.
    pub(crate) fn own(&self, wire: u8) -> Result<u8, Verdict> {
        if wire >= self.total {
            return Err(Verdict::Unknown);
        }
        match self.own.get(usize::from(wire)) {
            None | Some(&UNKNOWN) => Err(Verdict::Unknown),
            Some(&DIFFERS) => Err(Verdict::Differs),
            Some(&FORBIDDEN) => Err(Verdict::Forbidden),
            Some(&own) => Ok(own),
        }
    }

    /// The number on the wire for a number of this side.
    pub(crate) fn wire(&self, own: u8) -> Result<u8, Verdict> {
        // On a client, and on a service whose client has the same catalog.
        if self.own(own) == Ok(own) {
            return Ok(own);
        }
        (0..self.total)
            .find(|&wire| self.own(wire) == Ok(own))
            .ok_or(Verdict::Unknown)
    }

    /// The verdict on a message by this side's number.
    pub fn verdict(&self, own: u8) -> Verdict {
        match self.wire(own) {
            Ok(_) => Verdict::Same,
            Err(_) if self.is_marked(own) => Verdict::Differs,
            // Only a client has entries that forbid, and there both numbers are one.
            Err(_) if self.own(own) == Err(Verdict::Forbidden) => Verdict::Forbidden,
            Err(unknown) => unknown,
        }
    }

    fn mark(&mut self, own: u8) {
        if let Some(byte) = self.differs.get_mut(usize::from(own / 8)) {
            *byte |= 1 << (own % 8);
        }
    }

    fn is_marked(&self, own: u8) -> bool {
        let byte = self.differs.get(usize::from(own / 8));
        byte.is_some_and(|byte| byte & (1 << (own % 8)) != 0)
    }
}

impl core::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Agreement")
            .field("messages", &self.total)
            .field("filled", &self.filled)
            .field("exceptions", &self.exceptions().count())
            .finish()
    }
}
