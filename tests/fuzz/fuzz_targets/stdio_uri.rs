//! `properties::stdio_uri` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::stdio_uri(bytes));
