//! Named pipes: both ends of a fifo that somebody else made (fifo(7)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;

/// Both ends of one fifo, non-blocking. As long as both are held neither EPIPE nor EOF can come from the other side.
#[derive(Debug)]
pub struct Fifo {
    /// The end to read from.
    pub read: OwnedFd,
    /// The end to write to.
    pub write: OwnedFd,
}

/// Why a fifo could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FifoError {
    /// What stands at the path is something else; nothing was done to it.
    #[error("it is not a fifo")]
    NotAFifo,
    /// open(2) or stat(2) failed; `NotFound` where nothing is there.
    #[error(transparent)]
    Open(#[from] io::Error),
}

/// Opens both ends without waiting for a peer.
///
/// The reading end goes first: opening a fifo for writing only, without blocking, is ENXIO as long as nobody reads.
/// The writing end is opened through `/proc/self/fd`, so that it is the same fifo even where the path was replaced.
///
/// # Errors
/// [`FifoError`]
pub fn open(path: &Path) -> Result<Fifo, FifoError> {
    // Looked at before it is opened: opening a device can do things of its own.
    if !std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(FifoError::NotAFifo);
    }
    let read = end(path, OpenOptions::new().read(true))?;
    if !read.metadata()?.file_type().is_fifo() {
        return Err(FifoError::NotAFifo);
    }
    let same = format!("/proc/self/fd/{}", read.as_raw_fd());
    let write = end(Path::new(&same), OpenOptions::new().write(true))?;
    Ok(Fifo {
        read: read.into(),
        write: write.into(),
    })
}

/// Makes a fifo, mode 0600; one that is there already is as good.
///
/// # Errors
/// [`FifoError`]
pub fn make(path: &Path) -> Result<(), FifoError> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if std::fs::symlink_metadata(path)?.file_type().is_fifo() => Ok(()),
        Err(Errno::EEXIST) => Err(FifoError::NotAFifo),
        Err(error) => Err(FifoError::Open(error.into())),
    }
}

/// Opens the reading end alone, without waiting for a writer. It ends when the last writer that came has gone.
///
/// # Errors
/// [`FifoError`]
pub fn open_to_read(path: &Path) -> Result<OwnedFd, FifoError> {
    if !std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(FifoError::NotAFifo);
    }
    Ok(end(path, OpenOptions::new().read(true))?.into())
}

fn end(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}
