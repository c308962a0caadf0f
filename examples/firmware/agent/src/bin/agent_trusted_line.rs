//! The polled station over a line that nobody else can reach, without TLS.
#![no_std]
#![no_main]

use polled::Trusted;

#[board::entry]
fn main() -> ! {
    polled::main(|_| Ok(Trusted))
}
