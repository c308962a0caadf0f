//! DISET stable connections for microcontrollers: one client, one connection at a time, blocking or async.
//!
//! No `std`, no heap, no `unsafe`, and nothing a peer sends makes it panic. The memory is the caller's
//! ([`Buffers`]), so is the transport ([`Channel`], [`blocking::Channel`]). The same [`Client`] has two ways to be
//! driven; what they share is one state machine, so they cannot differ in what they do.
//!
//! ```text
//!   transport ──▶ Channel::read ──▶ Buffers ──▶ engine (diset-proto) ──▶ Event
//!   transport ◀── Channel::write ◀─ Buffers ◀── engine (diset-proto) ◀── send
//! ```
//!
//! # Async
//!
//! ```
//! use diset_embedded::{Buffers, Client, Clock, Config, Event, Identity, Retry, SetupError, TrustedLine};
//! use diset_embedded::{MessageOf, Schema, define_service};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Ping { id: i64 }
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Pong { id: i64 }
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Note<'a> { text: &'a str }
//!
//! define_service! {
//!     PingPong = "Framework/PingPong";
//!     from_client: [Ping],
//!     from_service: [Pong],
//!     both: [Note<'a>],
//! }
//!
//! # async fn dial() -> std::io::Result<Stream> { Err(std::io::ErrorKind::NotConnected.into()) }
//! # struct Stream;
//! # impl embedded_io::ErrorType for Stream { type Error = embedded_io::ErrorKind; }
//! # impl embedded_io_async::Read for Stream { async fn read(&mut self, _: &mut [u8]) -> Result<usize, Self::Error> { Ok(0) } }
//! # impl embedded_io_async::Write for Stream {
//! #     async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> { Ok(bytes.len()) }
//! #     async fn flush(&mut self) -> Result<(), Self::Error> { Ok(()) }
//! # }
//! async fn agent(clock: impl Clock, chance: u64) -> Result<(), SetupError> {
//!     let mut buffers: Buffers = Buffers::new();
//!     let config = Config::new(Identity::from_bytes(*b"sensor 000000017"), chance);
//!     let mut client = Client::new(PingPong, config, clock, &mut buffers)?;
//!     while let Retry::At(_) = client.wait_for_retry().await {
//!         let Ok(stream) = dial().await else {
//!             client.unreachable();
//!             continue;
//!         };
//!         if client.connect(TrustedLine::new(stream)).await.is_err() {
//!             continue;
//!         }
//!         while let Some(event) = client.next().await {
//!             match event {
//!                 Event::Connected(_) => { let _ = client.send(&Ping { id: 1 }); }
//!                 Event::Message(message) => match message.number() {
//!                     Pong::NUMBER => message.answer(|pong: Pong, handling| {
//!                         // An error is the result of the handler: the service is told that it has failed.
//!                         handling.send(&Ping { id: pong.id + 1 })?;
//!                         Ok(())
//!                     }),
//!                     Note::NUMBER => message.run(|note: Note<'_>| {
//!                         let _lies_in_the_buffers = note.text;
//!                         Ok(())
//!                     }),
//!                     _ => message.reject("not in this firmware"),
//!                 },
//!                 Event::Dropped(_) => {} // why, and how many messages may be lost
//!                 _ => {}
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Blocking
//!
//! [`Client::poll`] never waits for an answer of the peer: it does what can be done now, and the main loop goes on.
//! Only the channel's `flush` and `close` may hold it up, until what was written has left the chip. See [`blocking`].
//!
//! # Acked messages
//!
//! [`Client::send`] is at most once. With an [`Outbox`] a client keeps a *session* from one connection to the next, and
//! what [`Client::send_acked`] has taken stays stored until the service has dealt with it: handled once while both
//! live, in order, with one [`Outcome`] each. `docs/DELIVERY.md` has what is promised when one of them does not. A
//! client without an outbox pays for none of it. One with an outbox takes acked messages of the service when it was made
//! [`with_inbox`](Outbox::with_inbox); else it says that it takes none, and the service's are refused where they are sent.
//!
//! ```
//! use diset_embedded::blocking::{Channel, Open};
//! use diset_embedded::{Buffers, Client, Config, Event, Identity, Outbox, Resumption, SetupError};
//! # use diset_embedded::{FromClient, Instant, Schema, define_service};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize, Schema)]
//! # struct Alarm { level: u8 }
//! # define_service! { Guard = "Demo/Guard"; from_client: [Alarm] }
//! # fn now() -> Instant { Instant::from_millis(0) }
//! # fn too_hot() -> bool { false }
//! fn guard<C: Channel + Open<Channel = C>>(line: C, chance: u64) -> Result<(), SetupError> {
//!     let mut buffers: Buffers = Buffers::new();
//!     let mut outbox: Outbox<256> = Outbox::new();
//!     let config = Config::new(Identity::from_bytes(*b"sensor 000000017"), chance);
//!     let mut client = Client::blocking(Guard, config, &mut buffers)?.with_outbox(&mut outbox)?;
//!     // Also without a connection: it is stored, and leaves with the next.
//!     if too_hot() && client.send_acked(&Alarm { level: 3 }).is_err() {
//!         // The outbox is full: nothing has changed.
//!     }
//!     if client.connect(line, now()).is_ok() {
//!         while let Some(event) = client.poll(now()) {
//!             match event {
//!                 Event::Connected(_) => if let Some(Resumption::New { .. }) = client.resumption() {
//!                     // The service knows nothing of an earlier connection.
//!                 },
//!                 // Not dealt with, and why. Never told twice, never sent again.
//!                 Event::Outcome { number, outcome } => { let _ = (number, outcome); }
//!                 // All others up to this number are dealt with.
//!                 Event::Delivered(delivered) => { let _ = delivered.processed; }
//!                 _ => {}
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A message of the service that is an acked one has a number and may be a repetition ([`Message::received`]); it
//! counts as dealt with when its handler returns Ok, and as failed when that returns an error, when the message is
//! rejected, and when nobody handles it.
//!
//! # Bringing another TLS stack
//!
//! A modem's own TLS, or mbedtls, takes two traits, here for an executor, in [`blocking`] for polling:
//!
//! - [`Open`] makes the channel, and is the only way to one. It must have proven that the peer is the service: TLS 1.3,
//!   a certificate chain to the CA you trust (or the key you pinned), of the right name and in time, meant for servers,
//!   **and** the signature of the handshake verified under that certificate; its own certificate shown; the ALPN protocol
//!   agreed (PROTOCOL X-2, X-3). What the stack leaves out you add, or fail. Never send early data.
//! - [`Channel`] moves bytes. An end without the peer's close_notify is an error, not 0. `close` sends close_notify. The
//!   async `read` and `write` must be cancel safe: when those of the stack are not, keep the record that is half read, or
//!   half written, in the channel.
//! - A stack that cannot renew its keys says in [`Channel::max_records`] how many records a key may protect (for AES-GCM
//!   at most 2^24), counts those of each direction, the handshake's included, says [`Channel::is_worn`] at 90 %, and
//!   fails rather than exceed the limit. The client goes away in order, [`Event::Dropped`] comes with a
//!   [`retry`](Dropped::retry) that is now, and acked messages go on with the next connection.
//!
//! # Time
//!
//! A call that returns at once takes the time as an argument, as the engine does: the main loop has it at hand. A
//! future outlives the moment at which it began and must sleep until something is due, so the async client is given
//! a [`Clock`].
//!
//! # Memory
//!
//! Bytes, on a 32-bit chip, checked when this crate is built for one; the stack and the transport come on top.
//!
//! | | |
//! |---|---|
//! | [`Buffers`] | 1412 |
//! | [`Client`] | 528 |
//! | [`Client`] with an outbox | 528 |
//! | [`Outbox`], and its `N` | 488 |
//! | [`Event`] | 112 |
//!
//! [`Buffers`] are as long as their parameters say: frames of [`Limits::CHIP`] need the 516 + 768 + 128 bytes of the
//! default. Input need not hold a frame; output must hold at least 768 bytes.
//!
//! # Security
//!
//! [`TrustedLine`] authenticates nobody. With the feature `embedded-tls` the module `tls` has mutual TLS 1.3; with
//! another stack bring a [`Channel`] of your own.
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

mod asynch;
pub mod blocking;
mod buffers;
mod client;
mod config;
mod event;
mod line;
mod machine;
#[cfg(any(test, target_pointer_width = "32"))]
mod memory;
mod outbox;
#[cfg(feature = "embedded-tls")]
pub mod tls;

pub use asynch::{Channel, Clock, Open};
pub use buffers::Buffers;
pub use client::{Client, NoClock};
pub use config::{Config, SetupError};
pub use diset_proto;
pub use diset_proto::drive::{Failure, HandlerResult};
pub use diset_proto::store::{NoInbox, Volatile};
pub use diset_proto::{
    Arg, Bound, Cause, Code, Delivered, FromClient, FromService, Identity, Instant, Limits, MessageOf, NewReason,
    Notice, Outcome, ReconnectPolicy, Resumption, Retry, Schema, SendError, ServiceDef, Trid, Verdict, define_service,
};
pub use event::{ConnectError, Dropped, Event, Handling, Message};
pub use line::TrustedLine;
pub use outbox::{Keep, NoOutbox, Outbox, Received};
