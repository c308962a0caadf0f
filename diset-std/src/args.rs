//! Connect arguments that are kept: what a client said about itself.

use core::fmt;

use diset_proto::{Arg, Args};

/// The value of a connect argument.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// As it is given to the engine.
    pub(crate) fn borrowed(&self) -> Arg<'_> {
        match self {
            Self::Bool(value) => Arg::Bool(*value),
            Self::Int(value) => Arg::Int(*value),
            Self::Float(value) => Arg::Float(*value),
            Self::Text(value) => Arg::Text(value),
            Self::Bytes(value) => Arg::Bytes(value),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

/// The arguments a client gave when it connected: at most 16 names with values.
#[derive(Clone, Default, PartialEq)]
pub struct ConnectArgs(Box<[(String, Value)]>);

impl ConnectArgs {
    pub(crate) fn of(args: Args<'_>) -> Self {
        let owned = args.iter().filter_map(|(name, value)| {
            let value = match value {
                Arg::Bool(value) => Value::Bool(value),
                Arg::Int(value) => Value::Int(value),
                Arg::Float(value) => Value::Float(value),
                Arg::Text(value) => Value::Text(value.to_owned()),
                Arg::Bytes(value) => Value::Bytes(value.to_owned()),
                _ => return None,
            };
            Some((name.to_owned(), value))
        });
        Self(owned.collect())
    }

    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.iter().find_map(|(given, value)| (given == name).then_some(value))
    }

    /// The text of this name, when it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// All arguments, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Names only: values may be private.
impl fmt::Debug for ConnectArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
