//! `properties::image_layer` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::image_layer(bytes));
