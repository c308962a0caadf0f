//! Fuzz target: logs of connections, whatever they say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::replay(data));
