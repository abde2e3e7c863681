//! An archive's images come into the store: layers unpacked and verified, then configurations, then the index.
//!
//! ```text
//! file -> Hashed (blob) -> decompressed -> Limited -> Hashed (diff_id) -> Members -> Unpacker
//! ```
//!
//! Whatever fails or is killed before the index is written, no image is there; a complete layer may be, and is taken
//! as it is by the next load.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::{Archive, LARGEST_STREAM, Limited};
use super::compression::decoder;
use super::described::{Described, LayerSource};
use super::digest::{Digest, Hashed};
use super::error::is_full;
use super::index::{Entry, Index};
use super::layers::{About, Layers, chain};
use super::members::Members;
use super::reference::Reference;
use super::skip::Streamed;
use super::unpack::{Leaning, Outcome, Union, UnpackError, unpack};
use super::writer::Writer;
use super::{ImageError, ImageStore, docker, oci, skopeo};
use crate::sys::file;

/// How long a load waits for another one.
const PATIENCE: Duration = Duration::from_secs(300);

/// An image that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// `sha256:..` of its configuration.
    pub id: String,
    /// The names that it got; none where the archive has none.
    pub tags: Vec<String>,
    /// How many layers were unpacked.
    pub unpacked: usize,
    /// How many were there already.
    pub shared: usize,
}

impl ImageStore {
    /// Loads the images of an OCI layout (a directory, or a tar file of it), a docker archive or a directory of skopeo;
    /// archives may be compressed. Gives the one image in it the name `name` where there is one. Blocks for long.
    ///
    /// # Errors
    /// [`ImageError`]; the store is as it was then.
    pub fn load(&self, path: &Path, name: Option<&str>) -> Result<Vec<LoadedImage>, ImageError> {
        let name = name.map(Reference::parse).transpose()?;
        self.make_root()?;
        let archive = Archive::open(path, &self.root)?;
        let mut images = oci::images(&archive)?;
        for other in [skopeo::images, docker::images] {
            if images.is_none() {
                images = other(&archive)?;
            }
        }
        let mut images = images.ok_or_else(|| ImageError::Format {
            path: path.to_owned(),
        })?;
        if images.is_empty() {
            let shown = archive.path().to_string_lossy();
            return Err(ImageError::content(shown, "there is no image in it"));
        }
        if let Some(name) = name {
            let [image] = images.as_mut_slice() else {
                return Err(ImageError::content(
                    path.to_string_lossy(),
                    format!("there are {} images in it, and one name", images.len()),
                ));
            };
            image.names = vec![name];
        }
        let mut loading = Loading::new(self, PATIENCE)?;
        for image in &images {
            loading.image(image, |layer| archive.open_file(&layer.file))?;
        }
        loading.finish()
    }
}

/// Images on their way into the store. Dropped, it takes away what it added.
pub(super) struct Loading<'a> {
    root: &'a Path,
    layers: Layers,
    writer: Writer,
    /// The layers that were not there before.
    added: Vec<String>,
    entries: Vec<(Entry, Vec<u8>)>,
    loaded: Vec<LoadedImage>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        for name in &self.added {
            if let Ok(scratch) = self.writer.scratch() {
                // A layer that stays is harmless, and taken by the next load or garbage collection.
                drop(self.layers.remove(name, &scratch.path().join("gone")));
            }
        }
    }
}

impl<'a> Loading<'a> {
    /// Locks the store.
    pub fn new(store: &'a ImageStore, patience: Duration) -> Result<Self, ImageError> {
        Ok(Self {
            root: &store.root,
            layers: Layers::of(&store.root),
            writer: Writer::new(&store.root, patience)?,
            added: Vec::new(),
            entries: Vec::new(),
            loaded: Vec::new(),
        })
    }

    /// Adds an image, whose layers `open` opens.
    fn image<R: Read>(
        &mut self,
        image: &Described,
        open: impl Fn(&LayerSource) -> Result<R, ImageError>,
    ) -> Result<(), ImageError> {
        let mut names = Vec::new();
        let (mut unpacked, mut shared, mut size) = (0, 0, 0);
        let mut below: Option<Digest> = None;
        for layer in &image.layers {
            let chain = chain(below.as_ref(), &layer.diff_id);
            let (name, about) = match self.layers.find(&layer.diff_id, &chain) {
                Some(found) => {
                    shared += 1;
                    found
                }
                None => {
                    unpacked += 1;
                    self.layer(layer, &chain, &names, open(layer)?)?
                }
            };
            if !names.contains(&name) {
                size += about.bytes;
            }
            names.push(name);
            below = Some(chain);
        }
        self.describe(image, names, size, (unpacked, shared))
    }

    /// Unpacks a layer above the layers `below`, and verifies it.
    fn layer(
        &mut self,
        layer: &LayerSource,
        chain: &Digest,
        below: &[String],
        source: impl Read,
    ) -> Result<(String, About), ImageError> {
        let mut blob = Hashed::new(source);
        let outcome = self.unpack(&layer.file, below, &mut blob);
        let content_damaged = match &outcome {
            Ok(_) => true,
            Err(error) => matches!(
                error,
                ImageError::Unpack {
                    source: UnpackError::Archive(_),
                    ..
                }
            ),
        };
        // A damaged file mostly is no valid archive either: say what is the cause.
        if let (true, Some((digest, size))) = (content_damaged, &layer.blob) {
            let failed = |error| ImageError::io("reading", Path::new(&layer.file), error);
            let (found, found_size) = blob.finish().map_err(failed)?;
            if found_size != *size {
                return Err(ImageError::SizeMismatch {
                    subject: layer.file.clone(),
                    expected: *size,
                    found: found_size,
                });
            }
            verify(format!("the blob {}", layer.file), digest, &found)?;
        }
        let (unpacked, diff_id) = outcome?;
        verify(
            format!("the content of {}", layer.file),
            &layer.diff_id,
            &diff_id,
        )?;
        self.keep(unpacked, diff_id, chain)
    }

