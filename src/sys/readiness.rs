//! A descriptor that the runtime watches (epoll(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// An owned descriptor whose readiness can be awaited. It never waits inside a call: it was made non-blocking.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Makes `fd` (and every duplicate of it) non-blocking, and registers it. A runtime must be entered.
    ///
    /// # Errors
    /// What fcntl(2) or epoll_ctl(2) answered; `PermissionDenied` for a regular file, which is always ready.
    pub fn new(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        super::pipe::set_nonblocking(&fd)?;
        // SAFETY: an OwnedFd always answers the same descriptor and keeps it open, and nobody can get at the one in here
        // but by reference, so it cannot be replaced while it is registered.
        let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
        watched.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Waits until there may be something to read, or the other side is gone.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.readable().await
    }

    /// Waits until there may be room to write, or the other side is gone.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.writable().await
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
