//! The polled station over mutual TLS: the service is whom an authority has certified.
#![no_std]
#![no_main]

use polled::Secure;
use trust::Authorities;

#[board::entry]
fn main() -> ! {
    polled::main(Secure::<Authorities>::of)
}
