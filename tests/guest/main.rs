//! What only the guest can show: cgroup v2, out of memory, checkpoint and restore, OOM scores, core scheduling.
//!
//! `make test-guest` boots it (tests/guest/run.sh) and runs this program there; `cargo test` leaves it out
//! (`test = false` in Cargo.toml), so that nothing here can pass on a machine without the means. The shim is driven as
//! in tests/task, whose harness this is; [`daemon`] has a real containerd above it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is how a test and its tools fail"
)]
#![expect(dead_code, reason = "tests/task uses all of the harness")]

mod checkpoint;
mod daemon;
#[path = "../task/events.rs"]
mod events;
#[path = "../task/fifo.rs"]
mod fifo;
#[path = "../task/leaks.rs"]
mod leaks;
mod memory;
#[path = "../task/rpc.rs"]
mod rpc;
#[path = "../support/shim.rs"]
mod shim;
#[path = "../task/spec.rs"]
mod spec;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod unified;

// Under the names that the harness of tests/task has for them.
use support::{program, rootfs};

/// The guest says who it is; anywhere else the tests would judge the wrong machine.
fn in_guest() {
    assert_eq!(
        std::env::var("OUTLIVE_GUEST").as_deref(),
        Ok("1"),
        "run by `make test-guest` only"
    );
}
