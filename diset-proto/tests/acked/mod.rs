//! Sessions and acked messages, by hand: what is told to whom and when, who goes on with which
//! session, what is freed, repeated, reported. The exploration shows that all this together
//! loses nothing; here each rule is shown by itself.

mod delivery;
mod kept;
mod outcomes;
mod resume;
mod support;
