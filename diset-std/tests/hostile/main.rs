//! Peers that are silent, rude, late, wrong, or not who they should be, over real sockets: what
//! they are told, what is counted and logged, and that their neighbour never notices. The table
//! of it all is docs/BAD-INPUT.md. A program of its own: what neighbours notice is a matter of time, so
//! no other tests may run beside these.

#[allow(dead_code, reason = "a part of it is for the other tests")]
#[path = "../common/mod.rs"]
mod common;
mod support;

mod bad_service;
mod before_tls;
mod connection;
mod floods;
mod handshake;
mod messages;
mod probe;
mod table;
