//! Definitions that a peer described, for tools that have none compiled in.
//!
//! A generic client learns the catalog of a service as a [`LearnedCatalog`], and can list,
//! build, send, read and print each message by name. Nothing here knows a connection.

mod check;
pub(crate) mod description;
mod encode;
pub(crate) mod expect;
mod place;
pub(crate) mod read;
pub(crate) mod structure;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::told::Descriptions;
use super::{ServiceDef, digest};
use crate::definition::{Digest, Direction, EntryKind, Key};
use crate::id::ServiceName;
use crate::limits::{MAX_CATALOG, MAX_MESSAGES};
use description::{BadDescription, Reader};
use structure::Structure;

/// The definition of one entry of a catalog, mostly a message, as a peer described it.
///
/// A message is printed as its name and structure, `Ping { id: i64 }`, another entry with its kind and its answer, too:
/// `call Sum { a: i64, b: i64 } -> { sum: i64 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedMessage {
    name: Box<str>,
    direction: Direction,
    kind: EntryKind,
    key: Key,
    structure: Structure,
    /// Unless it is a message.
    answer: Option<Structure>,
}

impl LearnedMessage {
    /// Reads one description (PROTOCOL S-7).
    ///
    /// The bytes may be anything: the work and the memory are bounded by their number.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn decode(description: &[u8]) -> Result<Self, BadDescription> {
        let mut rest = Reader(description);
        let message = Self::next(&mut rest)?;
        match rest.0.len() {
            0 => Ok(message),
            left => Err(BadDescription::LeftOver(left)),
        }
    }

    fn next(rest: &mut Reader<'_>) -> Result<Self, BadDescription> {
        let (direction, kind, name) = rest.head()?;
        let (structure, canonical) = rest.whole()?;
        let answer = if kind.has_answer() { Some(rest.whole()?) } else { None };
        let key = digest::described(kind, name, canonical, answer.as_ref().map(|(_, canonical)| *canonical));
        Ok(Self {
            key: key.ok_or(BadDescription::TooLong)?,
            name: name.into(),
            direction,
            kind,
            structure,
            answer: answer.map(|(answer, _)| answer),
        })
    }

    /// The description it was read from, to keep it or hand it on.
    pub fn to_description(&self) -> Vec<u8> {
        let mut out = Vec::new();
        description::write_head(self.direction, self.kind, &self.name, &mut out);
        description::write(&self.structure, &mut out);
        if let Some(answer) = &self.answer {
            description::write(answer, &mut out);
        }
        out
    }

    /// The name. It comes from the peer and may hold any character; printing the message
    /// escapes what could harm a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which way it may travel, or who may ask.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether it is a message, or what else it is. Only messages can be sent.
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// What stands for name and structures, computed here and not taken from the peer.
    pub const fn key(&self) -> Key {
        self.key
    }

    /// What it is made of; of a call, a stream or a transfer what asks.
    pub const fn structure(&self) -> &Structure {
        &self.structure
    }

    /// What the answer is made of, or an item of a stream; `None` for a message.
    pub const fn answer(&self) -> Option<&Structure> {
        self.answer.as_ref()
    }
}

impl fmt::Display for LearnedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(answer) = &self.answer else {
            return structure::message(&self.name, &self.structure, f);
        };
        write!(f, "{} ", self.kind.name())?;
        structure::message(&self.name, &self.structure, f)?;
        write!(f, " -> {answer}")
    }
}

/// All messages of a service, and what else it defines, as it described them.
///
/// Never changes; share it in an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedCatalog {
    service: Box<str>,
    messages: Box<[Arc<LearnedMessage>]>,
    digest: Digest,
}

/// Its digest says all.
impl core::hash::Hash for LearnedCatalog {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl LearnedCatalog {
    /// Reads the descriptions of all entries of the catalog of `service`, one after the other in the
    /// order of their numbers.
    ///
    /// The bytes may be anything: the work and the memory are bounded by their number.
    ///
    /// # Errors
    /// The first rule that is broken (PROTOCOL S-1, S-2).
    pub fn decode(service: ServiceName<'_>, descriptions: &[u8]) -> Result<Self, BadDescription> {
        if descriptions.len() > MAX_CATALOG {
            return Err(BadDescription::TooLong);
        }
        let mut rest = Reader(descriptions);
        let mut messages: Vec<Arc<LearnedMessage>> = Vec::new();
        while !rest.0.is_empty() {
            if messages.len() == MAX_MESSAGES {
                return Err(BadDescription::Messages);
            }
            let message = LearnedMessage::next(&mut rest)?;
            if messages.iter().any(|other| other.name == message.name) {
                return Err(BadDescription::SameName);
            }
            messages.push(Arc::new(message));
        }
        Ok(Self {
            digest: digest::learned(service.as_str(), &messages).ok_or(BadDescription::Messages)?,
            service: service.as_str().into(),
            messages: messages.into_boxed_slice(),
        })
    }

    /// The catalog of a service that is compiled in, for tools that treat it as any other.
    ///
    /// # Errors
    /// As for [`Descriptions::of`].
    pub fn of<S: ServiceDef>() -> Result<Self, BadDescription> {
        Self::decode(S::CATALOG.service(), Descriptions::of::<S>()?.as_bytes())
    }

    /// The name of the service, of the form `System/Name`.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The entries, of whatever [kind](EntryKind); the number of each is its place.
    pub fn messages(&self) -> &[Arc<LearnedMessage>] {
        &self.messages
    }

    /// The entry with this name.
    pub fn message(&self, name: &str) -> Option<&Arc<LearnedMessage>> {
        self.messages.iter().find(|message| *message.name == *name)
    }

    /// The entry with this number.
    pub fn by_number(&self, number: u8) -> Option<&Arc<LearnedMessage>> {
        self.messages.get(usize::from(number))
    }

    /// How many entries there are; at most [`MAX_MESSAGES`].
    #[allow(clippy::cast_possible_truncation, reason = "`decode` refuses more than 128")]
    pub(crate) const fn count(&self) -> u8 {
        self.messages.len() as u8
    }

    /// What stands for the whole catalog, computed here and not taken from the peer.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}
