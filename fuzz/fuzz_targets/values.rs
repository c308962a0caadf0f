//! Fuzz target: a type, and messages of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::values(data));
