//! What the supervisor costs, and how fast it is: memory, restarts, calls. `make footprint` prints the figures.
//!
//! They are those of the release binaries where `OUTLIVE_BIN` or `OUTLIVE_SHIM` name them, as `make test` does; only these
//! are held to the limits. `OUTLIVE_CONTAINERS` is how many containers there are, if not a hundred.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod files;
mod fleet;
mod memory;
mod restarts;
mod shim_binary;
mod usage;
