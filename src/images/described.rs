//! What an archive says about an image in it, before its layers are looked at; and which machine images are for.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::ImageConfiguration;

use super::ImageError;
use super::config;
use super::digest::Digest;
use super::reference::Reference;

/// Layers of an image, at most: more names than that do not go into one page for mount(2).
const MOST_LAYERS: usize = 200;

/// Names of an image by its digests, at most: they are the product of two lists that an archive brings.
const MOST_NAMES: usize = 100_000;

/// An image in an archive.
#[derive(Debug)]
pub(super) struct Described {
    /// Its names in the archive.
    pub names: Vec<Reference>,
    /// The digests that it is named by: of its manifest, and of each index that leads to it. None in an archive without
    /// OCI manifests.
    pub digests: Vec<Digest>,
    /// The digest of its configuration.
    pub id: Digest,
    /// Its configuration, as it is in the archive.
    pub config: Vec<u8>,
    /// The lowest first.
    pub layers: Vec<LayerSource>,
}

impl Described {
    /// Each repository of the names with each digest, sorted.
    ///
    /// # Errors
    /// They are more than [`MOST_NAMES`].
    pub fn names_by_digest(&self) -> Result<Vec<String>, ImageError> {
        let repositories: BTreeMap<_, _> = self
            .names
            .iter()
            .map(|name| (name.repository(), name))
            .collect();
        let digests: BTreeSet<_> = self.digests.iter().collect();
        if repositories.len().saturating_mul(digests.len()) > MOST_NAMES {
            return Err(ImageError::content(
                self.id.as_str(),
                format!(
                    "it has {} repositories and {} digests, more than {MOST_NAMES} names together",
                    repositories.len(),
                    digests.len()
                ),
            ));
        }
        let names = repositories.values().flat_map(|name| {
            let digests = digests.iter();
            digests.map(|digest| name.with_digest(digest))
        });
        Ok(names.collect())
    }
}

/// A layer in an archive.
#[derive(Debug)]
pub(super) struct LayerSource {
    /// The digest of its content, uncompressed.
    pub diff_id: Digest,
    /// Its name in the archive.
    pub file: String,
    /// What the archive says of the file itself: its digest and size.
    pub blob: Option<(Digest, u64)>,
}

/// Reads a configuration.
pub(super) fn parse_config(subject: &str, bytes: &[u8]) -> Result<ImageConfiguration, ImageError> {
    config::parse(bytes).map_err(|source| ImageError::Json {
        subject: subject.to_owned(),
        source,
    })
}

/// The layers' digests in a configuration, which must be as many as the archive has layers.
pub(super) fn diff_ids(
    subject: &str,
    config: &ImageConfiguration,
    layers: usize,
) -> Result<Vec<Digest>, ImageError> {
    let ids = config.rootfs().diff_ids();
    if ids.len() != layers {
        return Err(ImageError::content(
            subject,
            format!(
                "it has {} layers, and the configuration {} diff_ids",
                layers,
                ids.len()
            ),
        ));
    }
    if layers > MOST_LAYERS {
        return Err(ImageError::content(
            subject,
            format!("it has {layers} layers, more than {MOST_LAYERS}"),
        ));
    }
    let ids = ids.iter().map(|id| {
        Digest::parse(id).map_err(|source| ImageError::Digest {
            subject: format!("the rootfs of {subject}"),
            source,
        })
    });
    ids.collect()
}

/// This machine, as Go and so OCI call it (image-index.md, "platform").
pub(super) fn this_machine() -> (&'static str, &'static str) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    ("linux", architecture)
}

/// Whether an image for `os` and `architecture` runs here. Where an image says nothing, it is taken.
pub(super) fn runs_here(os: &str, architecture: &str) -> bool {
    let (own_os, own_architecture) = this_machine();
    let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
    let architecture = go_name(&architecture);
    (os.is_empty() || os == own_os) && (architecture.is_empty() || architecture == own_architecture)
}

/// Other spellings of architectures, those that containerd takes (`normalizeArch` of containerd/platforms, database.go).
fn go_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        "armhf" | "armel" => "arm",
        other => other,
    }
}

/// Nothing for this machine: there is only `found`.
pub(super) fn wrong_platform(subject: &str, mut found: Vec<String>) -> ImageError {
    let (os, architecture) = this_machine();
    found.sort_unstable();
    found.dedup();
    ImageError::Platform {
        subject: subject.to_owned(),
        found: found.join(", "),
        wanted: format!("{os}/{architecture}"),
    }
}
