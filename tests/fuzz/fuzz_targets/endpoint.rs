//! `properties::endpoint` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::endpoint(bytes));
