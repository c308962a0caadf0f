//! The station without diset and without TLS.
#![no_std]
#![no_main]

use bare::Trusted;

#[board::entry]
fn main() -> ! {
    bare::main(|_| Ok(Trusted))
}
