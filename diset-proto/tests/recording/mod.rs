//! A log of a connection replays bit for bit, and one that was changed is found out.

mod damaged;
mod format;
mod pairs;
mod sessions;
mod support;
