//! `outlive serve` over its socket, with real shims and real runc. Each test has a supervisor of its own, and fails if
//! anything of it is left at the end.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod call_log;
mod clients;
mod events;
mod features;
mod foreign;
mod images;
mod life;
mod limits;
mod load;
mod logs;
mod modes;
mod newer_client;
mod pods;
mod restart;
mod silent;
mod surface;
mod trouble;
mod volumes;
