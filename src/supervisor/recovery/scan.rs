//! What the disk says: every container, pod, bundle and namespace directory, and what was on its way in or out.
//!
//! Owns: reading. It judges nothing, changes nothing, and never fails as a whole: what cannot be read is a fact too, and
//! a list that is not whole says so ([`Listed`]), since nobody may be taken for an orphan because of it. Blocks.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, ExitEntry, Read, endpoint, exit_journal};
use crate::supervisor::store::{Checkpoint, ContainerMeta, Layout, PodCheckpoint, PodMeta};
use crate::types::ContainerId;
use crate::types::error::chain;

/// The disk of one supervisor.
#[derive(Debug)]
pub struct Scan {
    /// ROOT/containers/ID.
    pub containers: Vec<ContainerFacts>,
    /// ROOT/pods/ID.
    pub pods: Vec<PodFacts>,
    /// STATE/tasks/ID.
    pub bundles: Vec<ContainerId>,
    /// STATE/pods/ID.
    pub namespaces: Vec<ContainerId>,
    /// STATE/ends/ID.
    pub ends: Vec<ContainerId>,
    /// `.new-ID` and `.gone-ID` of both: on the way in or out when the supervisor died.
    pub leftovers: Vec<PathBuf>,
    /// What is none of ours: left alone.
    pub strangers: Vec<PathBuf>,
    /// Whether every container is in it.
    pub containers_listed: Listed,
    /// Whether every pod is in it.
    pub pods_listed: Listed,
}

/// Whether a directory was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// Every entry.
    Whole,
    /// Not every entry, or no directory where others speak of its content; with the reason.
    Partly(String),
}

/// What the disk says of one container.
#[derive(Debug)]
pub struct ContainerFacts {
    /// Its id: its directory's name.
    pub id: ContainerId,
    /// `container.json`.
    pub meta: Read<ContainerMeta>,
    /// `status.json`.
    pub checkpoint: Read<Checkpoint>,
    /// STATE/ends/ID/status.json: an end that ROOT has not taken.
    pub end: Read<Checkpoint>,
}

/// What the disk says of one pod.
#[derive(Debug)]
pub struct PodFacts {
    /// Its id: its directory's name.
    pub id: ContainerId,
    /// `pod.json`.
    pub meta: Read<PodMeta>,
    /// `status.json`.
    pub checkpoint: Read<PodCheckpoint>,
    /// Whether anything but `pod.json` was made for it.
    pub progress: Progress,
}

/// How far RunPodSandbox came, as the pod's directories tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// `pod.json`, and nothing else.
    Nothing,
    /// More, or it cannot be told.
    Some,
}

/// Reads the disk.
#[must_use]
pub fn scan(layout: &Layout) -> Scan {
    let mut listing = Listing::default();
    let (containers, mut containers_listed) = listing.ids(&layout.containers(), Own::Lasting);
    let (pods, mut pods_listed) = listing.ids(&layout.pods(), Own::Lasting);
    let (bundles, _) = listing.ids(&layout.tasks(), Own::Passing);
    let (namespaces, _) = listing.ids(&layout.pods_state(), Own::Passing);
    let (ends, _) = listing.ids(&layout.ends(), Own::Passing);
    // ROOT is not mounted, or STATE is another's: nobody is an orphan for that.
    if !bundles.is_empty() || !ends.is_empty() {
        absent_is_partly(&layout.containers(), &mut containers_listed);
    }
    if !namespaces.is_empty() {
        absent_is_partly(&layout.pods(), &mut pods_listed);
    }
    Scan {
        containers: containers
            .into_iter()
            .map(|id| container(layout, id))
            .collect(),
        pods: pods.into_iter().map(|id| pod(layout, id)).collect(),
        bundles,
        namespaces,
        ends,
        leftovers: listing.leftovers,
        strangers: listing.strangers,
        containers_listed,
        pods_listed,
    }
}

fn absent_is_partly(dir: &Path, listed: &mut Listed) {
    if *listed == Listed::Whole && !dir.is_dir() {
        *listed = Listed::Partly(format!("{} is not there", dir.display()));
    }
}

