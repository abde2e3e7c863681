//! The module against trees of files as the kernel prints them, and against this machine's own cgroups.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{OomWatch, Roots};
use crate::sys::file::scratch::Scratch;
use crate::types::Pid;

mod machine;
mod v1;
mod v2;

const PID: u32 = 4711;

fn roots(scratch: &Scratch) -> Roots {
    Roots {
        cgroup: scratch.path().join("cgroup"),
        proc: scratch.path().join("proc"),
    }
}

fn pid(raw: u32) -> Pid {
    Pid::new(raw).unwrap()
}

/// A process in `cgroup` that lives (`flags` of 0) or dies (`flags` of 4).
fn write_process(scratch: &Scratch, cgroup: &str, flags: u32) {
    scratch.write(&format!("proc/{PID}/cgroup"), cgroup);
    let stat = format!("{PID} (a) S 1 1 1 0 -1 {flags} 0 0\n");
    scratch.write(&format!("proc/{PID}/stat"), stat);
}

fn is_readable(watch: &OomWatch) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}
