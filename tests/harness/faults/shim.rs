//! A container's shim as a victim: found by its command line, killed, stopped, continued.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{poll, stopped};

/// A shim's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shim(Pid);

impl Shim {
    /// The one that was started with `-id ID`, whatever shim it is; `None` where there is none or more than one.
    pub fn of(id: &str) -> Option<Self> {
        let mut all = Self::all(id);
        all.pop().filter(|_| all.is_empty())
    }

    /// All of those. A shim's program has the same arguments while it starts the shim, or does `delete`.
    pub fn all(id: &str) -> Vec<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(pid) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            if is_shim(&line, id) {
                found.push(Self(Pid::from_raw(pid)));
            }
        }
        found
    }

    /// Its pid.
    pub fn pid(self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }

    /// It has not ended; a zombie has. A killed process whose threads wait in the kernel has not, though its first thread is a
    /// zombie already.
    pub fn is_alive(self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0));
        let mut tasks = tasks.into_iter().flatten().flatten();
        tasks.any(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let rest = stat.rsplit_once(") ");
            rest.is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        })
    }

    /// SIGKILL, without waiting: a shim that waits in the kernel ends later.
    pub fn send_kill(self) {
        kill(self.0, Signal::SIGKILL).unwrap();
    }

    /// SIGKILL, and waits for its end.
    pub fn kill9(self) {
        self.send_kill();
        poll::until("the shim ends", || {
            if self.is_alive() {
                Err(format!("{} lives", self.0))
            } else {
                Ok(())
            }
        });
    }

    /// SIGSTOP, until the answer is dropped.
    pub fn stop(self) -> Stopped {
        stopped::stop(self.0);
        Stopped(self)
    }
}

/// A shim that stands still.
#[derive(Debug)]
pub struct Stopped(Shim);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        kill(self.0.0, Signal::SIGCONT).unwrap_or_default();
    }
}

fn is_shim(line: &[u8], id: &str) -> bool {
    let mut words = line.split(|&byte| byte == 0);
    let program = words
        .next()
        .map(|word| String::from_utf8_lossy(word).into_owned());
    let name = program.as_deref().map(Path::new).and_then(Path::file_name);
    let words: Vec<&[u8]> = words.collect();
    let is_its = words
        .windows(2)
        .any(|pair| *pair == [b"-id", id.as_bytes()]);
    is_its && name.is_some_and(|name| name.to_string_lossy().starts_with("containerd-shim-"))
}
