//! Exits on disk: written before anybody is told.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::warn;
use tokio::time::sleep;

use super::error::ShimError;
use super::task::Shared;
use super::task::facts::Fact;
use crate::bundle::exit_journal::{COMPACT_AT, ExitEntry, ExitJournal};
use crate::sys::worker;
use crate::types::ExecId;

/// How long the record of an exit that could not be written waits for its next attempt.
const FIRST_RECORD_PAUSE: Duration = Duration::from_secs(1);
const LAST_RECORD_PAUSE: Duration = Duration::from_secs(60);

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
        let written = worker::run(write).await.map_err(|_| ShimError::Worker {
            operation: "record an exit",
        })?;
        written.map_err(|source| ShimError::Io {
            operation: "append to",
            path,
            source,
        })
    }
}

/// Writes an exit to disk, then tells the task's actor, which announces it. A disk that cannot take it holds nothing up:
/// the exit is announced, and its record tried again for as long as the task is there.
pub async fn record(shared: Rc<Shared>, entry: ExitEntry, not_deleted: Vec<ExecId>) {
    let (key, exit) = (entry.exec.clone(), entry.record());
    let container = shared.caller.id.as_str();
    let mut written = shared
        .journal
        .append(entry.clone(), not_deleted.clone())
        .await;
    // The actor may have ended, and then nobody needs to know.
    drop(shared.facts.send(Fact::Recorded(key, exit)));
    let mut pause = FIRST_RECORD_PAUSE;
    while let Err(error) = written {
        warn!(container = container, pid = exit.pid.get(), status = exit.status.get(); "{}", error.chain());
        sleep(pause).await;
        if shared.facts.is_closed() {
            return;
        }
        pause = (pause * 2).min(LAST_RECORD_PAUSE);
        written = shared
            .journal
            .append(entry.clone(), not_deleted.clone())
            .await;
    }
}
