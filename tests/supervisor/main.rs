//! `outlive serve` over its socket, with real shims and real runc. Each test has a supervisor of its own, and fails if
//! anything of it is left at the end.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod events;
mod foreign;
mod images;
mod life;
mod load;
mod logs;
mod pods;
mod restart;
mod surface;
mod trouble;
mod volumes;
