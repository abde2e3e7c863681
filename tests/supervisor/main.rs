//! `outlive serve` over its socket, with real shims and real runc. Each test has a supervisor of its own, and fails if
//! anything of it is left at the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod events;
mod foreign;
mod life;
mod load;
mod logs;
mod pods;
mod restart;
mod surface;
mod trouble;
mod volumes;
