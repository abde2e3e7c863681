//! `properties::cri_log` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::cri_log(bytes));
