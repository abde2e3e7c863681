//! `properties::pod_status` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::pod_status(bytes));
