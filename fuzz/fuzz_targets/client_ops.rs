//! Fuzz target: whatever happens to a client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::client_ops(data));
