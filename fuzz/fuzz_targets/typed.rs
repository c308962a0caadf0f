//! Fuzz target: messages of every kind, held against the check without a type.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::typed(data));
