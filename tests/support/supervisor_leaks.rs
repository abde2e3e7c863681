//! What a supervisor may leave behind, how it is found, and how a failed test's remains are removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::places::{cgroups_below, entries, remove_cgroups, shim_socket};
use super::poll;

/// The marks by which the traces of one supervisor are told from those of all others.
#[derive(Debug)]
pub struct Footprint {
    /// The directory of everything of it.
    pub dir: PathBuf,
    /// Its CRI socket, which is every one of its shims' `-address`.
    pub socket: PathBuf,
    /// The name of its cgroup parent.
    pub cgroup: String,
    /// The ids of the containers and pods that it had.
    pub ids: BTreeSet<String>,
    /// Its pid while it runs.
    pub supervisor: Option<u32>,
}

/// Waits until nothing is left: a shim ends after its last answer. Returns what stays.
pub fn settle(footprint: &Footprint) -> Vec<String> {
    let settled = poll::within(poll::DEADLINE / 4, || {
        let found = find(footprint);
        if found.is_empty() {
            Ok(())
        } else {
            Err(found.join("\n"))
        }
    });
    settled
        .err()
        .map(|found| found.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Everything that is there now.
pub fn find(footprint: &Footprint) -> Vec<String> {
    let mut found = Vec::new();
    for (pid, command) in processes(footprint) {
        found.push(format!("process {pid}: {command}"));
    }
    let mut name = |kind: &str, paths: Vec<PathBuf>| {
        found.extend(
            paths
                .iter()
                .map(|path| format!("{kind} {}", path.display())),
        );
    };
    name("mount", mounts(footprint));
    // The parent itself is configured, and stays.
    name("cgroup", cgroups_below(&footprint.cgroup));
    name("socket", sockets(footprint));
    name("OCI runtime state", oci_states(footprint));
    for dir in [
        "root/containers",
        "root/pods",
        "state/tasks",
        "state/pods",
        "state/ends",
    ] {
        name("directory", entries(&footprint.dir.join(dir)));
    }
    found
}

/// Removes the traces of a supervisor whose test failed, so that it does not fail others.
pub fn remove(footprint: &Footprint) {
    for _ in 0..3 {
        for (pid, _) in processes(footprint) {
            drop(
                Command::new("kill")
                    .args(["-KILL", &pid.to_string()])
                    .output(),
            );
        }
        for path in mounts(footprint).iter().rev() {
            drop(Command::new("umount").arg("-l").arg(path).output());
        }
    }
    remove_runtime_state(footprint);
}

/// Of that, what is neither process nor mount and lies outside of its directories: the OCI runtime's state, cgroups, sockets.
pub fn remove_runtime_state(footprint: &Footprint) {
    for state in oci_states(footprint) {
        drop(fs::remove_dir_all(state));
    }
    remove_cgroups(&footprint.cgroup);
    for socket in sockets(footprint) {
        drop(fs::remove_file(socket));
    }
}

/// The shims, and all processes in the supervisor's cgroups or with a path of its own among their arguments; zombies and
/// the supervisor itself left out. Each with its command line.
pub fn processes(footprint: &Footprint) -> Vec<(u32, String)> {
    let dir = format!("{}/", footprint.dir.display());
    let own_cgroup = format!("/{}/", footprint.cgroup);
    let mut found = Vec::new();
    for entry in entries(Path::new("/proc")) {
        let name = entry.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let text = |file: &str| {
            let bytes = fs::read(entry.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let (command, cgroups) = (text("cmdline"), text("cgroup"));
        let is_zombie = text("stat")
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'));
        let is_supervisor = Some(pid) == footprint.supervisor;
        if (command.contains(&dir) || cgroups.contains(&own_cgroup))
            && !is_zombie
            && !is_supervisor
            && pid != std::process::id()
        {
            found.push((pid, command));
        }
    }
    found
}

/// The pids of its shims.
pub fn shims(footprint: &Footprint) -> Vec<u32> {
    let address = format!("-address {} ", footprint.socket.display());
    processes(footprint)
        .into_iter()
        .filter(|(_, command)| command.contains(&address))
        .map(|(pid, _)| pid)
        .collect()
}

/// The dead children of the supervisor and of its shims that nobody has reaped.
pub fn zombies(footprint: &Footprint) -> Vec<String> {
    let mut parents = shims(footprint);
    parents.extend(footprint.supervisor);
    super::leaks::zombies_of(&parents)
        .into_iter()
        .map(|process| format!("zombie {process:?}"))
        .collect()
}

fn mounts(footprint: &Footprint) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(PathBuf::from)
        .filter(|point| point.starts_with(&footprint.dir))
        .collect()
}

fn oci_states(footprint: &Footprint) -> Vec<PathBuf> {
    // The shim's default root is containerd's, with the namespace that the supervisor tells it.
    let root = Path::new("/run/containerd/runc/outlive");
    let states = footprint.ids.iter().map(|id| root.join(id));
    states.filter(|path| path.exists()).collect()
}

fn sockets(footprint: &Footprint) -> Vec<PathBuf> {
    let path = |id: &String| shim_socket(&footprint.socket, "outlive", id);
    let paths = footprint.ids.iter().map(path);
    paths.filter(|path| path.exists()).collect()
}
