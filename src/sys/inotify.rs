//! inotify(7): a file's changes, as readiness of a descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify as NixInotify};

/// A non-blocking inotify instance whose events are counted, not told apart.
#[derive(Debug)]
pub struct Inotify(NixInotify);

impl Inotify {
    /// Watches the file at `path` for modifications.
    ///
    /// # Errors
    /// What inotify_init1(2) or inotify_add_watch(2) answered: `NotFound` where there is no such file, EMFILE at the
    /// user's limit of instances, ENOSPC at that of watches.
    pub fn of_modifications(path: &Path) -> io::Result<Self> {
        let inotify = NixInotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        Ok(Self(inotify))
    }

    /// Takes every event that is there. Never blocks.
    ///
    /// # Errors
    /// What read(2) answered.
    pub fn drain(&self) -> io::Result<()> {
        let mut events = [0_u8; 1024];
        loop {
            match nix::unistd::read(self.0.as_fd(), &mut events) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
