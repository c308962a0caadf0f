//! DISET stable connections as a state machine without IO.
//!
//! A client opens one connection to a service and keeps it; from then on both sides send
//! typed messages whenever they like. This crate is the whole protocol as a pure function
//! of time, input bytes and calls: no IO, no clock, no random numbers, no allocation, no
//! `unsafe`. `diset-std` and `diset-embedded` drive it over TLS; anything else that moves
//! bytes in order can drive it, too.
//!
//! ```text
//!  transport          this crate                                      application
//!  ─────────▶ bytes ─▶ Deframer ─▶ Frame ─▶ Connection ─▶ Event ─────────────────▶
//!                                            │     ▲
//!  ◀───────── bytes ◀─ transmit ─────────────┘     └─ send, accept, go_away … ◀───
//!  clock ────────────▶ handle_time ◀ wake
//! ```
//!
//! # Definitions
//!
//! Messages are types with the derives of serde and of [`Schema`] (which needs the crate
//! `postcard-schema` among the dependencies); [`define_service!`] lists those of a service
//! once. [`check_wire`] shows in a test that a type is what its schema says.
//!
//! A tool that has no types compiled in learns them: `LearnedCatalog` (feature `alloc`) reads
//! the descriptions of a service's messages, and shows and encodes each by name through serde.
//!
//! # The loop
//!
//! An adapter drives the two halves in [`drive`], which have the order of calls, messages that wait, and the end of a
//! link in them: docs/EMBEDDING.md has that loop, of thirty lines. In the halves is a [`Connection`], which can be driven
//! by hand, too, as follows.
//!
//! Four kinds of method on a [`Connection`]:
//! - `handle_frame`, `handle_received`, `handle_time`, `handle_eof`: what the world did;
//! - verbs: `send`, `accept`, `refuse`, `decode`, `reject`, `go_away`, `disconnect`: what
//!   the user wants;
//! - `transmit` with `transmitted`, `progress`, `wake`: what must happen next;
//! - getters: `phase`, `cause`, `trid`, `verdict` and the like.
//!
//! One turn of any adapter: give what was read to the [`Deframer`] and its frames to the
//! connection; write what `transmit` lends; see `progress`; sleep until `wake`, or until
//! there is something to read or write. Ask `wake` after `transmit`. Reading and writing
//! go on together, or two peers that both only write would hang.
//!
//! ```
//! use diset_proto::{
//!     Admission, ClientConfig, Connection, Deframer, Event, Identity, Instant, Limits, MessageOf, Schema, ServiceDef, Trid,
//!     define_service,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Ping { id: i64 }
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Pong { id: i64 }
//! define_service! { PingPong = "Framework/PingPong"; from_client: [Ping], from_service: [Pong] }
//!
//! // The transport: bytes on their way, each way.
//! let (mut to_service, mut to_client) = (Vec::new(), Vec::new());
//! let mut now = Instant::from_millis(0);
//!
//! let mut service = Connection::service(now, PingPong::CATALOG, Limits::SERVER, [0; 1024])?;
//! let mut service_rx = Deframer::new([0; 64 * 1024 + 4]);
//! let config = ClientConfig {
//!     catalog: PingPong::CATALOG,
//!     identity: Identity::from_bytes([7; 16]),
//!     limits: Limits::CHIP,
//!     args: &[("site", "CERN".into())],
//! };
//! let mut client = Connection::client(now, &config, [0; 768])?;
//! let mut client_rx = Deframer::new([0; 512 + 4]);
//!
//! let mut last = 0;
//! while last < 3 {
//!     // Write.
//!     to_service.extend_from_slice(client.transmit());
//!     client.transmitted(to_service.len());
//!     to_client.extend_from_slice(service.transmit());
//!     service.transmitted(to_client.len());
//!
//!     // Read, as a service.
//!     let mut input = to_service.as_slice();
//!     service.handle_received(now);
//!     while let Some(frame) = service_rx.next(&mut input, service.max_frame()) {
//!         match service.handle_frame(now, frame) {
//!             Some(Event::Proposed(_)) => { service.accept(now, Admission::new(Trid::new(1)))?; }
//!             Some(Event::Message(message)) => {
//!                 let ping: Ping = service.decode(message)?;
//!                 service.send(Pong::NUMBER, &Pong { id: ping.id })?;
//!             }
//!             other => panic!("the client did not behave: {other:?}"),
//!         }
//!     }
//!     to_service.clear();
//!
//!     // Read, as a client.
//!     let mut input = to_client.as_slice();
//!     client.handle_received(now);
//!     while let Some(frame) = client_rx.next(&mut input, client.max_frame()) {
//!         match client.handle_frame(now, frame) {
//!             Some(Event::Connected(_)) => client.send(Ping::NUMBER, &Ping { id: 1 })?,
//!             Some(Event::Message(message)) => {
//!                 last = client.decode::<Pong>(message)?.id;
//!                 client.send(Ping::NUMBER, &Ping { id: last + 1 })?;
//!             }
//!             other => panic!("the service did not behave: {other:?}"),
//!         }
//!     }
//!     to_client.clear();
//!
//!     // Time passes; what is due is done.
//!     now = Instant::from_millis(now.as_millis() + 10);
//!     if client.wake().is_some_and(|wake| wake <= now) { client.handle_time(now); }
//!     if service.wake().is_some_and(|wake| wake <= now) { service.handle_time(now); }
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! A user who holds the concrete type writes `Ping::NUMBER`; the adapters above this crate
//! take it from the type, so that a message in the wrong direction does not compile
//! ([`FromClient`], [`FromService`]).
//!
//! # What the caller supplies
//!
//! - *Time*: milliseconds of a clock that does not jump, as [`Instant`]; one that goes
//!   backwards is taken as one that stands still.
//! - *An identity*: 16 bytes that the client keeps ([`Identity`]).
//! - *A seed* for [`Reconnect`], from a random number generator: the waits between attempts
//!   follow from it. Nothing else here is random.
//! - *Transport ids*, each once ([`Trid`]), and the decision on each proposal.
//! - *Buffers*: two for each connection, of any type that is [`Storage`].
//!
//! # Buffers
//!
//! | buffer | least | to be comfortable |
//! |---|---|---|
//! | input, in the [`Deframer`] | the frame limit of this side and 4 bytes, handshake of a service: 1028 | the same |
//! | output, in the [`Connection`] | [`limits::MIN_OUTPUT`] | the longest message and [`limits::CONTROL_RESERVE`] and 5 bytes |
//!
//! The input buffer keeps only what came in pieces: a frame that lies whole in the input is
//! lent from there. [`Limits::CHIP`] fits a client into 516 bytes of input, 768 of output and
//! less than 400 for the engine. On a heap, `GrowBuf` (feature `alloc`) takes nothing while
//! nothing waits.
//!
//! # Features
//!
//! None is on by default; each only adds.
//! - `defmt`, `log`: state changes and refusals are logged, never a message or an argument.
//! - `alloc`: buffers that grow, messages that wait for their turn, definitions that are learned
//!   from a peer, clients of a service whose catalog is another than its own, sessions of a service.
//! - `record`: a log of everything that happens to a connection, on request, and its replay.
//! - `sim`: two peers, or a service with clients and sessions, on a virtual clock, for tests of applications.
//!
//! # Panics
//!
//! None, whatever a peer sends and in whatever order the calls come. Definitions that cannot
//! work are refused while compiling; the simulator ends the test that sets it up wrongly.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic_in_result_fn,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::panic
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod conn;
mod definition;
pub mod drive;
mod error;
#[doc(hidden)]
pub mod fmt;
mod id;
pub mod limits;
mod message;
mod reconnect;
#[cfg(feature = "record")]
pub mod recording;
#[cfg(feature = "record")]
pub mod replay;
mod schema;
pub mod serial;
mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod status;
pub mod store;
mod time;
mod wire;

