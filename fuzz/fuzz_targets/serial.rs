//! Fuzz target: two ends of a serial line that loses and invents bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::serial(data));
