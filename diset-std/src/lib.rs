//! DISET stable connections on tokio and rustls.
//!
//! A [`Service`] admits clients and answers their messages; a [`Client`] keeps one connection to a service and makes it
//! again when it is lost. Both send typed messages whenever they like. What the bytes mean is in PROTOCOL.md and
//! `diset-proto`; this crate brings sockets, TLS, time and tasks.
//!
//! ```
//! use diset_std::{Client, Schema, Service, define_service};
//! use diset_std::tls::{ClientTls, ServerTls, throwaway::ThrowawayCa};
//! use serde::{Deserialize, Serialize};
//! use tokio::sync::mpsc;
//!
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Ping { id: i64 }
//! #[derive(Serialize, Deserialize, Schema)]
//! struct Pong { id: i64 }
//! define_service! { PingPong = "Framework/PingPong"; from_client: [Ping], from_service: [Pong] }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Certificates for this example only; a real service reads its own from files.
//! let ca = ThrowawayCa::new()?;
//! let bound = Service::new(PingPong)
//!     .on(|conn, ping: Ping| async move { conn.send(&Pong { id: ping.id }).await?; Ok(()) })
//!     .bind("127.0.0.1:0", ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?)
//!     .await?;
//! let address = format!("localhost:{}", bound.local_addr().ok_or("no port")?.port());
//! tokio::spawn(bound.run());
//!
//! let (answers, mut answered) = mpsc::channel(1);
//! let client = Client::builder(PingPong, &address)
//!     .tls(ClientTls::new(ca.client("alice")?, ca.authorities())?)
//!     .on(move |_, pong: Pong| { let answers = answers.clone(); async move { answers.send(pong.id).await?; Ok(()) } })
//!     .connect()
//!     .await?;
//! client.send(&Ping { id: 7 }).await?;
//! assert_eq!(answered.recv().await, Some(7));
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - **Handlers** of one connection run one after the other, in the order of the messages; connections do not wait for
//!   each other, and reading, keep-alives and writing go on while a handler waits. `Err` or a panic disconnects the
//!   peer with a typed error. `on` gets an owned message, `on_ref` a borrowed one, `on_any` whatever has no handler.
//! - **Rules** say who may connect and who may exchange which message with a service, in either direction: [`Rule`]. What
//!   is forbidden from the start a client learns when it connects: [`Client::verdict`].
//! - **Delivery** by `send` is at most once, in order. When a connection ends both sides are told how many of their
//!   messages may be lost at most: [`Dropped::unconfirmed`]. By [`Client::send_acked`] and [`Conn::send_acked`] each
//!   message is kept until the other side has dealt with it, across reconnects, and gets exactly one [`Outcome`]: wait for
//!   it with its [`Receipt`], or do not. How much is kept, and for how long, is in [`SessionSettings`]; a service can keep
//!   it in a file: `Service::durable`. docs/DELIVERY.md has the guarantee, fault by fault.
//! - **Slow peers** are dealt with by a [`SlowPolicy`]: `send` waits (with a limit), fails, or the peer is disconnected.
//! - **The end** of a service comes by [`BoundService::run_until`], which takes [`shutdown_signal`], for instance: nothing new is
//!   begun, handlers under way finish and answer, clients come back when it is there again. A [`Client::close`] does the same.
//! - **Cancel safety**: every public future of this crate that sends or receives says whether it is; all are.
//! - **Certificates** are renewed and revoked while the service runs, see [`tls`].
//! - **Identity** names a client across reconnects, certificates prove who it is: [`SessionId`] is both.
//!
//! # Features
//!
//! - `aws-lc-rs` (default): cryptography by aws-lc-rs, with the post-quantum key exchange that rustls prefers.
//! - `ring`: cryptography by ring. With both, or none, see [`tls`] for which is taken.
//! - `metrics`: what [`ServiceHandle::counters`] shows also goes to the recorder of the `metrics` facade, as
//!   `diset_accepted_total` and so on, with the labels `service` and `kind`; gauges `diset_live`, `diset_in_handshake`.
//! - `durable`: sessions that outlive the process of a service, in a file: `store`.
//! - `record`: logs of connections, [`Recordings`], on request.
//! - `throwaway`: certificates for demos and tests, [`tls::throwaway`].
#![forbid(unsafe_code)]

mod any;
mod args;
mod buffers;
mod channel;
mod client;
mod clock;
mod driver;
mod handler;
mod link;
#[cfg(feature = "record")]
mod recordings;
mod running;
mod service;
mod session;
mod shutdown;
mod socket;
#[cfg(feature = "durable")]
pub mod store;
pub mod tls;

pub use any::{AnyMessage, NotThis};
pub use args::{ConnectArgs, Value};
pub use client::{
    BadSettings, BadValue, Client, ClientBuilder, ClientEvent, ClientState, Ended, Events, Generic, States,
};
pub use diset_proto;
pub use diset_proto::{
    Cause, Code, FromClient, FromService, Identity, Limits, NewReason, Notice, Outcome, ReconnectPolicy, Resumption,
    RetryAfter, Schema, SendError, ServiceDef, Trid, Verdict, define_service,
};
pub use driver::Dropped;
pub use handler::{Failure, HandlerResult, Refusal};
pub use link::SlowPolicy;
#[cfg(feature = "record")]
pub use recordings::Recordings;
pub use rustls;
pub use service::{
    BindError, BoundService, Broadcast, Conn, Counter, Counters, LeftBehind, Rule, Service, ServiceHandle, SessionId,
    TlsFailure,
};
pub use session::{Receipt, Received, SessionSettings, WaitError, WhenFull};
pub use shutdown::{ShutdownSignal, shutdown_signal};

/// The examples in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeExamples;

/// So do those of the page on certificates.
#[cfg(doctest)]
#[doc = include_str!("../../docs/CERTIFICATES.md")]
struct CertificateExamples;
