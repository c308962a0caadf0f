//! Fuzz target: definitions with any bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::definitions(data));
