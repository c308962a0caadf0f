//! Each file beside this one is a program that shows one thing:
//!
//! - `pingpong`: a service and a client over mutual TLS in one program, and what happens between them.
//! - `make_certificates`: files with throw-away certificates for the next two.
//! - `ping_service`, `ping_client`: the same in two terminals, or on two machines.
//! - `discover`: lists the messages of a service that it was not built for, sends one, prints what comes.
//! - `custom_io`: the engine driven by hand, with threads over a socket pair and over a noisy serial line. It has
//!   messages of its own.
//!
//! Here are the messages the others speak.

use diset_std::{Schema, define_service};
use serde::{Deserialize, Serialize};

/// The client asks …
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Ping {
    /// Comes back in the answer.
    pub id: i64,
}

/// … and the service answers.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Pong {
    /// That of the Ping.
    pub id: i64,
}

/// Nobody asked for it: the service says it when it likes.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct News {
    /// What is new.
    pub text: String,
}

/// Defined, but the services here have no handler for it.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Shout {
    /// What is shouted.
    pub text: String,
}

define_service! {
    /// Answers each [`Ping`] with a [`Pong`], and has [`News`] at times.
    pub PingPong = "Framework/PingPong";
    from_client: [Ping, Shout],
    from_service: [Pong, News],
}
