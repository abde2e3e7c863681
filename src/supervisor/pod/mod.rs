//! Pods and their containers: the only writer of intent.

pub mod check;
pub mod container;
pub mod namespaces;
pub mod sandbox;
pub mod sandbox_init;
