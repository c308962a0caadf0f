//! A proxy between a real service and real clients, over TLS, that cuts, closes, stalls and delays
//! at bytes drawn from a seed, while acked messages go both ways; then what was handled is compared
//! with what was sent. And what acked delivery costs in bytes.
//!
//! `FAULT_SEED` draws the same faults again; `FAULT_COUNT` sets how many, 1,000 without it.

mod bytes;
mod guarantee;
mod proxy;
mod tally;
