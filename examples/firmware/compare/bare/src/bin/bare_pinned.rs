//! The station without diset over mutual TLS: the service is who has a pinned key.
#![no_std]
#![no_main]

use bare::Secure;
use trust::Pins;

#[board::entry]
fn main() -> ! {
    bare::main(Secure::<Pins>::of)
}
