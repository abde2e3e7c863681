//! The local image store: what is in it, how archives get into it, and how a container's root filesystem is made of it.
//!
//! ```text
//! ROOT/images/                 0700
//!   images.json                which images there are, replaced whole: index
//!   configs/HEX                an image's configuration, byte for byte; its digest is the image's id
//!   layers/NAME/fs/            a layer's files, a lower directory for overlayfs: unpack
//!   layers/NAME/layer.json     what it is and how large: layers
//!   empty/                     the lower directory of an image without layers
//!   lock                       flock(2)ed by the one writer
//!   .work/                     on its way in or out; whatever a writer finds in it is left by a killed one
//! ```
//!
//! The command line loads images in a process of its own, so that nothing is decompressed in the supervisor, which
//! reads the index again when it sees another one. Readers take no lock: what the index names was there before it.
//! Layers and configurations that no image names stay until [`ImageStore::gc`], because containers may use them.
//!
//! Everything here blocks.

mod archive;
mod compression;
mod config;
mod described;
pub mod digest;
mod docker;
mod error;
mod import;
mod index;
mod layers;
mod load;
mod members;
mod oci;
mod pax;
pub mod reference;
mod remove;
mod skip;
mod skopeo;
mod sparse;
mod unpack;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::image::ImageConfiguration;

use self::digest::{Digest, is_hex_digit};
use self::index::{Entry, Index, Stamp};
use self::layers::Layers;
use self::reference::Reference;
use crate::sys::{file, mount};
use crate::types::Mount;

pub use self::error::ImageError;
pub use self::layers::RootAttributes;
pub use self::load::LoadedImage;
pub use self::members::TarError;
pub use self::remove::Freed;
pub use self::unpack::UnpackError;

/// The lower directory of an image without layers.
const EMPTY: &str = "empty";

/// The store below one directory. Clones share what they have read.
#[derive(Debug, Clone)]
pub struct ImageStore {
    /// The directory.
    root: PathBuf,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// The index as it was read.
#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    images: Vec<Arc<Image>>,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `sha256:..` of its configuration.
    pub id: String,
    /// Its names: `docker.io/library/busybox:latest`.
    pub tags: Vec<String>,
    /// Its names by the digests of its manifest and of the index that it was chosen from, where it came with them:
    /// `docker.io/library/busybox@sha256:..`.
    pub digests: Vec<String>,
    /// The names of its layers in the store, the lowest first.
    pub layers: Vec<String>,
    /// The bytes of its layers on disk.
    pub size: u64,
    /// Its configuration, without the history.
    pub config: ImageConfiguration,
}

/// What the store takes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FsInfo {
    /// Bytes of the layers' files.
    pub bytes: u64,
    /// How many files and directories.
    pub inodes: u64,
}

