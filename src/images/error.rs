//! Why an image could not be loaded, found or removed.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::NotADigest;
use super::reference::ReferenceError;
use super::unpack::UnpackError;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file system call failed.
    #[error("{operation} {path:?}")]
    Io {
        /// Which.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk, or a quota on it, is full. Nothing of the image was kept.
    #[error("no space left for the image store {path:?}")]
    NoSpace {
        /// The store.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// Another process is writing to the store.
    #[error(
        "the image store is locked by another process: {path:?} was not free within {seconds} s"
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// A file of the store cannot be read: damaged, or of a later version.
    #[error("{path:?} is not usable: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not an image's name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No such image.
    #[error("no image {reference:?}")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// More than one image's id begins with it.
    #[error("{reference:?} is the beginning of more than one image's id: {first}, {second}")]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// Neither kind of archive.
    #[error(
        "{path:?} is no OCI layout (oci-layout and index.json), no docker archive (manifest.json) and no directory of \
         skopeo (version and manifest.json)"
    )]
    Format {
        /// The archive.
        path: PathBuf,
    },
    /// The file is no archive that can be read.
    #[error("reading the archive {path:?}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: super::members::TarError,
    },
    /// A file of a directory is a symbolic link to something outside of it.
    #[error(
        "{name:?} is a symbolic link that leads out of {path:?}; copy the directory with its links followed (cp -RL)"
    )]
    LeadsOut {
        /// Its name in the directory.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// Something that another part of the archive speaks of.
    #[error("{name:?} is not in the archive")]
    Missing {
        /// Its name in the archive.
        name: String,
    },
    /// Content is not what its digest says.
    #[error("{subject} is damaged: its digest is {found}, and should be {expected}")]
    DigestMismatch {
        /// What: `the blob blobs/sha256/..`.
        subject: String,
        /// As it is referred to.
        expected: String,
        /// Of its bytes.
        found: String,
    },
    /// A blob has another size than its descriptor says.
    #[error("{subject} has {found} bytes, and should have {expected}")]
    SizeMismatch {
        /// What.
        subject: String,
        /// As it is referred to.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// Larger than anything sensible.
    #[error("{subject} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        subject: String,
        /// How large it may be.
        limit: u64,
    },
    /// A digest that is none.
    #[error("{subject}")]
    Digest {
        /// Where it is: `index.json`.
        subject: String,
        /// Why.
        #[source]
        source: NotADigest,
    },
    /// A document is no JSON, or not of the right shape.
    #[error("{subject} is not valid")]
    Json {
        /// Which.
        subject: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A document says what cannot be.
    #[error("{subject}: {reason}")]
    Content {
        /// Which.
        subject: String,
        /// What.
        reason: String,
    },
    /// None for this machine.
    #[error("{subject} is for {found}, and this machine is {wanted}")]
    Platform {
        /// Which image.
        subject: String,
        /// What there is.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// A layer could not be unpacked.
    #[error("unpacking {layer}")]
    Unpack {
        /// Which.
        layer: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
}

impl ImageError {
    /// `operation` on `path` failed.
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::NoSpace {
                path: path.to_owned(),
                source,
            };
        }
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Something that a document says.
    pub(super) fn content(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Content {
            subject: subject.into(),
            reason: reason.into(),
        }
    }
}

/// Whether there is no room, on the disk or for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
