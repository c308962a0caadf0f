//! DISET stable connections on tokio and rustls: [`Service`] and [`Client`].
#![forbid(unsafe_code)]

mod args;
mod buffers;
mod channel;
mod client;
mod clock;
mod driver;
mod handler;
mod link;
mod service;
mod socket;
pub mod tls;

pub use args::{ConnectArgs, Value};
pub use client::{BadSettings, Client, ClientBuilder, ClientEvent, ClientState, Ended, Events};
pub use diset_proto;
pub use diset_proto::{
    Cause, Code, FromClient, FromService, Identity, Limits, ReconnectPolicy, Schema, SendError, ServiceDef, Trid,
    Verdict, define_service,
};
pub use driver::Dropped;
pub use handler::{AnyMessage, Failure, HandlerResult, NotThis, Refusal};
pub use link::SlowPolicy;
pub use rustls;
pub use service::{BindError, BoundService, Broadcast, Conn, Service, ServiceHandle, SessionId};
