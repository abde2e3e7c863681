//! The little that the shim writes: controllers for its container's cgroup, its own place (`shim_cgroup`), and the end of
//! a container where the OCI runtime cannot be run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::location::{clean, hierarchies};
use super::oom::write_existing;
use super::{Cgroup, CgroupError, Mode, Roots};
use crate::sys::wait;
use crate::types::{Pid, Signal};

/// Enables every controller for the container's cgroup: in `cgroup.subtree_control` of each group from the root down
/// to its parent, as containerd's shim does after `create` (`ToggleControllers` in containerd/cgroups), so that
/// statistics are there for controllers which the OCI runtime set no limit for. Nothing to do under version 1.
///
/// Each controller is written alone, since the kernel refuses a whole write for one that it cannot give; what it
/// refused is returned, and no reason to fail: a group with processes in it cannot delegate, for one.
#[must_use]
pub fn enable_controllers(cgroup: &Cgroup) -> Vec<CgroupError> {
    let Cgroup::V2(v2) = cgroup else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    let Ok(below) = v2.dir().strip_prefix(v2.root()) else {
        return errors;
    };
    let mut group = v2.root().to_path_buf();
    for component in below.components() {
        enable_in(&group, &mut errors);
        group.push(component);
    }
    errors
}

/// Enables in `group` what it has and does not hand down yet.
fn enable_in(group: &Path, errors: &mut Vec<CgroupError>) {
    let mut words = |name: &str| {
        let path = group.join(name);
        fs::read_to_string(&path).unwrap_or_else(|source| {
            errors.push(CgroupError::Read { path, source });
            String::new()
        })
    };
    let offered = words("cgroup.controllers");
    let enabled = words("cgroup.subtree_control");
    for controller in offered.split_ascii_whitespace() {
        if enabled
            .split_ascii_whitespace()
            .any(|name| name == controller)
        {
            continue;
        }
        errors.extend(
            write(
                group.join("cgroup.subtree_control"),
                format!("+{controller}"),
            )
            .err(),
        );
    }
}

/// Moves `pid` into the cgroup `path` of every hierarchy, making it where it is not there: the option `shim_cgroup`.
/// Named version 1 hierarchies (`name=systemd`) are their owner's and left alone.
///
/// # Errors
/// [`CgroupError::BadPath`] for a path that is empty or climbs; else the first thing that the kernel refused.
pub fn join(roots: &Roots, path: &str, pid: Pid) -> Result<(), CgroupError> {
    let below = clean(Path::new(path))?;
    if below.as_os_str().is_empty() || path.contains('\0') {
        return Err(CgroupError::BadPath { path: path.into() });
    }
    match roots.mode() {
        Mode::V2 => {
            let group = roots.cgroup.join(&below);
            create(&group)?;
            write(group.join("cgroup.procs"), pid.to_string())
        }
        Mode::V1 => {
            for hierarchy in hierarchies(roots)? {
                let mut controllers = hierarchy.controllers.iter();
                if controllers.any(|name| name.starts_with("name=")) {
                    continue;
                }
                let group = hierarchy.mount_point.join(&below);
                create(&group)?;
                if hierarchy.controllers.iter().any(|name| &**name == "cpuset") {
                    fill_cpusets(&hierarchy.mount_point, &below)?;
                }
                write(group.join("cgroup.procs"), pid.to_string())?;
            }
            Ok(())
        }
    }
}

/// Sends `signal` to every process of the cgroup and of those below it, once; a process that is forked meanwhile may be
/// missed, but for SIGKILL where the kernel has `cgroup.kill` (version 2, Linux 5.14).
///
/// # Errors
/// [`CgroupError::NotAlone`] where this process is in it: nothing is signalled then. The first error of kill(2), after the
/// others were signalled; a process that has ended is no error.
pub fn signal_all(cgroup: &Cgroup, signal: Signal) -> Result<(), CgroupError> {
    let pids = cgroup.pids()?;
    if pids.iter().any(|pid| pid.get() == std::process::id()) {
        return Err(CgroupError::NotAlone);
    }
    if let Cgroup::V2(v2) = cgroup
        && signal == Signal::KILL
        && write(v2.dir().join("cgroup.kill"), "1".to_owned()).is_ok()
    {
        return Ok(());
    }
    let mut first = Ok(());
    for pid in pids {
        match wait::signal_child(pid, signal) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                first = first.and(Err(CgroupError::Signal { pid, source: error }));
            }
            Ok(()) | Err(_) => {}
        }
    }
    first
}

/// Lets the processes of a version 1 cgroup go on, so that a signal reaches them. Under version 2 SIGKILL ends frozen ones.
///
/// # Errors
/// What writing `freezer.state` answered.
pub fn thaw(cgroup: &Cgroup) -> Result<(), CgroupError> {
    match cgroup {
        Cgroup::V1(v1) => v1.dir("freezer").map_or(Ok(()), |dir| {
            write(dir.join("freezer.state"), "THAWED".to_owned())
        }),
        Cgroup::V2(_) => Ok(()),
    }
}

fn create(group: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(group).map_err(|source| CgroupError::Create {
        path: group.into(),
        source,
    })
}

/// A new version 1 cpuset is empty, and takes no process before it was given cpus and memory nodes: its parent's
/// (`admin-guide/cgroup-v1/cpusets.rst`).
fn fill_cpusets(root: &Path, below: &Path) -> Result<(), CgroupError> {
    let mut parent = root.to_path_buf();
    for component in below.components() {
        let group = parent.join(component);
        for name in ["cpuset.cpus", "cpuset.mems"] {
            if read(group.join(name))?.trim().is_empty() {
                let inherited = read(parent.join(name))?;
                write(group.join(name), inherited.trim().to_owned())?;
            }
        }
        parent = group;
    }
    Ok(())
}

fn read(path: PathBuf) -> Result<String, CgroupError> {
    fs::read_to_string(&path).map_err(|source| CgroupError::Read { path, source })
}

fn write(path: PathBuf, value: String) -> Result<(), CgroupError> {
    write_existing(&path, &value).map_err(|source: io::Error| CgroupError::Write {
        path,
        value,
        source,
    })
}
