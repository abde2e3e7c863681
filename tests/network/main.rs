//! Pods on the real kernel with the real CNI plugins: namespaces without a process, the init of a shared pid namespace,
//! the network, and the way back from every step.
//!
//! Each test has a network namespace of its own for a host: its bridges, addresses and iptables rules are nobody else's,
//! and end with it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test and its tools fail"
)]

#[cfg(feature = "crash-points")]
mod crashes;
mod given_up;
mod init;
mod life;
mod place;
mod plugins;
mod restart;
mod served;
#[path = "../support/mod.rs"]
mod support;
