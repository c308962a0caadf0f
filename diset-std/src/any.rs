//! Messages without their types: what a handler of all messages gets, and what a generic
//! client sends.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use diset_proto::{Invalid, LearnedMessage, MessageOf, ServiceDef};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

/// A message of any definition, checked against its structure: name and bytes.
///
/// It serialises as what it says, with the names of attributes and variants: to JSON by
/// `serde_json::to_string(&message)`, for instance.
pub struct AnyMessage<S> {
    definition: Arc<LearnedMessage>,
    number: u8,
    bytes: Box<[u8]>,
    service: PhantomData<fn(S)>,
}

impl<S: ServiceDef> AnyMessage<S> {
    /// A message whose bytes were checked.
    pub(crate) fn new(definition: &Arc<LearnedMessage>, number: u8, bytes: &[u8]) -> Self {
        Self {
            definition: Arc::clone(definition),
            number,
            bytes: bytes.into(),
            service: PhantomData,
        }
    }

    /// The name of the message.
    pub fn name(&self) -> &str {
        self.definition.name()
    }

    /// Its definition.
    pub fn definition(&self) -> &LearnedMessage {
        &self.definition
    }

    /// Its attributes, in postcard's encoding.
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message as a value, when it is an `M`.
    ///
    /// # Errors
    /// [`NotThis::Other`] when it is another message, [`NotThis::Invalid`] when a type in
    /// `M` does not take a value, as one that exceeds its capacity.
    pub fn decode<M: MessageOf<S> + DeserializeOwned>(&self) -> Result<M, NotThis> {
        if M::NUMBER != self.number {
            return Err(NotThis::Other);
        }
        diset_proto::decode(&self.bytes).map_err(NotThis::Invalid)
    }
}

impl<S> Serialize for AnyMessage<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let described = self.definition.read(&self.bytes);
        described.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<S> fmt::Debug for AnyMessage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.definition.name(), self.bytes.len())
    }
}

/// Why an [`AnyMessage`] is not the type asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotThis {
    /// It is another message.
    #[error("it is another message")]
    Other,
    /// A value was refused by its type.
    #[error("{0}")]
    Invalid(Invalid),
}
