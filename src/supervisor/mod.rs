//! `outlive serve`: the thin supervisor. It speaks CRI v1, starts shims, and after any restart rebuilds what it knows
//! from disk and from the shims that live.

pub mod cleanup;
pub mod context;
pub mod crash;
pub mod cri;
pub mod daemon;
pub mod error;
pub mod events;
pub mod exits;
pub mod features;
pub mod intake;
pub mod logger;
pub mod metrics;
pub mod network;
pub mod notify;
pub mod pod;
pub mod program;
pub mod recovery;
pub mod remove_dir;
pub mod shim_client;
pub mod spec;
pub mod store;
