//! What a task can be seen to be.

use super::ExitRecord;

/// The state of a process as `State` reports it (containerd `api/types/task/task.proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// Set up, its program not started yet.
    Created,
    /// Running.
    Running,
    /// On the way to paused.
    Pausing,
    /// Frozen.
    Paused,
    /// Ended, not deleted yet.
    Stopped(ExitRecord),
}
