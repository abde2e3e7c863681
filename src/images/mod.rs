//! The local image store: what is in it, how archives get into it, and how a container's root filesystem is made of it.

use std::path::PathBuf;

/// The store below one directory.
#[derive(Debug, Clone)]
pub struct ImageStore {
    /// The directory.
    root: PathBuf,
}

impl ImageStore {
    /// The store in `root`, which is made with the first image.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory of a layer's files, for overlayfs's `lowerdir`.
    #[must_use]
    pub fn layer(&self, layer: &str) -> PathBuf {
        self.root.join("layers").join(layer).join("fs")
    }
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `sha256:..` of its configuration.
    pub id: String,
    /// Its names: `docker.io/library/busybox:latest`.
    pub tags: Vec<String>,
    /// The names of its layers in the store, the lowest first.
    pub layers: Vec<String>,
    /// The bytes of its layers on disk.
    pub size: u64,
    /// Its configuration.
    pub config: oci_spec::image::ImageConfiguration,
}
