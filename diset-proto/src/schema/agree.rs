//! What two sides share: a table from the numbers on the wire (the client's) to the
//! numbers of this side.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use super::Catalog;
use crate::definition::{MessageSet, Verdict};
#[cfg(feature = "alloc")]
use crate::limits::MAX_MESSAGES;
#[cfg(feature = "alloc")]
use crate::wire::definitions::Definition;

/// What the messages of one connection are to both sides (PROTOCOL S-4).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Agreement {
    /// How many messages the client has.
    total: u8,
    /// Client: the messages that the service does not have.
    unknown: MessageSet,
    /// The messages of this side that the peer defines otherwise.
    differs: MessageSet,
    /// The messages of this side that the service's rules forbid to this client.
    forbidden: MessageSet,
    /// Service: the numbers of a client with another catalog. Else both sides have the same.
    #[cfg(feature = "alloc")]
    numbers: Option<Box<Numbers>>,
}

/// This side's numbers, by those of the client.
#[cfg(feature = "alloc")]
#[derive(Clone, PartialEq, Eq, Hash)]
struct Numbers {
    /// Entries from [`DIFFERS`] on are verdicts.
    own: [u8; MAX_MESSAGES],
    /// How many are filled in.
    filled: u8,
}

#[cfg(feature = "alloc")]
const DIFFERS: u8 = 0xfe;
#[cfg(feature = "alloc")]
const UNKNOWN: u8 = 0xff;

impl Agreement {
    /// Both sides have this catalog.
    pub const fn identical(catalog: &Catalog) -> Self {
        Self::all(catalog.count())
    }

    /// Both sides have the same messages, so many.
    pub(crate) const fn all(total: u8) -> Self {
        Self {
            total,
            unknown: MessageSet::EMPTY,
            differs: MessageSet::EMPTY,
            forbidden: MessageSet::EMPTY,
            #[cfg(feature = "alloc")]
            numbers: None,
        }
    }

    /// Service: these messages are not for this client, neither to be sent by it nor to it.
    pub(crate) const fn forbid(&mut self, messages: MessageSet) {
        self.forbidden = messages;
    }

    /// Client: sets the verdict on one message, as the service stated it; false when there is no such message.
    pub(crate) fn set(&mut self, number: u8, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Same => {}
            Verdict::Unknown => self.unknown.insert(number),
            Verdict::Differs => self.differs.insert(number),
            Verdict::Forbidden => self.forbidden.insert(number),
        }
        number < self.total
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
        #[cfg(feature = "alloc")]
        if let Some(numbers) = &self.numbers {
            let own = numbers.own(wire)?;
            return if self.forbidden.contains(own) {
                Err(Verdict::Forbidden)
            } else {
                Ok(own)
            };
        }
        match self.set_of(wire) {
            Verdict::Same => Ok(wire),
            verdict => Err(verdict),
        }
    }

    /// The number on the wire for a number of this side.
    pub(crate) fn wire(&self, own: u8) -> Result<u8, Verdict> {
        #[cfg(feature = "alloc")]
        if self.numbers.is_some() {
            return (0..self.total)
                .find(|&wire| self.own(wire) == Ok(own))
                .ok_or_else(|| match self.set_of(own) {
                    Verdict::Same => Verdict::Unknown,
                    verdict => verdict,
                });
        }
        self.own(own)
    }

    /// The verdict on a message by this side's number.
    pub fn verdict(&self, own: u8) -> Verdict {
        self.wire(own).err().unwrap_or(Verdict::Same)
    }

    /// The verdict on a message of this side, as far as it is kept by its number.
    #[inline]
    fn set_of(&self, own: u8) -> Verdict {
        if self.differs.contains(own) {
            Verdict::Differs
        } else if self.forbidden.contains(own) {
            Verdict::Forbidden
        } else if self.unknown.contains(own) {
            Verdict::Unknown
        } else {
            Verdict::Same
        }
    }
}

#[cfg(feature = "alloc")]
impl Agreement {
    /// What a service with `own` shares with a client that was built with `client`, an
    /// older or newer form of it.
    pub fn between(own: &Catalog, client: &Catalog) -> Self {
        let mut table = Self::empty(client.count());
        for def in client.messages() {
            table.add(own, &def.entry());
        }
        table
    }

    /// Service: a table for a client with `total` messages, to be filled by [`Agreement::add`].
    pub(crate) fn empty(total: u8) -> Self {
        Self {
            numbers: Some(Box::new(Numbers {
                own: [UNKNOWN; MAX_MESSAGES],
                filled: 0,
            })),
            ..Self::all(total)
        }
    }

    /// As [`empty`](Self::empty), with the same messages forbidden.
    pub(crate) fn emptied(&self, total: u8) -> Self {
        Self {
            forbidden: self.forbidden,
            ..Self::empty(total)
        }
    }

