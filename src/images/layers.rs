//! The unpacked layers: their names, which of them is which, and how a new one becomes visible whole.
//!
//! ```text
//! layers/NAME/fs/          its files
//! layers/NAME/layer.json   {"version":1,"diff_id":"sha256:..","chain":null,"bytes":N,"inodes":N,
//!                           "states_root":true}
//! ```
//!
//! A layer is what its `diff_id` says, the digest of its uncompressed archive, whatever is below it; but for one that
//! leans on what is below ([`super::unpack`]): that is what its chain id says (OCI image-spec, config.md "Layer
//! ChainID"). NAME is the beginning of the one digest or the other, 12 digits or more where those are taken: all names
//! of an image must go into one page for mount(2).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImageError;
use super::digest::Digest;
use crate::sys::file;

/// Digits of a name; the first number that leads to a free one.
const NAME_LENGTHS: [usize; 5] = [12, 16, 24, 32, 64];

/// The version of `layer.json`.
const VERSION: u32 = 1;

const ABOUT: &str = "layer.json";
const FILES: &str = "fs";

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    version: u32,
    /// The digest of its uncompressed archive.
    pub diff_id: Digest,
    /// Which layers are below it, where that makes a difference.
    pub chain: Option<Digest>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// Whether its archive states the mode and owner of the root. Layers of earlier stores do not say so.
    #[serde(default)]
    states_root: Option<bool>,
}

/// Whose the root of a container is, and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootAttributes {
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Default for RootAttributes {
    /// Those of a root that no layer describes.
    fn default() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
        }
    }
}

impl About {
    /// What is known of the layer in the directory `files`.
    pub fn new(
        diff_id: Digest,
        chain: Option<Digest>,
        states_root: bool,
        files: &Path,
    ) -> io::Result<Self> {
        let (mut bytes, mut inodes) = (0, 0);
        count(files, &mut bytes, &mut inodes)?;
        Ok(Self {
            version: VERSION,
            diff_id,
            chain,
            bytes,
            inodes,
            states_root: Some(states_root),
        })
    }
}

/// Adds up what the disk gives for everything in `directory`, each file once whatever its names.
fn count(directory: &Path, bytes: &mut u64, inodes: &mut u64) -> io::Result<()> {
    let mut linked = HashSet::new();
    let mut ahead = vec![directory.to_owned()];
    let mut add = |metadata: &fs::Metadata| {
        let once = metadata.is_dir() || metadata.nlink() == 1 || linked.insert(metadata.ino());
        if once {
            *bytes += metadata.blocks() * 512;
            *inodes += 1;
        }
    };
    add(&fs::symlink_metadata(directory)?);
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            add(&metadata);
            if metadata.is_dir() {
                ahead.push(entry.path());
            }
        }
    }
    Ok(())
}

/// The chain id of the layer `diff_id` above the one with the chain id `below`.
pub(super) fn chain(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}

/// All layers.
#[derive(Debug)]
pub(super) struct Layers(PathBuf);

impl Layers {
    /// Those of the store in `root`.
    pub fn of(root: &Path) -> Self {
        Self(root.join("layers"))
    }

    /// The directory that holds them.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of a layer's files.
    pub fn files(&self, name: &str) -> PathBuf {
        self.0.join(name).join(FILES)
    }

    /// The layer `diff_id` for an image in which its chain id is `chain`.
    pub fn find(&self, diff_id: &Digest, chain: &Digest) -> Option<(String, About)> {
        let alone = (diff_id.hex(), None);
        let leaning = (chain.hex(), Some(chain));
        [alone, leaning].into_iter().find_map(|(hex, chain)| {
            NAME_LENGTHS.iter().find_map(|&length| {
                let name = hex.get(..length)?;
                let about = self.about(name)?;
                let same = about.diff_id == *diff_id && about.chain.as_ref() == chain;
                same.then(|| (name.to_owned(), about))
            })
        })
    }

    /// What is known of the layer `name`; `None` where it is not there or cannot be read.
    pub fn about(&self, name: &str) -> Option<About> {
        let bytes = file::read_bounded(&self.0.join(name).join(ABOUT), 4096).ok()?;
        let about: About = serde_json::from_slice(&bytes).ok()?;
        (about.version == VERSION).then_some(about)
    }

    /// The root's attributes in the layer `name`; `None` where it does not state them.
    pub fn stated_root(&self, name: &str) -> io::Result<Option<RootAttributes>> {
        let metadata = fs::symlink_metadata(self.files(name))?;
        let found = RootAttributes {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        };
        let states = self.about(name).and_then(|about| about.states_root);
        let states = states.unwrap_or(found != RootAttributes::default());
        Ok(states.then_some(found))
    }

    /// Makes the layer in `temporary` (which holds `fs/`) one of these, durable before it is visible.
    pub fn add(&self, temporary: &Path, about: &About) -> Result<String, ImageError> {
        let failed = |operation, error| ImageError::io(operation, &self.0, error);
        let text = serde_json::to_vec(about).map_err(|source| ImageError::Json {
            subject: ABOUT.into(),
            source,
        })?;
        fs::write(temporary.join(ABOUT), text)
            .and_then(|()| Ok(nix::unistd::syncfs(File::open(temporary)?)?))
            .map_err(|error| failed("writing to", error))?;
        let hex = about.chain.as_ref().unwrap_or(&about.diff_id).hex();
        let names = NAME_LENGTHS.iter().filter_map(|&length| hex.get(..length));
        for name in names {
            match fs::rename(temporary, self.0.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => {
                    other
                        .and_then(|()| file::sync_parent(&self.0.join(name)))
                        .map_err(|error| failed("adding a layer to", error))?;
                    return Ok(name.to_owned());
                }
            }
        }
        Err(failed(
            "adding a layer to",
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    /// Takes a layer away: out of sight first, into `temporary`, which is removed with it.
    pub fn remove(&self, name: &str, temporary: &Path) -> Result<(), ImageError> {
        let failed = |error| ImageError::io("removing", &self.0.join(name), error);
        match fs::rename(self.0.join(name), temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed)?,
        }
        fs::remove_dir_all(temporary).map_err(failed)
    }

    /// The names of all layers; none where there is no store.
    pub fn names(&self) -> Result<Vec<String>, ImageError> {
        names_in(&self.0)
    }
}

/// The names of the entries of `directory`, sorted; none where it is missing.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>, ImageError> {
    let failed = |error| ImageError::io("listing", directory, error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    names.sort_unstable();
    Ok(names)
}
