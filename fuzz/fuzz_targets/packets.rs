//! Fuzz target: control frames with any body, to either role in every phase.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::packets(data));
