//! What is spoken on the supervisor's socket: the Kubernetes CRI v1 and the few calls that CRI lacks.
//!
//! The supervisor serves it and the command line calls it; the two share nothing else.

pub mod annotations;
pub mod control;

/// The Kubernetes CRI v1 (`runtime.v1`), as generated.
pub use k8s_cri::v1 as cri;
