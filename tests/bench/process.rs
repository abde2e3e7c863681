//! Processes: what the kernel says of their memory and time (proc(5)), and when they have ended (pidfd_open(2)).

use std::fs;
use std::time::Duration;

use outlive::sys::pidfd::Pidfd;
use outlive::sys::proc;
use outlive::types::Pid;

use crate::rpc::DEADLINE;

/// One look at a process. Memory in kB.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub private_dirty: f64,
    pub pss: f64,
    pub rss: f64,
    pub threads: f64,
    pub files: f64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{pid}/{what}")).unwrap();
            crate::measure::as_float(entries.count())
        };
        Self {
            private_dirty: number(&rollup, "Private_Dirty:"),
            pss: number(&rollup, "Pss:"),
            rss: number(&rollup, "Rss:"),
            threads: count("task"),
            files: count("fd"),
        }
    }
}

/// The number after `field` in a file of lines like `Rss:  123 kB`.
fn number(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let word = line.and_then(|rest| rest.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in {text}"))
}

/// User and system time of a process, of its dead threads too (clock_getcpuclockid(3)).
pub fn cpu(pid: u32) -> Duration {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    let clock = nix::time::clock_getcpuclockid(pid).unwrap();
    nix::time::clock_gettime(clock).unwrap().into()
}

/// A process to wait for; `None` where it has ended already.
pub fn held(pid: u32) -> Option<Pidfd> {
    let identity = proc::running(Pid::new(pid).unwrap()).ok()?;
    Pidfd::open(identity).unwrap()
}

/// Waits until a process has ended.
pub fn gone(pid: u32) {
    if let Some(held) = held(pid) {
        assert!(held.wait(DEADLINE).unwrap(), "process {pid} does not end");
    }
}

/// Every process of the machine but this one.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

/// SIGKILL. That it is gone is as it should be.
pub fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
}
