//! `images.json`: which images there are. It is replaced whole, and read again by whoever sees another file there.
//!
//! ```text
//! {"version":1,"images":[{
//!   "id":"sha256:..",                                  digest of configs/HEX
//!   "tags":["docker.io/library/busybox:latest"],       each is one image's only
//!   "digests":["docker.io/library/busybox@sha256:.."], of the manifest and of its index
//!   "layers":["0123456789ab"],                         names in layers/, the lowest first
//!   "size":4567}]}                                     bytes of the layers on disk
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ImageError;
use super::digest::Digest;
use crate::sys::file;

/// The file's name in the store.
pub(super) const NAME: &str = "images.json";

const VERSION: u32 = 1;

/// Bytes of the file, at most.
const LARGEST: u64 = 64 << 20;

/// All images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    pub images: Vec<Entry>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub id: Digest,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub layers: Vec<String>,
    pub size: u64,
}

/// Which file was read: another one has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    fn new(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        }
    }

    /// That of the index in the store `root`; `None` where it is missing.
    pub fn of(root: &Path) -> Result<Option<Self>, ImageError> {
        let path = root.join(NAME);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other
                .map(|metadata| Some(Self::new(&metadata)))
                .map_err(|error| ImageError::io("looking at", &path, error)),
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self {
            version: VERSION,
            images: Vec::new(),
        }
    }
}

impl Index {
    /// Reads that of the store `root`; an empty one where it is missing.
    pub fn read(root: &Path) -> Result<(Self, Option<Stamp>), ImageError> {
        let path = root.join(NAME);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::default(), None));
            }
            other => other.map_err(|error| ImageError::io("opening", &path, error))?,
        };
        let mut bytes = Vec::new();
        let stamp = file
            .metadata()
            .and_then(|metadata| {
                (&mut file).take(LARGEST + 1).read_to_end(&mut bytes)?;
                Ok(Stamp::new(&metadata))
            })
            .map_err(|error| ImageError::io("reading", &path, error))?;
        let corrupt = |reason: String| ImageError::Corrupt {
            path: path.clone(),
            reason,
        };
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
            return Err(corrupt(format!("more than {LARGEST} bytes")));
        }
        // The version first: what a later one looks like nobody knows.
        let read_version = serde_json::from_slice::<Version>(&bytes);
        let version = read_version
            .map_err(|error| corrupt(error.to_string()))?
            .version;
        if version != VERSION {
            return Err(corrupt(format!(
                "its version is {version}, and {VERSION} is known here"
            )));
        }
        let index = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        Ok((index, Some(stamp)))
    }

    /// Replaces that of the store `root`. The caller holds the store's lock.
    pub fn write(&self, root: &Path) -> Result<(), ImageError> {
        let path = root.join(NAME);
        let bytes = serde_json::to_vec(self).map_err(|source| ImageError::Json {
            subject: NAME.into(),
            source,
        })?;
        file::replace(&path, &bytes).map_err(|error| ImageError::io("writing", &path, error))
    }

    /// Adds an image. Its tags are its own from now on; an image without any stays.
    pub fn add(&mut self, new: Entry) {
        let own: HashSet<_> = new.tags.iter().collect();
        for entry in &mut self.images {
            entry.tags.retain(|tag| !own.contains(tag));
        }
        let Some(entry) = self.images.iter_mut().find(|entry| entry.id == new.id) else {
            self.images.push(new);
            return;
        };
        entry.tags.extend(new.tags);
        let known: HashSet<_> = entry.digests.iter().cloned().collect();
        let digests = new.digests.into_iter();
        entry
            .digests
            .extend(digests.filter(|digest| !known.contains(digest)));
        // The same files, maybe under other names: these are known to be there.
        entry.layers = new.layers;
        entry.size = new.size;
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}
