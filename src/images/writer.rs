//! The one process that changes the store at a time: the lock, and what a killed predecessor left.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::ImageError;

/// How often a lock that another one holds is asked for.
const RETRY: Duration = Duration::from_millis(20);

/// Where layers are on their way in or out.
const WORK: &str = ".work";

/// The store, locked (flock(2)): the lock goes with the process.
#[derive(Debug)]
pub(super) struct Writer {
    work: PathBuf,
    next: u32,
    _lock: Flock<File>,
}

impl Writer {
    /// Locks the store in `root`, which is made where it is missing, and removes what a killed writer left.
    /// Waits for another writer, `patience` at most.
    pub fn new(root: &Path, patience: Duration) -> Result<Self, ImageError> {
        for directory in [
            root,
            &root.join("layers"),
            &root.join("configs"),
            &root.join(super::EMPTY),
        ] {
            make_directory(directory)?;
        }
        let path = root.join("lock");
        let lock = lock(&path, patience)?;
        let work = root.join(WORK);
        remove_all(&work)?;
        make_directory(&work)?;
        Ok(Self {
            work,
            next: 0,
            _lock: lock,
        })
    }

    /// A directory for something on its way, with the path of nothing yet in it.
    pub fn scratch(&mut self) -> Result<Scratch, ImageError> {
        let path = self.work.join(self.next.to_string());
        self.next += 1;
        make_directory(&path)?;
        Ok(Scratch(path))
    }
}

/// A directory that is removed in the end, where nobody moved it away.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is removed by the next writer.
        drop(remove_all(&self.0));
    }
}

fn make_directory(path: &Path) -> Result<(), ImageError> {
    // Only root goes in: there are set-user-ID programs and devices in layers.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| ImageError::io("making", path, error))
}

fn remove_all(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| ImageError::io("removing", path, error)),
    }
}

fn lock(path: &Path, patience: Duration) -> Result<Flock<File>, ImageError> {
    let failed = |error| ImageError::io("locking", path, error);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = opened.open(path).map_err(failed)?;
    let deadline = Instant::now() + patience;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() >= deadline => {
                return Err(ImageError::Busy {
                    path: path.to_owned(),
                    seconds: patience.as_secs(),
                });
            }
            Err((same, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                file = same;
                thread::sleep(RETRY);
            }
            Err((_, error)) => return Err(failed(error.into())),
        }
    }
}
