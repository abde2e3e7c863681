//! `properties::exit_journal` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::exit_journal(bytes));