    /// Unpacks `source` above the layers `below`; answers where it is now, and the digest of its content.
    pub fn unpack(
        &mut self,
        shown: &str,
        below: &[String],
        source: impl Read,
    ) -> Result<(Unpacked, Digest), ImageError> {
        let failed = |source| unpack_error(shown, self.layers.path(), source);
        let below = below.iter().map(|name| self.layers.files(name));
        let below = below.collect::<Vec<_>>();
        let union = Union::new(below.iter().map(PathBuf::as_path))
            .map_err(|error| ImageError::io("opening", self.layers.path(), error))?;
        let scratch = self.writer.scratch()?;
        let files = scratch.path().join("layer").join("fs");
        let made = std::fs::DirBuilder::new().recursive(true).create(&files);
        made.and_then(|()| open_to_all(&files))
            .map_err(|error| ImageError::io("making", &files, error))?;
        let plain = decoder(source).map_err(|error| failed(reading(error)))?;
        let mut plain = Hashed::new(Limited::new(plain, LARGEST_STREAM));
        let outcome =
            unpack(&mut Members::new(Streamed(&mut plain)), &files, &union).map_err(failed)?;
        let (diff_id, _) = plain.finish().map_err(|error| failed(reading(error)))?;
        Ok((Unpacked { scratch, outcome }, diff_id))
    }

    /// Makes an unpacked layer one of the store's.
    pub fn keep(
        &mut self,
        unpacked: Unpacked,
        diff_id: Digest,
        chain: &Digest,
    ) -> Result<(String, About), ImageError> {
        let chain = match unpacked.outcome.leaning {
            Leaning::Alone => None,
            Leaning::OnLower => Some(chain.clone()),
        };
        let directory = unpacked.scratch.path().join("layer");
        let about = About::new(
            diff_id,
            chain,
            unpacked.outcome.states_root,
            &directory.join("fs"),
        )
        .map_err(|error| ImageError::io("counting", &directory, error))?;
        let name = self.layers.add(&directory, &about)?;
        self.added.push(name.clone());
        Ok((name, about))
    }

    /// Remembers an image whose layers are all there.
    pub fn describe(
        &mut self,
        image: &Described,
        layers: Vec<String>,
        size: u64,
        (unpacked, shared): (usize, usize),
    ) -> Result<(), ImageError> {
        let mut tags = image.names.iter().filter_map(Reference::tagged);
        let mut tags = tags.by_ref().collect::<Vec<_>>();
        tags.sort_unstable();
        tags.dedup();
        let digests = image.names_by_digest()?;
        let entry = Entry {
            id: image.id.clone(),
            tags: tags.clone(),
            digests,
            layers,
            size,
        };
        self.entries.push((entry, image.config.clone()));
        self.loaded.push(LoadedImage {
            id: image.id.to_string(),
            tags,
            unpacked,
            shared,
        });
        Ok(())
    }

    /// The layer `diff_id` with this chain id, where it is there already.
    pub fn find(&self, diff_id: &Digest, chain: &Digest) -> Option<(String, About)> {
        self.layers.find(diff_id, chain)
    }

    /// Makes the images visible.
    pub fn finish(mut self) -> Result<Vec<LoadedImage>, ImageError> {
        let (mut index, _) = Index::read(self.root)?;
        let mut configs = Vec::new();
        let written = self.write(&mut index, &mut configs);
        let visible = written.is_ok()
            // It is in place, and only the last fsync failed.
            || Index::read(self.root).is_ok_and(|(now, _)| now == index);
        if visible {
            self.added.clear();
        } else {
            for path in configs {
                drop(std::fs::remove_file(path));
            }
        }
        written?;
        Ok(std::mem::take(&mut self.loaded))
    }

    /// Writes configurations, which are added to `configs` where they were not there before, and the index.
    fn write(&mut self, index: &mut Index, configs: &mut Vec<PathBuf>) -> Result<(), ImageError> {
        for (entry, config) in self.entries.drain(..) {
            let path = self.root.join("configs").join(entry.id.hex());
            if !path.exists() {
                configs.push(path.clone());
            }
            file::replace(&path, &config)
                .map_err(|error| ImageError::io("writing", &path, error))?;
            index.add(entry);
        }
        index.write(self.root)
    }
}

/// A layer that was unpacked and is not one of the store's yet.
#[derive(Debug)]
pub(super) struct Unpacked {
    scratch: super::writer::Scratch,
    outcome: Outcome,
}

/// The root of an image that does not say whose it is.
fn open_to_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn verify(subject: String, expected: &Digest, found: &Digest) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::DigestMismatch {
        subject,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

fn reading(error: std::io::Error) -> UnpackError {
    UnpackError::Archive(super::members::TarError::Read(error))
}

fn unpack_error(layer: &str, store: &Path, source: UnpackError) -> ImageError {
    match source {
        UnpackError::Write { source, .. } if is_full(&source) => ImageError::NoSpace {
            path: store.to_owned(),
            source,
        },
        source => ImageError::Unpack {
            layer: layer.to_owned(),
            source,
        },
    }
}
