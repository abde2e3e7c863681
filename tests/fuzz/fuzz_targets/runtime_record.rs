//! `properties::runtime_record` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::runtime_record(bytes));
