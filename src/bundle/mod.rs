//! The bundle directory as a contract between processes: what a shim leaves on disk for whoever comes after it.
//!
//! containerd makes the directory, with `config.json`; the shim adds what is listed in [`layout`]. Written by the
//! shim alone, durably; read by its `delete` action after its death, and by a supervisor. A reader never fails on
//! what it finds: [`Read`] says what is there.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::file;

pub mod endpoint;
pub mod exit_journal;
pub mod layout;
pub mod runtime;

pub use exit_journal::{ExitEntry, ExitJournal, Exits, Tail};
pub use layout::Bundle;
pub use runtime::RuntimeRecord;

/// What a reader found.
#[derive(Debug)]
pub enum Read<T> {
    /// The content.
    Found(T),
    /// No such file.
    Absent,
    /// A file that cannot be believed: where, and why.
    Corrupt(PathBuf, CorruptReason),
}

/// Why a file cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum CorruptReason {
    /// The file could not be read, or is larger than any that the shim writes.
    #[error("unreadable")]
    Unreadable(#[source] io::Error),
    /// The file is not of this kind at all.
    #[error("not a file of this kind")]
    Foreign,
    /// A later shim wrote it.
    #[error("version {0} is not known")]
    Version(u32),
    /// A part of it is not as it must be.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// The bytes of the file at `path`, at most `limit`.
#[must_use]
pub fn read_bytes(path: &Path, limit: u64) -> Read<Vec<u8>> {
    match file::read_at_once(path, limit) {
        Ok(bytes) => Read::Found(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Read::Absent,
        Err(error) => Read::Corrupt(path.into(), CorruptReason::Unreadable(error)),
    }
}

impl<T> Read<T> {
    /// Goes on with what was found, at `path`.
    pub fn and_parse<U>(
        self,
        path: &Path,
        parse: impl FnOnce(T) -> Result<U, CorruptReason>,
    ) -> Read<U> {
        match self {
            Self::Found(content) => match parse(content) {
                Ok(parsed) => Read::Found(parsed),
                Err(reason) => Read::Corrupt(path.into(), reason),
            },
            Self::Absent => Read::Absent,
            Self::Corrupt(path, reason) => Read::Corrupt(path, reason),
        }
    }
}
