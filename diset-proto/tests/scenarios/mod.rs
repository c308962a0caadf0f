//! Two engines against each other on a virtual clock, by theme. Each scenario is a function of a change to its setup,
//! so that `chunks` can run all of them again with the bytes cut into pieces.

mod adopt;
mod chunks;
mod connect;
mod drain;
mod endings;
mod kinds;
mod liveness;
mod malformed;
mod messages;
mod padded;
mod shown;
mod support;
