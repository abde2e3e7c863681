//! `properties::pod_network` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::pod_network(bytes));
