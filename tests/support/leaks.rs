//! What a node may leave behind, how it is found, and how a failed test's remains are removed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::places::{cgroups, cgroups_below, entries, remove_cgroups, shim_socket};
use super::poll;

/// The marks by which the traces of one node are told from those of all others.
#[derive(Debug)]
pub struct Footprint {
    /// The directory of everything of the node.
    pub dir: PathBuf,
    /// The address of its containerd.
    pub address: PathBuf,
    /// Its containerd namespace, which names its cgroups and its directory in the OCI runtime's state.
    pub namespace: String,
    /// The container ids and groups whose shims had a socket.
    pub groupings: BTreeSet<String>,
    /// The pid of its containerd while it runs.
    pub containerd: Option<u32>,
    /// The directory of the fifos, when whoever made them lived long enough to remove them.
    pub fifos: Option<PathBuf>,
}

/// How long the killed may take to end.
const ENDS: Duration = Duration::from_secs(20);

/// Waits until nothing is left: a shim ends after its last answer, and one that was never asked for anything, some time after its start.
/// Returns what stays.
pub fn settle(footprint: &Footprint) -> Vec<String> {
    let settled = poll::within(poll::DEADLINE, || {
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

/// What is there at this moment.
pub fn find(footprint: &Footprint) -> Vec<String> {
    let mut found = Vec::new();
    for process in processes() {
        if process.is_client() {
            continue;
        }
        if process.belongs_to(footprint) {
            found.push(process.described());
        } else if process.is_zombie_of(footprint.containerd) {
            found.push(format!("zombie {process:?}"));
        }
    }
    found.extend(
        mounts(footprint)
            .into_iter()
            .map(|mount| format!("mount {}", mount.display())),
    );
    for dir in ["state", "root"] {
        let tasks = footprint
            .dir
            .join(dir)
            .join("io.containerd.runtime.v2.task")
            .join(&footprint.namespace);
        found.extend(
            entries(&tasks)
                .into_iter()
                .filter(|path| !is_hidden(path) && !is_in_the_way(path))
                .map(|path| format!("bundle {}", path.display())),
        );
    }
    found.extend(
        entries(&oci_state(footprint))
            .into_iter()
            .map(|path| format!("OCI runtime state {}", path.display())),
    );
    found.extend(
        // The parent, named after the namespace, is the OCI runtime's, and it never removes it.
        cgroups_below(&footprint.namespace)
            .into_iter()
            .map(|path| format!("cgroup {}", path.display())),
    );
    found.extend(
        sockets(footprint)
            .into_iter()
            .filter(|path| path.exists())
            .map(|path| format!("socket {}", path.display())),
    );
    found.extend(
        fifos(footprint)
            .into_iter()
            .map(|path| format!("fifo {}", path.display())),
    );
    found
}

/// Removes the traces of a node whose test failed, so that it does not fail others.
pub fn remove(footprint: &Footprint) {
    for dir in cgroups(&footprint.namespace) {
        thaw(&dir);
    }
    // More than once: a shim that is killed may have started something meanwhile.
    let ended = poll::within(ENDS, || {
        let found = processes();
        let left: Vec<&Process> = found
            .iter()
            .filter(|process| process.belongs_to(footprint) && !process.is_dead())
            .collect();
        for process in &left {
            drop(
                Command::new("kill")
                    .args(["-KILL", &process.pid.to_string()])
                    .output(),
            );
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    if let Err(left) = ended {
        println!("not to be killed: {left}");
    }
    for path in mounts(footprint).iter().rev() {
        drop(Command::new("umount").arg("-l").arg(path).output());
    }
    for state in entries(&oci_state(footprint)) {
        drop(fs::remove_dir_all(state));
    }
    drop(fs::remove_dir(oci_state(footprint)));
    remove_cgroups(&footprint.namespace);
    for socket in sockets(footprint) {
        drop(fs::remove_file(socket));
    }
}

/// A frozen process does not die before it is thawed: cgroup v1's freezer.
fn thaw(dir: &Path) {
    for child in entries(dir).iter().filter(|path| path.is_dir()) {
        for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            // Each hierarchy has one of the two at most.
            let file = child.join(file);
            if file.exists()
                && let Err(error) = fs::write(&file, word)
            {
                println!("{}: {error}", file.display());
            }
        }
        thaw(child);
    }
}

/// A process as /proc shows it.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    parent: u32,
    session: u32,
    state: char,
    name: String,
    command_line: String,
    cgroups: String,
}

impl Process {
    /// The process of this pid, where there is one.
    pub fn read(pid: u32) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(dir.join("stat")).ok()?;
        // The name is in brackets and may itself hold any byte, brackets too: proc(5).
        let (head, tail) = stat.rsplit_once(") ")?;
        let mut fields = tail.split(' ');
        Some(Self {
            pid,
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            session: fields.nth(1)?.parse().ok()?,
            name: head.split_once('(')?.1.to_owned(),
            command_line: String::from_utf8_lossy(&fs::read(dir.join("cmdline")).ok()?)
                .replace('\0', " "),
            cgroups: fs::read_to_string(dir.join("cgroup")).unwrap_or_default(),
        })
    }

    /// Whether it has ended, and only waits for its parent.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// A `ctr` is whoever's it is that started it, and no trace of a container.
    fn is_client(&self) -> bool {
        self.name == "ctr"
    }

    /// What does not change while it lives.
    fn described(&self) -> String {
        let kind = if self.is_dead() { "zombie" } else { "process" };
        let cgroup = self.cgroups.lines().next().unwrap_or_default();
        let Self {
            pid,
            parent,
            name,
            command_line,
            ..
        } = self;
        format!("{kind} {pid} {name}, child of {parent}, in {cgroup}: {command_line}")
    }

    fn belongs_to(&self, footprint: &Footprint) -> bool {
        let address = format!("{} ", footprint.address.display());
        let mentions =
            self.command_line.contains(&address) && Some(self.pid) != footprint.containerd;
        mentions || self.cgroups.contains(&format!("/{}/", footprint.namespace))
    }

    fn is_zombie_of(&self, parent: Option<u32>) -> bool {
        self.state == 'Z' && Some(self.parent) == parent
    }
}

/// Every process of the machine.
pub fn processes() -> Vec<Process> {
    entries(Path::new("/proc"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

/// The pids of the processes in the cgroup of container `id`, dead ones left out.
pub fn members(namespace: &str, id: &str) -> Vec<u32> {
    let suffix = format!("/{namespace}/{id}");
    let inside = |process: &Process| {
        process.state != 'Z' && process.cgroups.lines().any(|line| line.ends_with(&suffix))
    };
    processes()
        .iter()
        .filter(|process| inside(process))
        .map(|process| process.pid)
        .collect()
}

/// The zombies whose parent is one of these.
pub fn zombies_of(parents: &[u32]) -> Vec<Process> {
    let is_theirs = |process: &Process| parents.iter().any(|pid| process.is_zombie_of(Some(*pid)));
    processes().into_iter().filter(is_theirs).collect()
}

/// The pids of the servers among the shims of a node that were started for a container whose id `is_wanted`: `start` and
/// `delete` come and go.
pub fn shims(footprint: &Footprint, is_wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let address = format!("-address {} ", footprint.address.display());
    let serves = |process: &Process| {
        let words: Vec<&str> = process.command_line.split(' ').collect();
        let acts = words.contains(&"start") || words.contains(&"delete");
        let id = words.iter().position(|word| *word == "-id");
        let id = id.and_then(|at| words.get(at + 1)).copied();
        // A server leads its own session; Go's does not, but it has other arguments than what started it.
        process.name.starts_with("containerd-shim")
            && process.command_line.contains(&address)
            && (process.session == process.pid || !acts)
            && id.is_some_and(&is_wanted)
    };
    processes()
        .iter()
        .filter(|process| serves(process))
        .map(|process| process.pid)
        .collect()
}

/// containerd hides a bundle before it removes it, and never looks at it again if it dies in between
/// (containerd's core/runtime/v2/bundle.go, `atomicDelete`).
fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with('.'))
}

/// And where it died like that, it cannot hide the next bundle of the same name, nor remove it: `rename` says EEXIST.
fn is_in_the_way(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| path.with_file_name(format!(".{name}")).exists())
}

fn mounts(footprint: &Footprint) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    points
        .filter(|point| point.starts_with(&footprint.dir))
        .collect()
}

fn oci_state(footprint: &Footprint) -> PathBuf {
    Path::new("/run/containerd/runc").join(&footprint.namespace)
}

fn sockets(footprint: &Footprint) -> Vec<PathBuf> {
    let groups = footprint.groupings.iter();
    groups
        .map(|group| shim_socket(&footprint.address, &footprint.namespace, group))
        .collect()
}

/// The fifos of inits. Those of a detached exec are left by `ctr` itself: it deletes an exec without loading its streams.
fn fifos(footprint: &Footprint) -> Vec<PathBuf> {
    let Some(dir) = &footprint.fifos else {
        return Vec::new();
    };
    let of_init = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let owner = name.rsplit_once('-').map_or("", |(owner, _)| owner);
        fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
            && footprint.groupings.contains(owner)
    };
    entries(dir)
        .iter()
        .flat_map(|dir| entries(dir))
        .filter(of_init)
        .collect()
}
