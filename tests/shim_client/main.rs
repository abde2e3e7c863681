//! Shims as the supervisor calls them: ours and containerd's own, with a real OCI runtime.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test and its tools fail"
)]

mod events;
mod exec;
mod faults;
mod lab;
mod life;
mod logs;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/rootfs.rs"]
mod rootfs;
#[path = "../support/stopped.rs"]
mod stopped;
