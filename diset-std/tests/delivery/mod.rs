//! Acked delivery over real sockets and TLS, by public API: who may wait for what, which outcome comes
//! of what, what survives a reconnect, a takeover, a restart and another key, and what has bounds.

mod hand;

mod absent;
mod arguments;
mod basics;
mod bounds;
mod dropped;
mod keys;
mod late;
mod lost;
mod many;
mod meanwhile;
mod outcomes;
mod strangers;
mod takeover;
mod transact;
mod waiting;
