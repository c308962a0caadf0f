//! The wrapper for serial lines (PROTOCOL, part W): its bytes, what damage does to it, and engines over a noisy line.

mod damage;
mod golden;
mod noisy;
mod opening;
mod support;
