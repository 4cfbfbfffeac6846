#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lab::fuzz::json_lines(bytes));
