//! Why a layer could not be unpacked.

use std::io;

use crate::images::members::TarError;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is no tar archive, a damaged one, or the stream broke.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// A name has `..` in it.
    #[error("{name:?} leads out of the image")]
    Escapes {
        /// The name.
        name: String,
    },
    /// A name that no file system has room for, or more directories in each other than are sensible.
    #[error("{name:?} is too long or too deep (4096 bytes, 256 directories)")]
    TooLong {
        /// Its beginning.
        name: String,
    },
    /// Something on the way is no directory.
    #[error("{name:?} lies in what is no directory: {part:?}")]
    NotADirectory {
        /// The name.
        name: String,
        /// What is no directory.
        part: String,
    },
    /// Symbolic links lead in a circle.
    #[error("there are too many symbolic links on the way to {name:?}")]
    TooManyLinks {
        /// The name.
        name: String,
    },
    /// A hard link to nothing.
    #[error("{name:?} is a hard link to {target:?}, which is no file of the image")]
    NoTarget {
        /// The link.
        name: String,
        /// What it is a link to.
        target: String,
    },
    /// A whiteout without the name that it removes.
    #[error("{name:?} removes nothing that can be removed")]
    Whiteout {
        /// The name.
        name: String,
    },
    /// The root directory is something else.
    #[error("the image's root is no directory")]
    Root,
    /// The disk said no.
    #[error("{operation} {name:?}")]
    Write {
        /// What was done.
        operation: &'static str,
        /// To which member.
        name: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}