    /// Fills in the verdict on the client's next entry.
    pub(crate) fn add(&mut self, own: &Catalog, entry: &Definition<'_>) {
        let Some(numbers) = self.numbers.as_mut().filter(|numbers| numbers.filled < self.total) else {
            return;
        };
        let mut found = own.messages().iter().zip(0u8..);
        let entry = match found.find(|(def, _)| def.name() == entry.name) {
            None => UNKNOWN,
            Some((def, number)) if def.entry() == *entry => number,
            Some((_, number)) => {
                self.differs.insert(number);
                DIFFERS
            }
        };
        if let Some(place) = numbers.own.get_mut(usize::from(numbers.filled)) {
            *place = entry;
            numbers.filled += 1;
        }
    }

    /// How many entries are still to be filled in.
    pub(crate) fn missing(&self) -> u8 {
        self.total.saturating_sub(self.filled())
    }

    /// The number of the entry to be filled in next.
    pub(crate) fn filled(&self) -> u8 {
        self.numbers.as_ref().map_or(self.total, |numbers| numbers.filled)
    }
}

#[cfg(feature = "alloc")]
impl Numbers {
    #[inline]
    fn own(&self, wire: u8) -> Result<u8, Verdict> {
        match self.own.get(usize::from(wire)) {
            None | Some(&UNKNOWN) => Err(Verdict::Unknown),
            Some(&DIFFERS) => Err(Verdict::Differs),
            Some(&own) => Ok(own),
        }
    }
}

#[cfg(feature = "record")]
impl Agreement {
    /// The table as it is logged: the numbers or verdicts of the client's messages.
    pub(crate) fn entries(&self) -> heapless::Vec<u8, MAX_MESSAGES> {
        let entry = |wire| match self.own(wire) {
            Ok(own) => own,
            Err(Verdict::Differs) => DIFFERS,
            Err(_) => UNKNOWN,
        };
        (0..self.total).map(entry).collect()
    }

    pub(crate) const fn differs(&self) -> &MessageSet {
        &self.differs
    }

    /// A table as it was logged, in a service with `own`; `None` when it cannot be.
    pub(crate) fn logged(own: &Catalog, entries: &[u8], differs: MessageSet) -> Option<Self> {
        let fits = |&entry: &u8| entry < own.count() || entry >= DIFFERS;
        let total = u8::try_from(entries.len()).ok()?;
        let mut table = Self::empty(total);
        let numbers = table.numbers.as_mut()?;
        numbers.own.get_mut(..entries.len())?.copy_from_slice(entries);
        numbers.filled = total;
        table.differs = differs;
        entries.iter().all(fits).then_some(table)
    }
}

impl core::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Agreement")
            .field("messages", &self.total)
            .field("exceptions", &self.exceptions().count())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Direction, EntryKind};
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
    fn verdicts_hold_for_entries_of_all_kinds() {
        const ALL: [EntryKind; 4] = [
            EntryKind::Call,
            EntryKind::Stream,
            EntryKind::Upload,
            EntryKind::Download,
        ];
        // Each as each other, in the same structures: a transfer the other way has even the same key.
        for (own, one) in (0..).zip(ALL) {
            for (client, other) in (0..).zip(ALL) {
                let catalog = |kind| {
                    let defs = vec![
                        MessageDef::new::<u8>("A", Direction::Both),
                        MessageDef::asked::<u8, u16>(kind, "Ask", Direction::FromClient),
                    ];
                    Catalog::new("Test/Agree", defs.leak())
                };
                let table = Agreement::between(&catalog(one), &catalog(other));
                let expected = if own == client { Ok(1) } else { Err(Verdict::Differs) };
                assert_eq!(table.own(1), expected, "PROTOCOL S-5: {one:?}, {other:?}");
                assert_eq!(table.own(0), Ok(0));
            }
        }
        let asked = |answer: MessageDef| Catalog::new("Test/Agree", vec![answer].leak());
        let call = asked(MessageDef::asked::<u8, u16>(
            EntryKind::Call,
            "A",
            Direction::FromClient,
        ));
        let answer = asked(MessageDef::asked::<u8, u8>(EntryKind::Call, "A", Direction::FromClient));
        let both = asked(MessageDef::asked::<u8, u16>(EntryKind::Call, "A", Direction::Both));
        for other in [answer, both, OWN] {
            assert_eq!(
                Agreement::between(&call, &other).own(0),
                Err(Verdict::Differs),
                "PROTOCOL S-5"
            );
        }
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
            asked.add(&OWN, &def.entry());
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
            table.add(&OWN, &def.entry());
        }
        assert_eq!((table.filled(), table.missing()), (2, 0), "PROTOCOL H-8");
        assert_eq!(table.own(2), Err(Verdict::Unknown));
    }
}
