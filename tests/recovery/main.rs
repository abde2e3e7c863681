//! Recovery over real shims, real runc and a real supervisor that was killed: every cell of the decision table
//! ([`table`]), and the rules around it ([`around`], [`damage`]).
//!
//! Needs `--features crash-points`. Each test has a supervisor of its own, and fails if anything of it is left.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod around;
mod cell;
mod crashes;
mod damage;
mod scene;
mod table;
mod watch;
mod world;
