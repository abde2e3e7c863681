//! Killing every process of a cgroup, for containers whose shim and OCI runtime cannot be asked to.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::location::{clean, hierarchies};
use super::oom::write_existing;
use super::v1::V1;
use super::v2::V2;
use super::{Cgroup, CgroupError, Mode, Roots};
use crate::sys::pidfd::Pidfd;
use crate::types::Signal;

/// How long the kernel has to take killed processes out of the group before it is looked at again.
const PAUSE: Duration = Duration::from_millis(10);

impl Cgroup {
    /// The cgroup at `path` below the root of each hierarchy, as an OCI specification names it (`linux.cgroupsPath`) for
    /// a runtime that makes cgroups itself. It need not be there.
    ///
    /// # Errors
    /// [`CgroupError::BadPath`] for the root, or a path that climbs.
    pub fn at(roots: &Roots, path: &str) -> Result<Self, CgroupError> {
        let below = clean(Path::new(path))?;
        if below.as_os_str().is_empty() {
            return Err(CgroupError::BadPath { path: path.into() });
        }
        match roots.mode() {
            Mode::V2 => Ok(Self::V2(V2::new(roots.cgroup.clone(), &below))),
            Mode::V1 => {
                let mut dirs = Vec::new();
                for hierarchy in hierarchies(roots)? {
                    let dir = hierarchy.mount_point.join(&below);
                    if dir.is_dir() {
                        let names = hierarchy.controllers.into_iter();
                        dirs.extend(names.map(|name| (name, dir.clone())));
                    }
                }
                Ok(Self::V1(V1::new(dirs, roots.proc.clone())))
            }
        }
    }

    /// Kills every process in it and in the groups below it, again until none is left, for `within` at most; answers
    /// whether it is empty. Frozen processes die too. Blocks.
    ///
    /// # Errors
    /// What reading the group or writing to it answered; a group that is gone is empty.
    pub fn kill(&self, within: Duration) -> Result<bool, CgroupError> {
        let deadline = Instant::now() + within;
        loop {
            if self.is_empty()? {
                return Ok(true);
            }
            match self {
                // Since Linux 5.14; it reaches processes that are being forked (admin-guide/cgroup-v2.rst).
                Self::V2(v2) if write_existing(&v2.dir().join("cgroup.kill"), "1").is_ok() => {}
                Self::V2(_) => self.signal_each()?,
                Self::V1(v1) => {
                    let state = v1.dir("freezer").map(|dir| dir.join("freezer.state"));
                    let set = |value| {
                        if let Some(state) = &state {
                            // Without the freezer a process may fork while the others are killed: the next round has it.
                            drop(write_existing(state, value));
                        }
                    };
                    set("FROZEN");
                    let signalled = self.signal_each();
                    // A frozen process of version 1 dies of a signal when it is thawed (cgroup-v1/freezer-subsystem.rst).
                    set("THAWED");
                    signalled?;
                }
            }
            if Instant::now() >= deadline {
                return self.is_empty();
            }
            thread::sleep(PAUSE);
        }
    }

    /// Sends SIGKILL to each process. A pid that became another's between the reading and the opening is not in the
    /// group when that is read again.
    fn signal_each(&self) -> Result<(), CgroupError> {
        let open = |pid| Some((pid, Pidfd::of_any(pid).ok()??));
        let listed = || match self.pids() {
            Err(CgroupError::Gone) => Ok(Vec::new()),
            other => other,
        };
        let held: Vec<_> = listed()?.into_iter().filter_map(open).collect();
        let still = listed()?;
        for (pid, process) in held {
            if still.contains(&pid) {
                // It may have ended meanwhile; what is left is seen by the caller.
                drop(process.signal(Signal::KILL));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::cgroup::join;
    use crate::types::Pid;

    /// The hierarchies of this machine: the version 1 ones, and the version 2 one that a hybrid machine has beside them.
    fn all_roots() -> Vec<Roots> {
        let unified = Roots {
            cgroup: "/sys/fs/cgroup/unified".into(),
            ..Roots::default()
        };
        let there = [Roots::default(), unified].into_iter();
        there.filter(|roots| roots.cgroup.is_dir()).collect()
    }

    /// A cgroup with a shell that forks all the time, both gone when this is dropped.
    struct Busy {
        roots: Roots,
        path: String,
        shell: std::process::Child,
    }

    impl Busy {
        fn start(roots: Roots) -> Self {
            let path = format!("/outlive-test-kill-{}", std::process::id());
            let script = "read x; while :; do sleep 100 & sleep 0.01; done";
            let mut command = Command::new("/bin/sh");
            let command = command.args(["-c", script]);
            let mut shell = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
            let pid = Pid::new(shell.id()).unwrap();
            join(&roots, &path, pid).unwrap();
            drop(shell.stdin.take());
            Self { roots, path, shell }
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            drop(self.shell.kill());
            drop(self.shell.wait());
            match Cgroup::at(&self.roots, &self.path).unwrap() {
                Cgroup::V1(v1) => v1.dirs().for_each(|dir| drop(fs::remove_dir(dir))),
                Cgroup::V2(v2) => fs::remove_dir(v2.dir()).unwrap(),
            }
        }
    }

    #[test]
    fn a_group_whose_processes_fork_all_the_time_is_emptied_also_when_it_is_frozen() {
        for roots in all_roots() {
            let busy = Busy::start(roots);
            let cgroup = Cgroup::at(&busy.roots, &busy.path).unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while cgroup.pids().unwrap().len() < 5 {
                assert!(Instant::now() < deadline);
                thread::sleep(PAUSE);
            }
            let frozen = match &cgroup {
                Cgroup::V1(v1) => {
                    write_existing(&v1.dir("freezer").unwrap().join("freezer.state"), "FROZEN")
                }
                Cgroup::V2(v2) => write_existing(&v2.dir().join("cgroup.freeze"), "1"),
            };
            frozen.unwrap();
            assert!(cgroup.kill(Duration::from_secs(60)).unwrap());
            assert_eq!(cgroup.pids().unwrap(), []);
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_empty_and_the_root_is_no_group() {
        let roots = Roots::default();
        let none = Cgroup::at(&roots, "/outlive-test/none").unwrap();
        assert!(none.kill(Duration::ZERO).unwrap());
        for path in ["/", "", "/a/../.."] {
            Cgroup::at(&roots, path).unwrap_err();
        }
    }
}
