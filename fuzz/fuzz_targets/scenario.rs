#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lab::fuzz::scenario(bytes));
