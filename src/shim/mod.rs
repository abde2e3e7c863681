//! The shim: the task service, and everything that decides.

pub mod reaper;
pub mod stdio;
