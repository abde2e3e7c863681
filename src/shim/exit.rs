//! Exits on disk: written before anybody is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use log::warn;
use tokio::task::spawn_blocking;

use super::error::ShimError;
use crate::bundle::exit_journal::{COMPACT_AT, ExitEntry, ExitJournal};
use crate::types::ExecId;

/// The exit journal of one container; cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    // Written by worker threads alone, one after the other.
    file: Arc<Mutex<ExitJournal>>,
}

impl Journal {
    /// The journal at `path`, which need not be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            file: Arc::new(Mutex::new(ExitJournal::new(path.clone()))),
            path,
        }
    }

    /// Appends `entry`, durably, on a worker thread, since a disk may be slow. A journal that has grown long keeps only
    /// init's exit and those of the execs that are `not_deleted`.
    ///
    /// # Errors
    /// [`ShimError::Io`] names the journal.
    pub async fn append(
        &self,
        entry: ExitEntry,
        not_deleted: Vec<ExecId>,
    ) -> Result<(), ShimError> {
        let file = self.file.clone();
        let path = self.path.clone();
        let write = move || {
            let mut journal = file.lock().unwrap_or_else(PoisonError::into_inner);
            let length = journal.append(&entry)?;
            if length >= COMPACT_AT {
                let is_wanted = |entry: &ExitEntry| {
                    entry
                        .exec
                        .as_ref()
                        .is_none_or(|exec| not_deleted.contains(exec))
                };
                if let Err(error) = journal.compact(is_wanted) {
                    warn!("compact the exit journal: {error}");
                }
            }
            Ok(())
        };
        let written = spawn_blocking(write).await.map_err(|_| ShimError::Worker {
            operation: "record an exit",
        })?;
        written.map_err(|source| ShimError::Io {
            operation: "append to",
            path,
            source,
        })
    }
}
