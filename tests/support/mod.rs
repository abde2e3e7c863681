//! What the integration tests share: private containerd nodes, root filesystems, polls and the leak check.
#![allow(dead_code, reason = "each test crate uses its own part of this module")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

pub mod containerd_api;
pub mod ctr;
pub mod image;
pub mod leaks;
pub mod node;
pub mod places;
pub mod poll;
pub mod program;
pub mod rootfs;
pub mod stopped;
pub mod supervisor;
pub mod supervisor_calls;
pub mod supervisor_leaks;
pub mod task_call;
pub mod task_events;
pub mod tasks;
pub mod under_test;
