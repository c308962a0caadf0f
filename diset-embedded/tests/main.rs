//! The clients for chips, on this machine: one program. A test that is started as `cargo test --test chips tls::` is one
//! of `tls`.

mod agents;
mod clients;
mod impostor;
mod secure;
mod service;
mod tls;
