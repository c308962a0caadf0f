//! Peers that are silent, rude, late, wrong, or not who they should be, over real sockets: what
//! they are told, what is counted and logged, and that their neighbour never notices. The table
//! of it all is docs/BAD-INPUT.md.

#[path = "../common/mod.rs"]
mod common;
mod support;

mod bad_service;
mod before_tls;
mod connection;
mod floods;
mod handshake;
mod messages;
mod table;
