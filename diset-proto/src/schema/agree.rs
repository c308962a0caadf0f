//! What two sides share: a table from the numbers on the wire (the client's) to the
//! numbers of this side.

use super::Catalog;
use crate::definition::{Direction, Key, MessageSet, Verdict};
use crate::limits::MAX_MESSAGES;

/// Table entries from here on are verdicts, not numbers.
const UNKNOWN: u8 = 0xff;
const DIFFERS: u8 = 0xfe;
const FORBIDDEN: u8 = 0xfd;

/// The table of one connection (PROTOCOL S-4). On a client both numbers are the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Agreement {
    own: [u8; MAX_MESSAGES],
    /// How many messages the client has.
    total: u8,
    /// How many entries are filled in; the table is complete at `total`.
    filled: u8,
    /// The messages of this side that the peer defines otherwise.
    differs: MessageSet,
    /// The messages of this side that the service's rules forbid to this client.
    forbidden: MessageSet,
}

impl Agreement {
    /// Both sides have this catalog.
    pub fn identical(catalog: &Catalog) -> Self {
        Self::all(catalog.count())
    }

    /// Both sides have the same messages, so many.
    pub(crate) fn all(count: u8) -> Self {
        let mut table = Self::empty(count);
        for (number, entry) in (0..count).zip(&mut table.own) {
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
            differs: MessageSet::EMPTY,
            forbidden: MessageSet::EMPTY,
        }
    }

    /// As [`empty`](Self::empty), with the same messages forbidden.
    pub(crate) const fn emptied(&self, total: u8) -> Self {
        Self {
            forbidden: self.forbidden,
            ..Self::empty(total)
        }
    }

    /// The table as it is logged: the numbers or verdicts of the client's messages.
    #[cfg(feature = "record")]
    pub(crate) fn entries(&self) -> &[u8] {
        self.own.get(..usize::from(self.total)).unwrap_or_default()
    }

    #[cfg(feature = "record")]
    pub(crate) const fn differs(&self) -> &MessageSet {
        &self.differs
    }

    /// A table as it was logged, in a service with `own`; `None` when it cannot be.
    #[cfg(feature = "record")]
    pub(crate) fn logged(own: &Catalog, entries: &[u8], differs: MessageSet) -> Option<Self> {
        let fits = |&entry: &u8| entry < own.count() || entry >= FORBIDDEN;
        let total = u8::try_from(entries.len()).ok()?;
        let mut table = Self::empty(total);
        table.own.get_mut(..entries.len())?.copy_from_slice(entries);
        table.filled = total;
        table.differs = differs;
        entries.iter().all(fits).then_some(table)
    }

    /// Service: these messages are not for this client, neither to be sent by it nor to it.
    pub(crate) fn forbid(&mut self, messages: MessageSet) {
        self.forbidden = messages;
        for entry in &mut self.own {
            if messages.contains(*entry) {
                *entry = FORBIDDEN;
            }
        }
    }

