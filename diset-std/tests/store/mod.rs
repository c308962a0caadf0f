//! The durable store: what is kept when a process is killed, what a file that is not right says, what a
//! handler can do in one step with its message, and how commits are shared.

mod ends;
mod files;
mod kills;
mod sessions;
