//! The definitions of a client, apart from diset-proto (PROTOCOL H-8).

use super::super::Bytes;
use super::{Read, id};

/// H-8: the client's entries, as they come in parts.
#[derive(Debug, Default)]
pub(in super::super) struct DefinitionsSaid {
    pub(in super::super) total: Option<u8>,
    /// Direction and four times the kind, name, key.
    pub(in super::super) entries: Vec<(u8, String, [u8; 16])>,
}

impl DefinitionsSaid {
    pub(in super::super) fn add(&mut self, body: &[u8]) -> Read<()> {
        let mut rest = Bytes(body);
        let (first, total) = (rest.next()?, rest.next()?);
        let sound = total <= 128
            && *self.total.get_or_insert(total) == total
            && usize::from(first) == self.entries.len()
            && (!rest.0.is_empty() || total == 0);
        sound.then_some(())?;
        while let Some(first) = rest.next() {
            let (name, key) = (rest.text()?, Bytes(rest.exactly(16)?));
            let sound = first % 4 > 0 && first / 4 <= 4 && (1..=64).contains(&name.len());
            (sound && self.entries.len() < usize::from(total)).then_some(())?;
            self.entries.push((first, name.to_owned(), id(key)?));
        }
        Some(())
    }

    pub(in super::super) fn is_complete(&self) -> bool {
        self.total.map(usize::from) == Some(self.entries.len())
    }
}
