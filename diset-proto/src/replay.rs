//! Replays a log of a connection ([`crate::recording`]) in the engine, and compares bit for bit
//! what it transmits (feature `record`).
//!
//! A log is data from outside: one that is damaged, or made up, gives an error. Nothing is
//! allocated by a number in it.

pub use crate::conn::replay::{Replay, ReplayError, Replayed, Step};