fn container(layout: &Layout, id: ContainerId) -> ContainerFacts {
    let dir = layout.container(&id);
    ContainerFacts {
        meta: ContainerMeta::read(&dir.join("container.json")),
        checkpoint: Checkpoint::read(&dir.join("status.json")),
        end: Checkpoint::read(&layout.end(&id).join("status.json")),
        id,
    }
}

fn pod(layout: &Layout, id: ContainerId) -> PodFacts {
    let dir = layout.pod(&id);
    let only_asked_for = fs::read_dir(&dir).is_ok_and(|entries| {
        entries.into_iter().all(|entry| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                // The second one is a write that was cut off.
                name == "pod.json" || name == ".status.json.tmp"
            })
        })
    });
    let progress = if only_asked_for && !layout.pod_state(&id).exists() {
        Progress::Nothing
    } else {
        Progress::Some
    };
    PodFacts {
        meta: PodMeta::read(&dir.join("pod.json")),
        checkpoint: PodCheckpoint::read(&dir.join("status.json")),
        progress,
        id,
    }
}

/// Whose names may stand in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// Ids, and ids on their way in or out.
    Lasting,
    /// Ids.
    Passing,
}

#[derive(Debug, Default)]
struct Listing {
    leftovers: Vec<PathBuf>,
    strangers: Vec<PathBuf>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Id(ContainerId),
    Leftover,
    Stranger,
}

impl Name {
    fn of(name: &OsStr, own: Own) -> Self {
        let Some(name) = name.to_str() else {
            return Self::Stranger;
        };
        if let Ok(id) = ContainerId::new(name) {
            return Self::Id(id);
        }
        let rest = name
            .strip_prefix(".new-")
            .or_else(|| name.strip_prefix(".gone-"));
        match (own, rest.map(ContainerId::new)) {
            (Own::Lasting, Some(Ok(_))) => Self::Leftover,
            (Own::Lasting | Own::Passing, _) => Self::Stranger,
        }
    }
}

impl Listing {
    /// The ids that directories in `dir` have for names.
    fn ids(&mut self, dir: &Path, own: Own) -> (Vec<ContainerId>, Listed) {
        let mut ids = Vec::new();
        match self.list(dir, own, &mut ids) {
            Ok(()) => (ids, Listed::Whole),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (ids, Listed::Whole),
            Err(error) => {
                log::error!(path:? = dir, error:% = chain(&error); "the directory cannot be read to its end");
                (ids, Listed::Partly(format!("{}: {error}", dir.display())))
            }
        }
    }

    fn list(&mut self, dir: &Path, own: Own, ids: &mut Vec<ContainerId>) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let is_dir = entry.file_type()?.is_dir();
            match Name::of(&entry.file_name(), own) {
                Name::Id(id) if is_dir => ids.push(id),
                Name::Leftover if is_dir => self.leftovers.push(entry.path()),
                Name::Id(_) | Name::Leftover | Name::Stranger => self.strangers.push(entry.path()),
            }
        }
        Ok(())
    }
}

/// What a bundle's journal says of init's end. An unreadable journal is not an absent one.
///
/// # Errors
/// Why the journal cannot be believed.
pub fn recorded_exit(bundle: &Bundle) -> Result<Option<ExitEntry>, String> {
    match exit_journal::read(&bundle.exits()) {
        Read::Found(exits) => Ok(exits
            .entries
            .into_iter()
            .rev()
            .find(|entry| entry.exec.is_none())),
        Read::Absent => Ok(None),
        Read::Corrupt(path, reason) => Err(format!("{}: {}", path.display(), chain(&reason))),
    }
}

/// Where the bundle's shim listens.
///
/// # Errors
/// Why the endpoint cannot be believed.
pub fn endpoint_of(bundle: &Bundle) -> Result<Option<String>, String> {
    match endpoint::read(bundle) {
        Read::Found(address) => Ok(Some(address)),
        Read::Absent => Ok(None),
        Read::Corrupt(path, reason) => Err(format!("{}: {}", path.display(), chain(&reason))),
    }
}

#[cfg(test)]
#[path = "tests/scan.rs"]
mod tests;
