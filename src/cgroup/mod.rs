//! Control groups: where a container's are, what they say of it, and when its memory ran out.
//!
//! Version 1 (also "hybrid": version 1 controllers beside a cgroup2 mount without any) and version 2
//! (cgroups(7), the kernel's `admin-guide/cgroup-v1` and `admin-guide/cgroup-v2.rst`). The numbers are those that
//! containerd's Go shim reports (github.com/containerd/cgroups), from pure parsers over the files' text.
//!
//! Called by the shim, and by the supervisor for statistics and for containers whose shim does not answer. Everything
//! blocks for as long as the kernel takes to print a small file; nothing here sets a limit or makes a container's cgroup:
//! that is the OCI runtime's.
//!
//! ```text
//! /proc/PID/cgroup + mountinfo -- location --> Cgroup -- metrics --> v1 | v2 (over read) --> protobuf
//!                                                |----- oom ------> OomWatch
//!                                                |----- control --> enable_controllers, join, signal_all, thaw
//!                                                `----- kill -----> every process in it
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::{self, Message};
use containerd_shim_protos::{cgroups, cgroups_v2};

use crate::types::Pid;

pub mod control;
mod kill;
mod location;
pub mod oom;
mod read;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use control::{enable_controllers, join, signal_all, thaw};
pub use oom::{OomCounts, OomNotice, OomWatch};

/// More descendants than any container has: the walk over a tree ends here.
const MAX_GROUPS: usize = 65_536;

/// The controllers whose `cgroup.procs` tells a version 1 container's processes, best first. The OCI runtime puts a
/// container in its own group of `devices` always, and of the others unless they are not mounted.
const PROCESS_CONTROLLERS: [&str; 6] = [
    "devices",
    "pids",
    "memory",
    "freezer",
    "cpu",
    "name=systemd",
];

/// Why a cgroup could not be found, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The cgroup was removed, or its process is gone or on its way out, which takes it from its cgroup.
    #[error("the cgroup is gone")]
    Gone,
    /// The process is in no cgroup that is mounted here.
    #[error("process {pid} is in no cgroup that is mounted under {}", root.display())]
    NotMounted {
        /// Which process.
        pid: Pid,
        /// Where a mount was looked for.
        root: PathBuf,
    },
    /// A path that would lead out of the hierarchy, or names no cgroup.
    #[error("cgroup path {path:?} is not a path below the root of the hierarchy")]
    BadPath {
        /// The path.
        path: String,
    },
    /// A tree with more than 65536 groups.
    #[error("too many cgroups below {}", path.display())]
    TooMany {
        /// Its top.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A control file could not be written.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What was written.
        value: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A process of the cgroup could not be signalled.
    #[error("signal process {pid}")]
    Signal {
        /// Which.
        pid: Pid,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The calling process is in the cgroup, which therefore is no container's alone.
    #[error("this process is in the cgroup itself")]
    NotAlone,
    /// A cgroup could not be made.
    #[error("create cgroup {}", path.display())]
    Create {
        /// Its directory.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

/// Where the kernel's files are; anywhere else in a test.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The cgroup mount or the tmpfs that holds the mounts.
    pub cgroup: PathBuf,
    /// procfs.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            cgroup: PathBuf::from("/sys/fs/cgroup"),
            proc: PathBuf::from("/proc"),
        }
    }
}

impl Roots {
    /// The hierarchy in use. Only a cgroup2 mount has the file, and every directory of one has it.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.cgroup.join("cgroup.controllers").exists() {
            Mode::V2
        } else {
            Mode::V1
        }
    }
}

/// Which kind of hierarchy the controllers are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One hierarchy for each controller, or for a few that are mounted together.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The cgroups of one container; directories, not handles, so they may go at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// One directory for each controller.
    V1(v1::V1),
    /// One directory.
    V2(v2::V2),
}

/// What a cgroup has used, as containerd's `Stats` answers it.
#[derive(Debug, Clone, PartialEq)]
pub enum Metrics {
    /// `io.containerd.cgroups.v1.Metrics`.
    V1(Box<cgroups::metrics::Metrics>),
    /// `io.containerd.cgroups.v2.Metrics`.
    V2(Box<cgroups_v2::metrics::Metrics>),
}

impl Metrics {
    /// The type of the encoded message, as containerd registers it for `Any`.
    #[must_use]
    pub const fn type_url(&self) -> &'static str {
        match self {
            Self::V1(_) => "io.containerd.cgroups.v1.Metrics",
            Self::V2(_) => "io.containerd.cgroups.v2.Metrics",
        }
    }

    /// The message in protobuf's encoding.
    ///
    /// # Errors
    /// A message larger than protobuf allows.
    pub fn encode(&self) -> protobuf::Result<Vec<u8>> {
        match self {
            Self::V1(metrics) => metrics.write_to_bytes(),
            Self::V2(metrics) => metrics.write_to_bytes(),
        }
    }
}

impl Cgroup {
    /// The cgroups that `pid` is in now (`/proc/PID/cgroup`, cgroups(7)).
    ///
    /// # Errors
    /// [`CgroupError::Gone`] where the process is gone, or dying: the kernel then shows version 1 groups as `/`, which
    /// must not be taken for the container's.
    pub fn of_process(roots: &Roots, pid: Pid) -> Result<Self, CgroupError> {
        location::of_process(roots, pid)
    }

