//! That the harness's faults are what they say: each mechanism of `tests/harness/faults` alone, and what it does to one
//! container, its supervisor and its neighbours.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../harness/faults/mod.rs"]
mod faults;
#[path = "../support/mod.rs"]
mod support;

mod disks;
mod ends;
mod logs;
mod served;
