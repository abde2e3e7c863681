//! Outlive: containers outlive whoever manages them.
//!
//! One program so far: `containerd-shim-outlive-v2`, a runtime-v2 shim. containerd starts one beside each container (or
//! pod), and it owns the container's life, its exit and its output until containerd deletes it.
//!
//! # Layers
//!
//! Imports point down only, and the layers in one row never import each other (`tests/layering.rs` checks it).
//!
//! ```text
//! bin/                                           arguments in, reply out
//! shim/                                          decides: actions, server, task actors
//! oci/    cgroup/    logs/    bundle/    config/ mechanisms: one concern each
//! sys/                                           one kernel object a file; the only unsafe code
//! types/                                         vocabulary: no I/O, no async, no protobuf
//! ```
//!
//! # The two flows
//!
//! ```text
//! a command goes down:
//!   ttrpc --> shim/methods --> shim/service --> shim/task (actor) --> shim/lifecycle::step
//!                                                    |                       | effect
//!                                                    `--> oci/, logs/, sys/ <'  --> kernel
//!
//! a fact goes up:
//!   kernel --> shim/reaper, cgroup/oom --> shim/task (actor) --> shim/exit (on disk)
//!                                                    `--> lifecycle::step --> who waits --> shim/publisher --> containerd
//! ```
//!
//! They meet in the task's actor alone, so no lock is held over a call of the OCI runtime. What is on disk is announced
//! after it is there, so a crash at any arrow leaves what the rest can be derived from.
//!
//! # Where to go
//!
//! - A call behaves wrongly: [`shim::service`] (what it means), [`shim::lifecycle`] (whether it may), [`shim::task`].
//! - An exit or event is wrong: [`shim::reaper`], [`shim::task::facts`], [`shim::publisher`].
//! - Output is wrong: [`shim::stdio`] (what is connected to what), [`logs`] (how bytes move).
//! - The OCI runtime is called wrongly: [`oci::command`], [`oci::driver`], [`config::shim`].
//! - containerd does not take the shim: [`shim::start`], [`shim::bootstrap`], [`shim::delete`], [`shim::info`].

pub mod api;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod images;
pub mod logs;
pub mod oci;
pub mod shim;
pub mod supervisor;
pub mod sys;
pub mod types;
