//! The benchmark's report, over figures made by hand: what is computed, judged, drawn and escaped. Needs no root and measures
//! nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../measure.rs"]
mod measure;
#[path = "../report/mod.rs"]
mod report;

mod drawings;
mod example;
mod files;
mod numbers;
mod targets;
mod terminal;
