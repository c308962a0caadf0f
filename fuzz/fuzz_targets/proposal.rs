//! Fuzz target: a proposal with any body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::proposal(data));
