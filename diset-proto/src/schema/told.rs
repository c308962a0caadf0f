//! The definitions of a service as bytes, for clients that were built without them.

use alloc::sync::Arc;
use alloc::vec;

use super::learned::description::BadDescription;
use super::{MessageDef, ServiceDef, canonical};

/// The descriptions of all entries of the catalog of a service, one after the other (PROTOCOL S-7, H-11).
///
/// Make it once; clones share the bytes, at most [`MAX_CATALOG`](crate::limits::MAX_CATALOG).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Descriptions(Arc<[u8]>);

impl Descriptions {
    /// Those of the service `S`.
    ///
    /// # Errors
    /// Never with [`define_service!`](crate::define_service), which refuses while compiling
    /// what cannot work. Otherwise, when the structures of `S` are not those of its catalog.
    pub fn of<S: ServiceDef>() -> Result<Self, BadDescription> {
        let defs = S::CATALOG.messages();
        let mut descriptions = vec![0; defs.iter().map(MessageDef::size).sum()];
        let mut rest = descriptions.as_mut_slice();
        let mut answers = S::ANSWERS.iter();
        for (def, structure) in defs.iter().zip(S::STRUCTURES) {
            let (place, after) = rest.split_at_mut_checked(def.size()).ok_or(BadDescription::TooShort)?;
            let answer = def.kind().has_answer().then(|| answers.next()).flatten();
            if !canonical::describe(def, structure, answer.copied(), place) {
                return Err(BadDescription::TooShort);
            }
            rest = after;
        }
        Ok(Self(descriptions.into()))
    }

    /// The bytes, in the order of the messages' numbers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl core::fmt::Debug for Descriptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Descriptions of {} bytes", self.0.len())
    }
}
