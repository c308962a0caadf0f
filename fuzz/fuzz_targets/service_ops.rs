//! Fuzz target: whatever happens to a service.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::service_ops(data));
