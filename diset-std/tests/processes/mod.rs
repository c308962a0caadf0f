//! Processes that are killed under load, without a word: a client, and a service that keeps its
//! sessions in a file, with handlers that return and with ones that fail; what was handled is compared with what the guarantee allows. And what sessions
//! without a connection take of a service's memory.

mod child;
mod client;
#[cfg(feature = "durable")]
mod failing;
#[cfg(target_os = "linux")]
mod memory;
mod service;
#[cfg(unix)]
mod signals;
