//! DISET stable connections as a state machine without IO.
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
mod error;
#[doc(hidden)]
pub mod fmt;
mod id;
pub mod limits;
mod message;
mod reconnect;
mod schema;
#[cfg(feature = "sim")]
pub mod sim;
mod status;
mod time;
mod wire;

pub use conn::event::{Event, Progress};
pub use conn::state::Phase;
pub use conn::{ClientConfig, Connection, DecodeError};
pub use definition::{Digest, Direction, Key, Verdict};
pub use error::{Bound, Cause, Misuse, SendError};
pub use id::{Identity, ServiceName, Trid};
pub use limits::Limits;
#[cfg(feature = "alloc")]
pub use message::Kept;
pub use message::{Held, MessageRef};
pub use postcard_schema::{self, Schema};
pub use reconnect::{Reconnect, ReconnectPolicy, Retry};
pub use schema::agree::Agreement;
pub use schema::walk::{Invalid, check_structure, check_wire};
pub use schema::{Catalog, FromClient, FromService, MessageDef, MessageOf, ServiceDef};
pub use status::{Code, Notice, RetryAfter, Text};
pub use time::Instant;
pub use wire::args::{Arg, Args};
pub use wire::deframer::Deframer;
pub use wire::frame::Frame;
pub use wire::packet::Proposal;
pub use wire::preamble::MAJOR;
#[cfg(feature = "alloc")]
pub use wire::storage::GrowBuf;
pub use wire::storage::Storage;

/// For the macros of this crate.
#[doc(hidden)]
pub mod __private {
    pub use postcard_schema::schema::NamedType;
}