#[cfg(feature = "alloc")]
pub use conn::AdoptConfig;
pub use conn::event::{Event, Progress};
pub use conn::slot::{NoSession, SessionSlot};
pub use conn::state::Phase;
pub use conn::{Admission, ClientConfig, Connection};
pub use definition::{Digest, Direction, EntryKind, Key, MessageSet, Verdict};
pub use error::{Bound, Cause, Misuse, SendError};
pub use id::{Identity, ServiceName, Token, Trid};
pub use limits::Limits;
#[cfg(feature = "alloc")]
pub use message::Kept;
pub use message::{DecodeError, Held, MessageRef, Tag};
pub use postcard_schema::{self, Schema};
pub use reconnect::{Reconnect, ReconnectPolicy, Retry};
pub use schema::agree::Agreement;
pub use schema::decode::{check_wire, decode, decode_seed};
pub use schema::invalid::Invalid;
#[cfg(feature = "alloc")]
pub use schema::learned::description::BadDescription;
#[cfg(feature = "alloc")]
pub use schema::learned::expect::EncodeError;
#[cfg(feature = "alloc")]
pub use schema::learned::read::Described;
#[cfg(feature = "alloc")]
pub use schema::learned::structure::{Attribute, Shape, Structure, Variant, VariantShape};
#[cfg(feature = "alloc")]
pub use schema::learned::{LearnedCatalog, LearnedMessage};
#[cfg(feature = "alloc")]
pub use schema::told::Descriptions;
pub use schema::walk::check_structure;
pub use schema::{Catalog, FromClient, FromService, MessageDef, MessageOf, ServiceDef};
pub use serial::{LineEvent, SerialLine};
#[cfg(feature = "record")]
pub use session::SessionState;
#[cfg(feature = "alloc")]
pub use session::Unwelcome;
pub use session::{BadRecord, Delivered, Outcome, Resumption, Session, SessionRecord};
pub use status::{Code, Notice, RetryAfter, Text};
pub use time::Instant;
pub use wire::args::{Arg, Args};
pub use wire::deframer::Deframer;
pub use wire::frame::Frame;
#[cfg(feature = "alloc")]
pub use wire::frame::KeptFrame;
pub use wire::packet::Proposal;
pub use wire::preamble::MAJOR;
pub use wire::session::{NewReason, Resume};
#[cfg(feature = "alloc")]
pub use wire::storage::GrowBuf;
pub use wire::storage::Storage;

/// The examples in docs/EMBEDDING.md compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/EMBEDDING.md")]
struct EmbeddingExamples;

/// For the macros of this crate.
#[doc(hidden)]
pub mod __private {
    pub use postcard_schema::schema::NamedType;
}
