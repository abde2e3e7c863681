//! Processes and how to tell one from a later one that got the same pid.

use std::fmt;

/// A process id: positive, as the kernel gives it in the shim's pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(u32);

impl Pid {
    /// `raw` as a pid, or `None` where it is zero or above what the kernel's `pid_t` holds.
    #[must_use]
    pub const fn new(raw: u32) -> Option<Self> {
        if raw == 0 || raw > i32::MAX.unsigned_abs() {
            None
        } else {
            Some(Self(raw))
        }
    }

    /// `raw` as a pid, from a system call's `pid_t`; `None` where it is not positive.
    #[must_use]
    pub const fn from_raw(raw: i32) -> Option<Self> {
        if raw <= 0 {
            None
        } else {
            Some(Self(raw.unsigned_abs()))
        }
    }

    /// The number, as protobuf messages carry it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as the `pid_t` of system calls.
    #[must_use]
    pub const fn as_raw(self) -> i32 {
        self.0.cast_signed()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process for good: the pid, and what no later process with the same pid shares with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: Pid,
    /// When the process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
    pub start_ticks: u64,
    /// The boot it belongs to: `/proc/sys/kernel/random/boot_id` as a number.
    pub boot_id: u128,
}
