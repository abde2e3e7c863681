//! `properties::shim_call` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::shim_call(bytes));
