//! `properties::image_archive` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::image_archive(bytes));
