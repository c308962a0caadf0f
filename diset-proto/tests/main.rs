//! The protocol, without sockets: one program. A test that is started as `cargo test --test protocol scenarios::` is one
//! of `scenarios`. The exploration is a program of its own, as it is run with another profile.

mod acked;
mod bytes;
mod golden;
mod halves;
mod learned;
mod memory;
mod recording;
mod scenarios;
mod seeds;
mod serial;
mod session_traffic;
mod sessions;
mod simulation;
mod sizes;
mod stores;
mod validity;
