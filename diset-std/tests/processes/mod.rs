//! Processes that are killed under load, without a word: a client, and a service that keeps its
//! sessions in a file; what was handled is compared with what the guarantee allows. And what sessions
//! without a connection take of a service's memory.

mod child;
mod client;
#[cfg(target_os = "linux")]
mod memory;
mod service;
#[cfg(unix)]
mod signals;
