//! The shim as containerd sees it: every call of the task service, every event, every action, with a real OCI runtime.

#![expect(dead_code, reason = "x")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test and its tools fail")]

mod events;
mod fifo;
mod leaks;
#[path = "../support/rootfs.rs"]
mod rootfs;
mod rpc;
#[path = "../support/shim.rs"]
mod shim;

mod exec;
mod io;
mod kill;
mod life;
mod pause;
