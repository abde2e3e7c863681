//! `properties::log_reader` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::log_reader(bytes));
