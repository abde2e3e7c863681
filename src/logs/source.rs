//! Where bytes come from.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::Interest;

use crate::sys::pipe;
use crate::sys::readiness::Watched;

/// The end of a stream that is read from.
#[derive(Debug)]
pub enum Source {
    /// A pipe or fifo: it ends when its last writer is gone.
    Pipe(Watched),
    /// The master of a terminal: it ends when the last process that had the terminal open is gone.
    Terminal(Rc<Watched>),
}

impl Source {
    /// A pipe's or fifo's reading end, which is made non-blocking. Needs a runtime to be entered.
    ///
    /// # Errors
    /// What fcntl(2) or epoll_ctl(2) answered.
    pub fn pipe(read: OwnedFd) -> io::Result<Self> {
        Watched::new(read, Interest::READABLE).map(Self::Pipe)
    }

    pub(super) fn fd(&self) -> &Watched {
        match self {
            Self::Pipe(fd) => fd,
            Self::Terminal(fd) => fd,
        }
    }

    /// Reads without waiting; zero is the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match (pipe::read(self.fd(), buffer), self) {
            // The kernel's word for "no process has this terminal open any more".
            (Err(error), Self::Terminal(_)) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
            (result, _) => result,
        }
    }
}
