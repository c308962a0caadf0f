//! Services and clients over real sockets: one program, as each would be linked with all of TLS. A test that is started
//! as `cargo test --test sockets flow::` is one of `flow.rs`. Those that must have the machine, or the process, for
//! themselves are in `hostile`.

mod admission;
mod anywhere;
mod batches;
mod certificates;
mod chaos;
mod common;
mod delivery;
mod dialling;
mod drain;
mod durable;
mod faults;
mod flow;
mod generic;
mod handlers;
mod hanging;
mod log;
mod metrics;
mod pingpong;
mod plain;
mod processes;
mod recheck;
mod recordings;
mod refusal;
mod reload;
mod revocation;
mod rights;
mod rules;
mod shutdown;
mod small_records;
mod store;
