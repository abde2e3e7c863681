//! Outlive: containers outlive whoever manages them.

pub mod bundle;
pub mod cgroup;
pub mod config;
pub mod logs;
pub mod oci;
pub mod shim;
pub mod sys;
pub mod types;
