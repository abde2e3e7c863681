//! The shim: the task service, and everything that decides.

pub mod lifecycle;
pub mod reaper;
pub mod stdio;