    /// Fills in the verdict on the client's next message.
    pub(crate) fn add(&mut self, own: &Catalog, name: &str, key: Key, direction: Direction) {
        let mut found = own.messages().iter().zip(0u8..);
        let entry = match found.find(|(def, _)| def.name() == name) {
            None => UNKNOWN,
            Some((def, number)) if def.key() == key && def.direction() == direction => {
                if self.forbidden.contains(number) {
                    FORBIDDEN
                } else {
                    number
                }
            }
            Some((_, number)) => {
                self.differs.insert(number);
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
                self.differs.insert(number);
                DIFFERS
            }
            Verdict::Forbidden => {
                self.forbidden.insert(number);
                FORBIDDEN
            }
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
    #[inline]
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
            Err(_) if self.differs.contains(own) => Verdict::Differs,
            Err(_) if self.forbidden.contains(own) => Verdict::Forbidden,
            Err(unknown) => unknown,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::MessageDef;

    const OWN: Catalog = Catalog::new(
        "Test/Agree",
        &[
            MessageDef::new::<u8>("A", Direction::FromClient),
            MessageDef::new::<u8>("B", Direction::Both),
            MessageDef::new::<u8>("C", Direction::FromService),
            MessageDef::new::<u8>("D", Direction::Both),
        ],
    );
    const CLIENT: Catalog = Catalog::new(
        "Test/Agree",
        &[
            MessageDef::new::<u8>("Gone", Direction::Both),
            MessageDef::new::<u16>("B", Direction::Both),
            MessageDef::new::<u8>("C", Direction::FromService),
            MessageDef::new::<u8>("D", Direction::FromClient),
            MessageDef::new::<u8>("A", Direction::FromClient),
        ],
    );

    #[test]
    fn a_service_translates_both_ways() {
        let table = Agreement::between(&OWN, &CLIENT);
        let own = [0, 1, 2, 3, 4, 5].map(|wire| table.own(wire));
        let (unknown, differs) = (Err(Verdict::Unknown), Err(Verdict::Differs));
        assert_eq!(own, [unknown, differs, Ok(2), differs, Ok(0), unknown], "PROTOCOL S-4");
        let wire = [0, 1, 2, 3].map(|own| table.wire(own).ok());
        assert_eq!(wire, [Some(4), None, Some(2), None], "PROTOCOL S-4");
        let verdicts = [0, 1, 2, 3, 200].map(|own| table.verdict(own));
        let expected = [
            Verdict::Same,
            Verdict::Differs,
            Verdict::Same,
            Verdict::Differs,
            Verdict::Unknown,
        ];
        assert_eq!(verdicts, expected, "PROTOCOL S-5");
        let told: Vec<_> = table.exceptions().collect();
        let expected = [(0, Verdict::Unknown), (1, Verdict::Differs), (3, Verdict::Differs)];
        assert_eq!(told, expected, "PROTOCOL H-7");
    }

    #[test]
    fn a_client_knows_the_verdicts_it_was_told() {
        let mut table = Agreement::identical(&CLIENT);
        for (number, verdict) in Agreement::between(&OWN, &CLIENT).exceptions() {
            assert!(table.set(number, verdict));
        }
        assert!(table.set(2, Verdict::Forbidden));
        let verdicts = [0, 1, 2, 3, 4].map(|number| table.verdict(number));
        let expected = [
            Verdict::Unknown,
            Verdict::Differs,
            Verdict::Forbidden,
            Verdict::Differs,
            Verdict::Same,
        ];
        assert_eq!(verdicts, expected, "PROTOCOL S-5");
        assert!(!table.set(5, Verdict::Unknown), "PROTOCOL H-7");
    }

    #[test]
    fn a_service_forbids_before_and_after_it_knows_the_table() {
        let forbidden: MessageSet = [2, 1].into_iter().collect();
        let mut known = Agreement::between(&OWN, &CLIENT);
        known.forbid(forbidden);
        let mut asked = Agreement::empty(0);
        asked.forbid(forbidden);
        asked = asked.emptied(CLIENT.count());
        for def in CLIENT.messages() {
            asked.add(&OWN, def.name(), def.key(), def.direction());
        }
        assert_eq!(known, asked, "PROTOCOL S-5");
        assert_eq!(known.own(2), Err(Verdict::Forbidden));
        assert_eq!(known.own(4), Ok(0));
        // One that differs anyway is told so.
        let verdicts = [0, 1, 2, 3].map(|own| known.verdict(own));
        let expected = [Verdict::Same, Verdict::Differs, Verdict::Forbidden, Verdict::Differs];
        assert_eq!(verdicts, expected, "PROTOCOL S-5");
    }

    #[test]
    fn a_table_is_filled_and_no_more() {
        let mut table = Agreement::empty(2);
        assert_eq!((table.filled(), table.missing()), (0, 2));
        for def in OWN.messages() {
            table.add(&OWN, def.name(), def.key(), def.direction());
        }
        assert_eq!((table.filled(), table.missing()), (2, 0), "PROTOCOL H-8");
        assert_eq!(table.own(2), Err(Verdict::Unknown));
    }
}
