//! Fuzz target: a client and a service with a session, whose connections and processes end at any time.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diset_fuzz::sessions(data));
