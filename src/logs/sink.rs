//! Where bytes go.

use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use tokio::io::Interest;

use super::flow::Flow;
use crate::sys::pipe;
use crate::sys::readiness::Watched;

/// The end of a stream that is written to.
#[derive(Debug)]
pub enum Sink {
    /// A fifo, the pipe of a logger, or a container's stdin: full means that the writer on the other side has to wait.
    Pipe(Watched),
    /// The master of a terminal.
    Terminal(Rc<Watched>),
    /// A file; two streams may share it.
    File(Rc<AppendFile>),
    /// Nothing takes the bytes: they are drained and counted as dropped.
    Nowhere,
}

/// The pauses between two looks at what a reader has left unread.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Sink {
    /// A pipe's or fifo's writing end, which is made non-blocking. Needs a runtime to be entered.
    ///
    /// # Errors
    /// What fcntl(2) or epoll_ctl(2) answered.
    pub fn pipe(write: OwnedFd) -> io::Result<Self> {
        Watched::new(write, Interest::WRITABLE).map(Self::Pipe)
    }

    /// Keeps a fifo's writing end open until everything in it was read, then closes it, which is the reader's EOF.
    ///
    /// A reader that comes late can neither open a fifo without writers (it would wait in open(2)) nor get at the
    /// bytes in it; so while there are any, a writer stays. Never ends by itself where nobody comes: the caller stops it.
    pub async fn close_when_read(self) {
        let Self::Pipe(write) = self else { return };
        let mut pause = FIRST_LOOK;
        // The kernel tells nobody that a pipe became empty, hence the looking.
        while pipe::unread(&write).is_ok_and(|unread| unread > 0) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A file that is appended to, whatever happens to it.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    path: PathBuf,
    /// What the incident under way has cost so far, if one is.
    lost: Cell<Option<u64>>,
}

impl AppendFile {
    /// Opens or makes the file, 0644, and the directories above it, 0755 (as containerd's
    /// `cmd/containerd-shim-runc-v2/process/io.go`).
    ///
    /// # Errors
    /// What mkdir(2) or open(2) answered.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        // Non-blocking does nothing to a regular file, and keeps open(2) from waiting on whatever else is there.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            lost: Cell::new(None),
        })
    }

    /// Writes `bytes`, or loses what the file does not take: a full disk must not stop the container
    /// (<https://github.com/containerd/containerd/issues/12462>). Each call tries anew, and each incident is told once.
    pub(super) fn append(&self, mut bytes: &[u8], flow: &Flow) {
        while !bytes.is_empty() {
            match pipe::write(&self.file, bytes) {
                Ok(written) if written > 0 => {
                    flow.count_moved(written);
                    bytes = bytes.get(written..).unwrap_or_default();
                    self.recovered();
                }
                Ok(_) => return self.lose(bytes.len(), &io::ErrorKind::WriteZero.into(), flow),
                Err(error) => return self.lose(bytes.len(), &error, flow),
            }
        }
    }

    fn lose(&self, bytes: usize, error: &io::Error, flow: &Flow) {
        flow.count_dropped(bytes);
        if self.lost.get().is_none() {
            warn!(path:% = self.path.display(); "log file takes no bytes, they are dropped: {error}");
        }
        let lost = self.lost.get().unwrap_or(0);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.lost.set(Some(lost.saturating_add(bytes)));
    }

    fn recovered(&self) {
        if let Some(dropped) = self.lost.take() {
            info!(path:% = self.path.display(), dropped = dropped; "log file takes bytes again");
        }
    }
}