impl ImageStore {
    /// The store in `root`. Nothing is made yet: [`ImageStore::make_root`], or the first image, does that.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            seen: Arc::default(),
        }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a layer's files, for overlayfs's `lowerdir`.
    #[must_use]
    pub fn layer(&self, layer: &str) -> PathBuf {
        Layers::of(&self.root).files(layer)
    }

    /// All images, in the order in which they came. One whose configuration cannot be read is logged and left out.
    ///
    /// # Errors
    /// [`ImageError::Io`] and [`ImageError::Corrupt`], of the index.
    pub fn list(&self) -> Result<Vec<Arc<Image>>, ImageError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.root)?;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.stamp == stamp) {
            return Ok(seen.images.clone());
        }
        let (index, stamp) = Index::read(&self.root)?;
        let entries = index.images.into_iter();
        let images = entries.filter_map(|entry| {
            let id = entry.id.clone();
            match self.image(entry) {
                Ok(image) => Some(Arc::new(image)),
                Err(error) => {
                    log::warn!(image = id.as_str(), error:% = crate::types::error::chain(&error); "an image is not usable");
                    None
                }
            }
        });
        let images: Vec<_> = images.collect();
        *seen = Some(Seen {
            stamp,
            images: images.clone(),
        });
        Ok(images)
    }

    fn image(&self, entry: Entry) -> Result<Image, ImageError> {
        let path = self.root.join("configs").join(entry.id.hex());
        let bytes = file::read_bounded(&path, archive::LARGEST_DOCUMENT)
            .map_err(|error| ImageError::io("reading", &path, error))?;
        if Digest::of(&bytes) != entry.id {
            return Err(ImageError::Corrupt {
                path,
                reason: "its digest is another one than its name".into(),
            });
        }
        let config = described::parse_config(&path.to_string_lossy(), &bytes)?;
        Ok(Image {
            id: entry.id.to_string(),
            tags: entry.tags,
            digests: entry.digests,
            layers: entry.layers,
            size: entry.size,
            config,
        })
    }

    /// The image that people mean by `reference`: a name with or without tag or digest, the id, `sha256:` with that of
    /// the id, the manifest or its index, or the beginning of one id.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`], and as [`ImageStore::list`].
    pub fn get(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        let images = self.list()?;
        let found = find(&images, reference)?;
        Ok(Arc::clone(found))
    }

    /// What the layers take of the disk.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn fs_info(&self) -> Result<FsInfo, ImageError> {
        let layers = Layers::of(&self.root);
        let mut sum = FsInfo::default();
        for about in layers.names()?.iter().filter_map(|name| layers.about(name)) {
            sum.bytes += about.bytes;
            sum.inodes += about.inodes;
        }
        Ok(sum)
    }

    /// The mode and owner of the root of a container of `layers` (the lowest first): what the topmost layer with a
    /// member `./` states. `upper` must have them: overlayfs takes the root's from there.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn root_attributes(&self, layers: &[String]) -> Result<RootAttributes, ImageError> {
        let store = Layers::of(&self.root);
        for name in layers.iter().rev() {
            let stated = store.stated_root(name);
            let stated =
                stated.map_err(|error| ImageError::io("looking at", &store.files(name), error))?;
            if let Some(stated) = stated {
                return Ok(stated);
            }
        }
        Ok(RootAttributes::default())
    }

    /// The root filesystem of a container: `upper` over `layers` (the lowest first). `upper` and `work` are empty
    /// directories on one file system, and absolute.
    #[must_use]
    pub fn overlay_mounts(&self, layers: &[String], upper: &Path, work: &Path) -> Vec<Mount> {
        let escaped = |path: &Path| mount::escape(&path.to_string_lossy());
        let mut lower: Vec<String> = Vec::new();
        // The topmost first. Overlayfs takes no directory twice, and the lower one would add nothing.
        for layer in layers.iter().rev() {
            let path = escaped(&self.layer(layer));
            if !lower.contains(&path) {
                lower.push(path);
            }
        }
        if lower.is_empty() {
            lower.push(escaped(&self.root.join(EMPTY)));
        }
        vec![Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec![
                // An upper directory that is mounted again after a crash must not be refused (containerd does the same).
                "index=off".into(),
                format!("workdir={}", escaped(work)),
                format!("upperdir={}", escaped(upper)),
                format!("lowerdir={}", lower.join(":")),
            ],
        }]
    }

    /// Makes the directory of the store. Kubelet looks it up before there is an image (ImageFsInfo).
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn make_root(&self) -> Result<(), ImageError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root);
        made.map_err(|error| ImageError::io("making", &self.root, error))
    }
}

/// Which of `images` is meant by `reference`; see [`ImageStore::get`].
fn find<'a>(images: &'a [Arc<Image>], reference: &str) -> Result<&'a Arc<Image>, ImageError> {
    let not_found = || ImageError::NotFound {
        reference: reference.chars().take(300).collect(),
    };
    if let Ok(digest) = Digest::parse(reference) {
        let by_id = images.iter().find(|image| image.id == digest.as_str());
        let suffix = format!("@{digest}");
        let mut by_manifest = images.iter().filter(|image| {
            let mut digests = image.digests.iter();
            digests.any(|known| known.ends_with(&suffix))
        });
        return by_id.or_else(|| by_manifest.next()).ok_or_else(not_found);
    }
    if let Ok(name) = Reference::parse(reference) {
        let (tagged, digested) = (name.tagged(), name.digested());
        // The digest says more than the tag.
        let found = images.iter().find(|image| match (&digested, &tagged) {
            (Some(digested), _) => {
                image.digests.contains(digested) || is_of_repository(image, &name)
            }
            (None, Some(tagged)) => image.tags.contains(tagged),
            (None, None) => false,
        });
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let prefix = reference.strip_prefix("sha256:").unwrap_or(reference);
    if prefix.is_empty() || !prefix.bytes().all(is_hex_digit) {
        return Err(not_found());
    }
    let begins = |image: &&Arc<Image>| {
        let hex = image.id.strip_prefix("sha256:");
        hex.is_some_and(|hex| hex.starts_with(prefix))
    };
    let mut found = images.iter().filter(begins);
    match (found.next(), found.next()) {
        (None, _) => Err(not_found()),
        (Some(found), None) => Ok(found),
        (Some(first), Some(second)) => Err(ImageError::Ambiguous {
            reference: reference.to_owned(),
            first: first.id.clone(),
            second: second.id.clone(),
        }),
    }
}

/// Whether `image` has a name in the repository of `name`, and the digest of `name` as its id: that is how the image
/// of a docker archive, which has no manifest, is told exactly.
fn is_of_repository(image: &Image, name: &Reference) -> bool {
    let of_repository = image.tags.iter().any(|tag| {
        let repository = tag.rsplit_once(':').map(|(repository, _)| repository);
        repository == Some(name.repository())
    });
    let suffix = format!("@{}", image.id);
    of_repository
        && name
            .digested()
            .is_some_and(|digested| digested.ends_with(&suffix))
}
