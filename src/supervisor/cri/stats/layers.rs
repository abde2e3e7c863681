//! How large containers' writable layers are: counted, and the count kept for a while.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::types::{ContainerId, Timestamp};

/// How long a count of files is good: counting a large layer takes long.
const LAYER_AGE: Duration = Duration::from_secs(15);
/// More files than this are not counted; the layer's size is then not told.
const MAX_FILES: usize = 200_000;

/// What a writable layer takes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// When that was counted.
    pub at: Timestamp,
    /// Its blocks, in bytes.
    pub bytes: u64,
    /// Its files and directories.
    pub inodes: u64,
}

/// The last count of each container's writable layer.
#[derive(Debug, Default)]
pub struct WritableLayers(Mutex<HashMap<ContainerId, (Instant, Option<Layer>)>>);

impl WritableLayers {
    /// What a container with the directory `container` has written, to its layer and to its volumes; counted now or a moment
    /// ago. `None` for too many files. Blocks.
    pub fn of(&self, id: &ContainerId, container: &Path) -> Option<Layer> {
        let known = |layers: &Self| {
            let counted = layers.0.lock().unwrap_or_else(PoisonError::into_inner);
            counted.get(id).copied()
        };
        if let Some((when, layer)) = known(self)
            && when.elapsed() < LAYER_AGE
        {
            return layer;
        }
        let layer = count(&["upper", "volumes"].map(|part| container.join(part)));
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.insert(id.clone(), (Instant::now(), layer));
        layer
    }

    /// Whether the half of what is kept is of containers that are gone, where there are `containers` now. Only then
    /// all are looked at: this is asked for each pod of a list.
    pub fn has_many_more_than(&self, containers: usize) -> bool {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.len() > containers.saturating_mul(2)
    }

    /// Forgets the containers that are none of these.
    pub fn forget_all_but(&self, ids: &HashSet<ContainerId>) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|id, _| ids.contains(id));
    }
}

/// The size of trees on their file system; a file with several names counts once, and what goes meanwhile not at all.
fn count(tops: &[PathBuf]) -> Option<Layer> {
    let mut layer = Layer {
        at: Timestamp::now(),
        bytes: 0,
        inodes: 0,
    };
    let mut linked = HashSet::new();
    let mut directories = tops.to_vec();
    let mut files = 0_usize;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)
            .ok()
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            files += 1;
            if files > MAX_FILES {
                return None;
            }
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            layer.bytes = layer.bytes.saturating_add(metadata.blocks() * 512);
            layer.inodes += 1;
        }
    }
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    #[test]
    fn a_layer_counts_a_file_with_two_names_once() {
        let scratch = Scratch::new();
        scratch.write("a/b/one", vec![b'x'; 100_000]);
        let first = count(&[scratch.path().to_owned()]).unwrap();
        assert_eq!(first.inodes, 3);
        assert!(first.bytes >= 100_000);
        let file = scratch.path().join("a/b/one");
        fs::hard_link(&file, scratch.path().join("two")).unwrap();
        let second = count(&[scratch.path().to_owned()]).unwrap();
        assert_eq!((second.bytes, second.inodes), (first.bytes, 3));
        assert_eq!(count(&["/no/such/layer".into()]).unwrap().inodes, 0);
    }

    #[test]
    fn a_count_is_good_for_a_while_and_forgotten_with_its_container() {
        let scratch = Scratch::new();
        let (layers, id) = (WritableLayers::default(), ContainerId::new("c1").unwrap());
        assert_eq!(layers.of(&id, scratch.path()).unwrap().inodes, 0);
        scratch.write("upper/one", "x");
        assert_eq!(layers.of(&id, scratch.path()).unwrap().inodes, 0);
        layers.forget_all_but(&HashSet::new());
        assert_eq!(layers.of(&id, scratch.path()).unwrap().inodes, 1);
    }
}
