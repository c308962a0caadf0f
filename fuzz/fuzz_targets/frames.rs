//! Fuzz target: any split of a byte stream gives the same frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::frames(data));
