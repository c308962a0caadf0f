//! TLS 1.3 over embedded-tls: a server that has proven who it is, or no channel.
//!
//! [`Tls`] is an [`Open`](crate::Open) for both clients, [`TlsChannel`] the channel that comes of it. There is one only
//! when the server has shown exactly one certificate that the [`VerifyServer`] accepts, has signed this handshake with
//! its key, has asked for the client's certificate and has chosen the application protocol [`ALPN`]; in this order,
//! each once. Until it has proven itself nothing leaves the client but its hello: an impostor sees no byte of the
//! application, nor the client's certificate. A server's flight may come in several records, but each of its messages
//! in one.
//!
//! Two verifiers are there:
//!
//! | | [`PinnedAuthority`] | [`PinnedKey`] |
//! |---|---|---|
//! | the server is | whom this authority has certified for this DNS name, as a server, now | the holder of this key |
//! | the device needs | the authority's certificate, a clock | 32 bytes |
//! | a new key for the server | nothing to do | pin it besides the old one first |
//!
//! **The work is shared** in a way that keeps embedded-tls 0.19 safe, which by itself takes a server that proves
//! nothing and panics on some input. It makes the handshake, on records that are checked beneath it, and with a cipher
//! that looks at what it has decrypted before embedded-tls does. Then it hands over the keys, and the records are sealed
//! and opened here: what has come or left of one is kept in the channel, so its futures may be dropped at any time.
//!
//! **What the service must do**: P-256 for its key and for the key exchange, AES-128-GCM, records that fit
//! [`TlsBuffers`] (22 bytes more than their content), one certificate without intermediate authorities, and ask for a
//! certificate. What else it sends after the handshake: tickets are passed over, as no TLS session is resumed; a
//! KeyUpdate ends the connection.
//!
//! **Keys wear out.** Nothing in embedded-tls changes them, so [`TlsChannel::is_worn`] says when to connect again; the
//! client's session goes on. The service knows the limit, and counts, too. Not one record passes beyond it.
//!
//! **An end without close_notify** is [`TlsError::Ended`], and 0 bytes are read after one only (PROTOCOL X-4). How the
//! transport itself ends, a line that is hung up for instance, is said by [`Tls::ending_with`].
//!
//! **A refused client** learns of it when its own handshake is over, as TLS 1.3 has it: the client connects, and is
//! dropped before it is admitted, [`Dropped::error`](crate::Dropped::error) `ConnectionAborted`.
//! [`TlsChannel::fault`] has the alert: take the channel by [`take_channel`](crate::Client::take_channel).
//!
//! Memory: [`TlsBuffers`], a channel of less than 150 bytes on a 32-bit chip, and while a handshake lasts about 15 KiB
//! of stack, for an async client where its future is polled.
//!
//! # Blocking
//!
//! ```
//! use diset_embedded::tls::{MAX_RECORDS, PinnedKey, SecretKey, Tls, TlsBuffers, TlsChannel, TlsConfig};
//! use diset_embedded::{Client, Instant, Retry};
//! use embedded_io::{Read, ReadReady, Write, WriteReady};
//! # use diset_embedded::{FromClient, Schema, define_service};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize, Schema)]
//! # struct Reading { celsius: f32 }
//! # define_service! { Logger = "Demo/Logger"; from_client: [Reading] }
//!
//! /// What a device is given when it is made. None of it changes while it runs.
//! struct Secrets {
//!     certificate: &'static [u8],
//!     key: SecretKey,
//!     pins: [[u8; 32]; 2],
//! }
//!
//! /// Connects when it is time to. The buffers are lent to the channel, and come back when the client drops it.
//! fn connect<'b, T: Read + Write + ReadReady + WriteReady>(
//!     client: &mut Client<'_, Logger, TlsChannel<'b, T>>,
//!     now: Instant,
//!     dial: impl FnOnce() -> Option<T>,
//!     secrets: &mut Secrets,
//!     random: &mut impl diset_embedded::tls::CryptoRngCore,
//!     buffers: &'b TlsBuffers,
//! ) {
//!     if client.is_busy() || !matches!(client.retry(), Retry::At(when) if when <= now) {
//!         return;
//!     }
//!     // The channel before holds the buffers.
//!     drop(client.take_channel());
//!     let Some(stream) = dial() else {
//!         client.unreachable(now);
//!         return;
//!     };
//!     let config = TlsConfig {
//!         server: &PinnedKey::new(&secrets.pins),
//!         certificate: secrets.certificate,
//!         key: &mut secrets.key,
//!         random,
//!         max_records: MAX_RECORDS,
//!     };
//!     // The buffers are long enough for this certificate, or they never are.
//!     if let Ok(tls) = Tls::new(stream, config, buffers) {
//!         // If it fails there is a next attempt. A `TlsError` says why, and what to do.
//!         let _ = client.connect(tls, now);
//!     }
//! }
//! ```
//!
//! # Async
//!
//! ```
//! use diset_embedded::tls::{
//!     CryptoRngCore, MAX_RECORDS, PinnedAuthority, SecretKey, Tls, TlsBuffers, TlsConfig, Validity,
//! };
//! use diset_embedded::{Buffers, Client, Clock, Config, Identity, Retry, SetupError};
//! use embedded_io_async::{Read, Write};
//! # use diset_embedded::{FromClient, Schema, define_service};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize, Schema)]
//! # struct Reading { celsius: f32 }
//! # define_service! { Logger = "Demo/Logger"; from_client: [Reading] }
//!
//! async fn agent<T: Read + Write>(
//!     dial: impl AsyncFn() -> Option<T>,
//!     clock: impl Clock,
//!     unix_seconds: impl Fn() -> u64,
//!     authority: &[u8],
//!     certificate: &[u8],
//!     key: &mut SecretKey,
//!     random: &mut impl CryptoRngCore,
//! ) -> Result<(), SetupError> {
//!     let records: TlsBuffers = TlsBuffers::new();
//!     let mut buffers: Buffers = Buffers::new();
//!     let config = Config::new(Identity::from_bytes(*b"sensor 000000017"), random.as_rngcore().next_u64());
//!     let mut client = Client::new(Logger, config, clock, &mut buffers)?;
//!     while let Retry::At(_) = client.wait_for_retry().await {
//!         drop(client.take_channel());
//!         let Some(stream) = dial().await else {
//!             client.unreachable();
//!             continue;
//!         };
//!         let authorities = [authority];
//!         let server = PinnedAuthority::new(&authorities, "gateway.example.org", Validity::At(unix_seconds()));
//!         let config = TlsConfig { server: &server, certificate, key, random, max_records: MAX_RECORDS };
//!         let Ok(tls) = Tls::new(stream, config, &records) else { break };
//!         if client.connect(tls).await.is_err() {
//!             continue;
//!         }
//!         let _ = client.send(&Reading { celsius: 21.5 });
//!         while let Some(_event) = client.next().await {}
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Another stack
//!
//! Where the chip has TLS of its own, or mbedTLS is there: implement [`Open`](crate::Open) and
//! [`Channel`](crate::Channel) (or those of [`blocking`](crate::blocking)) for it. `open` returns a channel when the
//! peer is proven, with the name and the purpose of its certificate checked, and [`ALPN`] agreed; the rest is what
//! [`Channel`](crate::Channel) says.

mod buffers;
mod bytes;
mod channel;
mod error;
mod flight;
mod identity;
mod open;
mod port;
mod provider;
mod records;
mod signature;
mod suite;
mod verify;

pub use buffers::TlsBuffers;
pub use channel::TlsChannel;
pub use embedded_tls::{CryptoRng, CryptoRngCore};
pub use error::{CertificateError, TlsError};
pub use flight::ALPN;
pub use identity::{ClientKey, SecretKey, SigningFailed};
pub use open::{MAX_RECORDS, Tls, TlsConfig};
pub use verify::{PinnedAuthority, PinnedKey, Point, Validity, VerifyServer};