    /// Whether any of its directories is still there.
    #[must_use]
    pub fn exists(&self) -> bool {
        match self {
            Self::V1(v1) => v1.dirs().any(Path::is_dir),
            Self::V2(v2) => v2.dir().is_dir(),
        }
    }

    /// The processes in it and in the groups below it, in no order; each once.
    ///
    /// # Errors
    /// [`CgroupError::Gone`] where it was removed.
    pub fn pids(&self) -> Result<Vec<Pid>, CgroupError> {
        let top = match self {
            Self::V1(v1) => PROCESS_CONTROLLERS
                .iter()
                .find_map(|controller| v1.dir(controller)),
            Self::V2(v2) => Some(v2.dir()),
        };
        let Some(top) = top else {
            return Err(CgroupError::Gone);
        };
        if !top.is_dir() {
            return Err(CgroupError::Gone);
        }
        pids_below(top)
    }

    /// Whether no process is in it; a group that is gone has none.
    ///
    /// # Errors
    /// As [`Self::pids`].
    pub fn is_empty(&self) -> Result<bool, CgroupError> {
        match self.pids() {
            Ok(pids) => Ok(pids.is_empty()),
            Err(CgroupError::Gone) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What it has used and may use. What the kernel does not offer is left unset.
    ///
    /// # Errors
    /// [`CgroupError::Gone`] where it was removed.
    pub fn metrics(&self) -> Result<Metrics, CgroupError> {
        let metrics = match self {
            Self::V1(v1) => Metrics::V1(Box::new(v1.metrics()?)),
            Self::V2(v2) => Metrics::V2(Box::new(v2.metrics()?)),
        };
        // Asked after the reading: a group that went meanwhile must not be reported as one that used nothing.
        if self.exists() {
            Ok(metrics)
        } else {
            Err(CgroupError::Gone)
        }
    }

    /// The kernel's counts of kills for want of memory: of processes, or of the whole group where it is killed as one
    /// (`memory.oom.group`). `None` without the memory controller, and where
    /// the kernel does not count: version 1 does since Linux 4.13.
    ///
    /// # Errors
    /// `NotFound` where it was removed.
    pub fn oom_kills(&self) -> io::Result<Option<OomCounts>> {
        let Some(path) = self.oom_file() else {
            return Ok(None);
        };
        let count =
            |path: &Path| io::Result::Ok(read::value(&fs::read_to_string(path)?, "oom_kill"));
        let Some(own) = count(&path)? else {
            return Ok(None);
        };
        let mut counts = OomCounts::of(match self {
            Self::V1(_) => own,
            Self::V2(v2) => v2.kills_as_one(own, &path)?.unwrap_or(own),
        });
        if let Self::V1(v1) = self {
            let below = v1.dir("memory").map_or_else(Vec::new, subgroups);
            for group in below.iter().flat_map(|group| groups_below(group)) {
                // One that went meanwhile has nothing to tell any more.
                let counted = count(&group.join("memory.oom_control")).ok().flatten();
                let inode = fs::metadata(&group).map(|metadata| metadata.ino());
                if let (Some(kills), Ok(inode)) = (counted, inode) {
                    counts.add(inode, kills);
                }
            }
        }
        Ok(Some(counts))
    }

    /// The file that counts the kills.
    fn oom_file(&self) -> Option<PathBuf> {
        match self {
            Self::V1(v1) => Some(v1.dir("memory")?.join("memory.oom_control")),
            Self::V2(v2) => Some(v2.dir().join("memory.events")),
        }
    }
}

/// Reads `cgroup.procs` of `top` and of every directory below it.
fn pids_below(top: &Path) -> Result<Vec<Pid>, CgroupError> {
    let mut pids = Vec::new();
    for (index, group) in groups_below(top).enumerate() {
        if index >= MAX_GROUPS {
            return Err(CgroupError::TooMany { path: top.into() });
        }
        collect_pids(&group.join("cgroup.procs"), &mut pids)?;
    }
    // A process that moves between two groups while they are read is in both.
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// `top` and every group below it, one more than [`MAX_GROUPS`] at most.
fn groups_below(top: &Path) -> impl Iterator<Item = PathBuf> {
    let mut groups = vec![top.to_path_buf()];
    let walk = std::iter::from_fn(move || {
        let group = groups.pop()?;
        groups.extend(subgroups(&group));
        Some(group)
    });
    walk.take(MAX_GROUPS + 1)
}

/// The groups right below `group`; none where it is gone.
fn subgroups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else {
        return Vec::new();
    };
    let entries = entries.flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A group may go between its finding and its reading: then nobody was in it.
fn collect_pids(path: &Path, pids: &mut Vec<Pid>) -> Result<(), CgroupError> {
    let wrap = |source| CgroupError::Read {
        path: path.into(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if read::is_absence(&error) => return Ok(()),
        Err(error) => return Err(wrap(error)),
    };
    for line in BufReader::new(file).lines() {
        match line {
            // Zero is a process that this pid namespace cannot see.
            Ok(line) => pids.extend(line.trim().parse().ok().and_then(Pid::new)),
            Err(error) if read::is_absence(&error) => return Ok(()),
            Err(error) => return Err(wrap(error)),
        }
    }
    Ok(())
}
