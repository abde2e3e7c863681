//! A copy of all mounts: another mount namespace, to which nothing of this one's later changes comes. As every container and
//! every service with private mounts begins.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::poll;

/// A process with a copy of all mounts, for as long as it is there.
#[derive(Debug)]
pub struct MountCopy(Child);

impl MountCopy {
    /// Copies what is mounted now.
    pub fn new() -> Self {
        let holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let command = PathBuf::from(format!("/proc/{}/cmdline", holder.id()));
        poll::until("the mounts are copied", || {
            match fs::read_to_string(&command).unwrap() {
                line if line.starts_with("sleep") => Ok(()),
                line => Err(line),
            }
        });
        Self(holder)
    }

    /// Takes it away; what only it has mounted must not wait for anything.
    pub fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for MountCopy {
    fn drop(&mut self) {
        // Ended already where all went well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
