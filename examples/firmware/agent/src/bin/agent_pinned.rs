//! The polled station over mutual TLS: the service is who has a pinned key.
#![no_std]
#![no_main]

use polled::Secure;
use trust::Pins;

#[board::entry]
fn main() -> ! {
    polled::main(Secure::<Pins>::of)
}
