//! Outlive: containers outlive whoever manages them.
//!
//! Two programs. `containerd-shim-outlive-v2` is a runtime-v2 shim: one beside each container owns the container's life,
//! its exit and its output until its manager deletes it. `outlive serve` is such a manager, a thin one: it speaks CRI,
//! starts shims, and rebuilds what it knows from disk and from the shims that live. containerd is another manager.
//!
//! # Layers
//!
//! Imports point down only, and the layers in one row never import each other (`tests/layering.rs` checks it).
//!
//! ```text
//! bin/                                           arguments in, reply out
//! shim/        supervisor/        cli/           decide: task actors; pods and recovery; the command line
//! oci/  cgroup/  logs/  bundle/  config/  images/    mechanisms: one concern each
//! sys/                                           one kernel object a file; the only unsafe code
//! types/       api/                              vocabulary: no I/O, no async, no protobuf; CRI as generated
//! ```
//!
//! The shim runs beside every container and is counted in kilobytes: nothing of `supervisor`, `cli`, `images` or `api` is
//! linked into it.
//!
//! # The two flows of the shim
//!
//! ```text
//! a command goes down:
//!   ttrpc --> shim/methods --> shim/service --> shim/task (actor) --> shim/lifecycle::step
//!                                                    |                       | effect
//!                                                    `--> oci/, logs/, sys/ <'  --> kernel
//!
//! a fact goes up:
//!   kernel --> shim/reaper, cgroup/oom --> shim/task (actor) --> shim/exit (on disk)
//!                                                    `--> lifecycle::step --> who waits --> shim/publisher --> manager
//! ```
//!
//! They meet in the task's actor alone, so no lock is held over a call of the OCI runtime. What is on disk is announced
//! after it is there, so a crash at any arrow leaves what the rest can be derived from.
//!
//! # The two flows of the supervisor
//!
//! ```text
//! a command:  CRI --> supervisor/cri --> supervisor/pod --> shim_client --> shim
//!                                             `--> store: disk, then memory --> events
//! a fact:     shim --> exits, intake --> store: disk, then memory --> events
//! a start:    disk --> recovery::scan --> load --> ask the shims --> classify --> reconcile --> store
//! ```
//!
//! # Where to go
//!
//! - A call behaves wrongly: [`shim::service`] (what it means), [`shim::lifecycle`] (whether it may), [`shim::task`].
//! - An exit or event is wrong: [`shim::reaper`], [`shim::task::facts`], [`shim::publisher`].
//! - Output is wrong: [`shim::stdio`] (what is connected to what), [`logs`] (how bytes move).
//! - The OCI runtime is called wrongly: [`oci::command`], [`oci::driver`], [`config::shim`].
//! - A container is not what it should be after a restart: [`supervisor::recovery`], its table in `classify`.
//! - A CRI call behaves wrongly: [`supervisor::cri`] (what it means), [`supervisor::pod`] (what it does).
//! - A container sees or may do the wrong things: [`supervisor::spec`]; it has no network: [`supervisor::network`].
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
