//! Fuzz target: any bytes as the descriptions of a service.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::catalog(data));
