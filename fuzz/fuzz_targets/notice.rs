//! Fuzz target: refusals, errors, go-aways and credit with any body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::notice(data));
