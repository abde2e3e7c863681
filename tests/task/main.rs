//! The shim as containerd sees it: every call of the task service, every event, every action, with a real OCI runtime.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test and its tools fail"
)]

mod actions;
mod bad_input;
mod connection;
mod events;
mod events_away;
mod exec;
mod fifo;
#[path = "../support/fifo_reader.rs"]
mod fifo_reader;
mod footprint;
mod group;
mod io;
mod journal;
mod kill;
mod leaks;
mod life;
mod limits;
mod logs;
mod oblivion;
mod options;
mod outage;
mod pause;
mod pending;
#[path = "../support/program.rs"]
mod program;
mod resources;
#[path = "../support/rootfs.rs"]
mod rootfs;
mod rootfs_mounts;
mod rpc;
mod selfcare;
#[path = "../support/shim.rs"]
mod shim;
mod signals;
mod spec;
mod starved;
#[path = "../support/stopped.rs"]
mod stopped;
mod volume;
