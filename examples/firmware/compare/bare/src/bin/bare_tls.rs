//! The station without diset over mutual TLS: the service is whom an authority has certified.
#![no_std]
#![no_main]

use bare::Secure;
use trust::Authorities;

#[board::entry]
fn main() -> ! {
    bare::main(Secure::<Authorities>::of)
}
