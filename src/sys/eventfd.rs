//! eventfd(2): a counter that the kernel raises and an event loop waits for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd as NixEventFd};

/// A non-blocking eventfd.
#[derive(Debug)]
pub struct EventFd(NixEventFd);

impl EventFd {
    /// A new one, at zero.
    ///
    /// # Errors
    /// What eventfd(2) answered.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(NixEventFd::from_flags(flags)?))
    }

    /// Takes the count and leaves zero; zero where nothing was signalled. Never blocks.
    ///
    /// # Errors
    /// What read(2) answered.
    pub fn drain(&self) -> io::Result<u64> {
        loop {
            return match self.0.read() {
                Ok(count) => Ok(count),
                Err(Errno::EAGAIN) => Ok(0),
                Err(Errno::EINTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
