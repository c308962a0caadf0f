//! Fuzz target: what keeps messages in memory, against a list.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::store(data));
