//! `properties::pod_config` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::pod_config(bytes));
