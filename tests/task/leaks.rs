//! What a finished test may not leave behind, and the broom for one that failed.

use crate::rpc::{Process, request};
use crate::shim::{Made, eventually};
use containerd_shim_protos::api::{ConnectRequest, ConnectResponse};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Field `number` of /proc/PID/stat, counted as in proc(5); None when there is no such process.
pub fn stat(pid: u32, number: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(") ")?.1.to_owned();
    fields.split(' ').nth(number - 3).map(str::to_owned)
}

pub fn alive(pid: u32) -> bool {
    stat(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}

/// Waits until the process has executed its program: until then it is still the OCI runtime's, with that one's signal handlers.
pub fn executes(pid: u32, program: &str) {
    eventually(
        &format!("{program} in {pid}"),
        || match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(comm) if comm.trim() == program => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

/// Waits until the process is gone, reaped included; what is the host's init's to reap counts as gone.
pub fn gone(pid: u32) {
    eventually(&format!("end of process {pid}"), || match stat(pid, 3) {
        None => Ok(()),
        Some(state) if state == "Z" && stat(pid, 4).is_none_or(|parent| parent == "1") => Ok(()),
        Some(state) => Err(format!("state {state}")),
    });
}

/// The pid of the shim that answers on the task's socket. (SO_PEERCRED would name the process that called listen: `start`.)
pub fn listener(task: &Process) -> Option<u32> {
    let answer = task
        .client
        .try_call("Connect", &request!(ConnectRequest { id: &*task.id }))
        .ok()?;
    answer.ok().map(|answer: ConnectResponse| answer.shim_pid)
}

fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// A shim reaps what it is the parent of.
pub fn no_zombie_child(parent: u32) {
    eventually(&format!("no zombie below {parent}"), || {
        let zombie = |pid: &u32| {
            stat(*pid, 4) == Some(parent.to_string()) && stat(*pid, 3).as_deref() == Some("Z")
        };
        match pids().find(zombie) {
            None => Ok(()),
            Some(pid) => Err(format!("{pid}")),
        }
    });
}

/// Where the cgroup exists, in any hierarchy (v1: one directory per controller; v2: the one).
pub fn cgroup_dirs(path: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([root.to_owned()]);
    hierarchies
        .map(|hierarchy| hierarchy.join(path.trim_start_matches('/')))
        .filter(|dir| dir.exists())
        .collect()
}

/// A file of the container's cgroup under its v1 or its v2 name.
pub fn cgroup_file(path: &str, v1: &str, v2: &str) -> String {
    let file = if is_v2() {
        Path::new("/sys/fs/cgroup").join(&path[1..]).join(v2)
    } else {
        let (controller, file) = v1.split_once('/').unwrap();
        Path::new("/sys/fs/cgroup")
            .join(controller)
            .join(&path[1..])
            .join(file)
    };
    std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{file:?}: {error}"))
        .trim()
        .to_owned()
}

pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The mount points below `dir`, the innermost first.
pub fn mounts(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    found.reverse();
    found
}

/// The processes that have `word` in an argument.
pub fn processes(word: &str) -> Vec<String> {
    let line = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .ok()
            .map(|text| (pid, String::from_utf8_lossy(&text).replace('\0', " ")))
    };
    pids()
        .filter_map(line)
        .filter(|(_, line)| line.contains(word))
        .map(|(pid, line)| format!("{pid} {line}"))
        .collect()
}

/// Removes whatever a test left: nothing, unless it failed.
pub fn sweep(dir: &Path, ns: &str, made: &[Made]) {
    for line in processes(ns) {
        if let Some(pid) = line.split(' ').next().and_then(|pid| pid.parse().ok()) {
            signal(pid, Signal::SIGKILL);
            gone(pid);
        }
    }
    for Made {
        task,
        cgroup,
        runc_root,
    } in made
    {
        if runc_root.join(&task.id).exists() {
            drop(
                Command::new("runc")
                    .arg("--root")
                    .arg(runc_root)
                    .args(["delete", "-f", &task.id])
                    .output(),
            );
        }
        // A cgroup is busy until the last of its killed processes is gone.
        let end = Instant::now() + Duration::from_secs(5);
        while !cgroup_dirs(cgroup).is_empty() && Instant::now() < end {
            cgroup_dirs(cgroup).iter().for_each(|dir| empty_cgroup(dir));
            thread::park_timeout(Duration::from_millis(10));
        }
        drop(std::fs::remove_file(&task.client.socket));
    }
    for point in mounts(dir) {
        umount2(&point, MntFlags::MNT_DETACH).unwrap_or_default();
    }
    drop(std::fs::remove_dir_all(dir));
}

fn empty_cgroup(dir: &Path) {
    // A frozen process dies when it thaws (v1). Of the two files at most one is there.
    for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if dir.join(file).exists() {
            drop(std::fs::write(dir.join(file), thawed));
        }
    }
    let members = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()) {
        signal(pid, Signal::SIGKILL);
    }
    drop(std::fs::remove_dir(dir));
}

pub fn signal(pid: u32, signal: Signal) {
    // Already gone is what is asked for.
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap_or_default();
}
