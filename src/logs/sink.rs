//! Where bytes go.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;

use super::log::LogWriter;
use crate::sys::pipe;
use crate::sys::readiness::Watched;

/// The end of a stream that is written to.
#[derive(Debug)]
pub enum Sink {
    /// A fifo, the pipe of a logger, or a container's stdin: full means that the writer on the other side has to wait.
    Pipe(Watched),
    /// The master of a terminal.
    Terminal(Rc<Watched>),
    /// A file, plain or in the CRI format; two streams may share it.
    Log(LogWriter),
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
