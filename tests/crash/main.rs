//! The supervisor killed at every named point of every call, and what is there when it has been started again: each call
//! is completed or undone, never half, and a bystander notices nothing.
//!
//! `cargo test --features crash-points --test crash`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod create;
mod ground;
mod network;
mod pods;
mod points;
mod random;
mod recover;
mod remove;
mod start;
mod stop;
mod unattended;
