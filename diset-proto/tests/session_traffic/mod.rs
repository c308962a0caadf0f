//! Sessions, one side at a time: what a peer must not send, and what hostile peers and careless users can do. The peer
//! is written by hand, byte by byte.

mod credit;
mod directions;
mod hostile;
mod malformed;
mod outcomes;
mod records;
mod rows;
mod support;
