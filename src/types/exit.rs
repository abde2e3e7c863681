//! How a process ended.

use std::fmt;

use super::{Pid, Signal, Timestamp};

/// An exit status as containerd carries it: the exit code, or 128 + the signal that killed the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// What a process that could not be started is given, as shells and containerd's CRI plugin do.
    pub const START_ERROR: Self = Self(128);
    /// Killed by SIGKILL.
    pub const KILLED: Self = Self(137);
    /// An exit that nobody has seen.
    pub const UNKNOWN: Self = Self(255);

    /// A process that called `exit(code)`.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// A process that `signal` killed.
    #[must_use]
    pub const fn from_signal(signal: Signal) -> Self {
        Self(128 + signal.get())
    }

    /// The number: 0..=255.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The end of one process, written once and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitRecord {
    /// The process id it had.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
    /// When the shim took notice, which is at once.
    pub exited_at: Timestamp,
}
