//! Fuzz target: a client and a service, with faults between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::halves(data));
