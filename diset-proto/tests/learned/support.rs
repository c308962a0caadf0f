//! Messages as the tests make them: typed, as bytes, as JSON, and by a description written by hand.

use diset_proto::{LearnedCatalog, LearnedMessage, ServiceDef};
use serde::Serialize;
use serde_json::Value;

/// The definition of a message that is compiled in, as a peer learns it.
pub(crate) fn learned<S: ServiceDef>(name: &str) -> LearnedMessage {
    let catalog = LearnedCatalog::of::<S>().unwrap();
    catalog.message(name).unwrap().as_ref().clone()
}

/// A message `A`, both ways, of the type with this canonical form.
pub(crate) fn described(ty: &[u8]) -> LearnedMessage {
    LearnedMessage::decode(&[&[3, 0, 1, 0, b'A'], ty].concat()).unwrap()
}

pub(crate) fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut place = vec![0; 64 * 1024];
    postcard::to_slice(value, &mut place).unwrap().to_vec()
}

pub(crate) fn shown(message: &LearnedMessage, payload: &[u8]) -> String {
    serde_json::to_string(&message.read(payload).unwrap()).unwrap()
}

/// Encodes from the text itself, so that every number keeps its digits.
pub(crate) fn from_text(message: &LearnedMessage, text: &str) -> Result<Vec<u8>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    message.encode(&mut reader).map_err(|error| error.to_string())
}

pub(crate) fn from_value(message: &LearnedMessage, value: Value) -> Result<Vec<u8>, String> {
    message.encode(value).map_err(|error| error.to_string())
}
