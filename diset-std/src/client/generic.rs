//! Clients that were not built with the definitions of their service: tools for people.

use core::fmt;
#[cfg(unix)]
use std::path::Path;

use diset_proto::postcard_schema::schema::NamedType;
use diset_proto::{Catalog, EncodeError, EntryKind, LearnedMessage, SendError, ServiceDef};
use serde::de::Deserializer;

use super::Client;
use super::builder::ClientBuilder;
use crate::any::AnyMessage;
use crate::link::Outgoing;
use crate::session::Engine;

/// The service of a client that learns the definitions when it connects: see
/// [`Client::generic`].
///
/// There is no value of it, so neither a service nor a client is built with it by mistake:
///
/// ```compile_fail,E0423
/// # use diset_std::{Generic, Service};
/// let service = Service::new(Generic);
/// ```
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it stands for something and holds nothing")]
pub enum Generic {}

/// Nothing is known before there is a connection.
impl ServiceDef for Generic {
    const CATALOG: &'static Catalog = &Catalog::new("Generic/Client", &[]);
    const STRUCTURES: &'static [&'static NamedType] = &[];
}

impl Client<Generic> {
    /// A client of any service, which learns its messages when it connects and has them as
    /// values with names; for tools. `service` is the name of the service, `System/Name`,
    /// `address` as in [`Client::builder`].
    ///
    /// ```no_run
    /// # use diset_std::{Client, tls::ClientTls};
    /// # async fn example(tls: ClientTls) -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::generic("Framework/PingPong", "localhost:9145")
    ///     .tls(tls)
    ///     .on_any(|_, message| async move {
    ///         println!("{} {}", message.name(), serde_json::to_string(&message)?);
    ///         Ok(())
    ///     })
    ///     .connect()
    ///     .await?;
    /// for message in client.catalog().ok_or("not connected")?.messages() {
    ///     println!("{message}");
    /// }
    /// let mut json = serde_json::Deserializer::from_str(r#"{ "id": 7 }"#);
    /// let ping = client.value("Ping", &mut json)?;
    /// json.end()?;
    /// client.send_any(&ping).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn generic(service: &str, address: &str) -> ClientBuilder<Generic> {
        ClientBuilder::tcp(address).adopting(service)
    }

    /// As [`generic`](Self::generic), at a Unix socket.
    #[cfg(unix)]
    pub fn generic_unix(service: &str, path: impl AsRef<Path>) -> ClientBuilder<Generic> {
        ClientBuilder::unix(path.as_ref()).adopting(service)
    }

    /// Makes a message of a value in a self-describing format, such as JSON. Attributes may
    /// come in any order; an optional one may be missing.
    ///
    /// Text is best read by the deserializer of its format, as in the example of
    /// [`generic`](Self::generic): what is parsed into a `serde_json::Value` first has lost
    /// whole numbers above 64 bits and attributes that stand there twice. What follows the
    /// value is for the caller to refuse.
    ///
    /// # Errors
    /// [`BadValue`], which says what was expected and what came.
    pub fn value<'de, D: Deserializer<'de>>(&self, name: &str, value: D) -> Result<AnyMessage<Generic>, BadValue> {
        let catalog = self.catalog().ok_or(BadValue::NotConnected)?;
        let mut messages = catalog.messages().iter().zip(0u8..);
        let Some((definition, number)) = messages.find(|(message, _)| message.name() == name) else {
            return Err(BadValue::NoSuchMessage {
                name: name.to_owned(),
                known: catalog
                    .messages()
                    .iter()
                    .map(|message| message.name().to_owned())
                    .collect(),
            });
        };
        if definition.kind().has_answer() {
            return Err(BadValue::NotAMessage {
                name: name.to_owned(),
                kind: definition.kind(),
            });
        }
        let bytes = definition.encode(value).map_err(|error| BadValue::Value {
            name: name.to_owned(),
            error,
        })?;
        Ok(AnyMessage::new(definition, number, &bytes))
    }

    /// Sends a message that [`value`](Self::value) made, or one that has come. As
    /// [`Client::send`] otherwise.
    ///
    /// # Errors
    /// [`SendError`]: the message was not sent. [`SendError::NotAgreed`] also when the service
    /// has been replaced by one that defines the message otherwise.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was sent.
    pub async fn send_any(&self, message: &AnyMessage<Generic>) -> Result<(), SendError> {
        self.inner.link.send(&Learned::of(message)).await
    }

    /// Sends such a message if there is room for it now.
    ///
    /// # Errors
    /// As [`send_any`](Self::send_any); [`SendError::Full`] at once.
    pub fn try_send_any(&self, message: &AnyMessage<Generic>) -> Result<(), SendError> {
        self.inner.link.try_send(&Learned::of(message))
    }
}

/// A definition and a payload.
struct Learned<'m>(&'m LearnedMessage, &'m [u8]);

impl<'m> Learned<'m> {
    fn of(message: &'m AnyMessage<Generic>) -> Self {
        Self(message.definition(), message.bytes())
    }
}

impl Outgoing for Learned<'_> {
    fn put(&self, conn: &mut Engine) -> Result<(), SendError> {
        conn.send_learned(self.0, self.1)
    }
}

/// Why a value is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadValue {
    /// The definitions are not known before the client has connected.
    #[error("the client has not been connected yet, so it does not know any message")]
    NotConnected,
    /// The service has no message of this name.
    #[error("the service has no message `{name}`; it has {}", Names(known))]
    NoSuchMessage {
        /// The name that was asked for.
        name: String,
        /// The names of its messages.
        known: Vec<String>,
    },
    /// The service defines it, but it is no message: it cannot be sent.
    #[error("{} is a {} of the service: only messages can be sent", name.escape_debug(), kind.name())]
    NotAMessage {
        /// The name that was asked for.
        name: String,
        /// What it is.
        kind: EntryKind,
    },
    /// The value does not fit the definition.
    #[error("{name}: {error}")]
    Value {
        /// The name of the message.
        name: String,
        /// What was expected, and what came.
        error: EncodeError,
    },
}

/// Names for people; they come from the service.
struct Names<'n>(&'n [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (number, name) in self.0.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{}", name.escape_debug())?;
        }
        Ok(())
    }
}
