//! Why the stdio of a process could not be set up.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::fifo::{self, Fifo, FifoError};

/// Why the stdio of a process could not be set up. Nothing is left open or running after one of these.
#[derive(Debug, thiserror::Error)]
pub enum StdioOpenError {
    /// Nothing is at the fifo's path.
    #[error("stdio fifo {}: there is none", path.display())]
    FifoMissing {
        /// The path.
        path: PathBuf,
    },
    /// Something else is at the fifo's path.
    #[error("stdio fifo {}: it is not a fifo", path.display())]
    NotAFifo {
        /// The path.
        path: PathBuf,
    },
    /// The fifo cannot be opened.
    #[error("stdio fifo {}: open", path.display())]
    OpenFifo {
        /// The path.
        path: PathBuf,
        /// What open(2) answered.
        #[source]
        source: io::Error,
    },
    /// The log file cannot be made or opened.
    #[error("log file {}: open", path.display())]
    OpenFile {
        /// The path.
        path: PathBuf,
        /// What mkdir(2) or open(2) answered.
        #[source]
        source: io::Error,
    },
    /// No pipe could be made or watched.
    #[error("stdio pipe")]
    Pipe(#[from] io::Error),
    /// The logging binary cannot be started.
    #[error("logging binary {}: start", program.display())]
    StartLogger {
        /// The program.
        program: PathBuf,
        /// What fork(2) or execve(2) answered.
        #[source]
        source: io::Error,
    },
    /// The logging binary ended, or closed its ready pipe, without saying that it is ready.
    #[error("logging binary {}: it ended before it was ready", program.display())]
    LoggerDied {
        /// The program.
        program: PathBuf,
    },
    /// The logging binary did not become ready in time.
    #[error("logging binary {}: not ready after {after:?}", program.display())]
    LoggerLate {
        /// The program.
        program: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The socket for the terminal cannot be made.
    #[error("console socket {}: bind", path.display())]
    ConsoleSocket {
        /// Its path.
        path: PathBuf,
        /// What bind(2) or listen(2) answered.
        #[source]
        source: io::Error,
    },
    /// The OCI runtime did not send the terminal in time.
    #[error("console socket {}: no terminal came in {after:?}", path.display())]
    ConsoleLate {
        /// The socket's path.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// What the OCI runtime sent is no terminal.
    #[error("console socket {}: receive the terminal", path.display())]
    ConsoleReceive {
        /// The socket's path.
        path: PathBuf,
        /// What accept(2) or recvmsg(2) answered, or what is wrong with the message.
        #[source]
        source: io::Error,
    },
}

/// Opens both ends of the fifo at `path`.
pub(super) fn open_fifo(path: &Path) -> Result<Fifo, StdioOpenError> {
    let path = || path.to_owned();
    fifo::open(&path()).map_err(|error| match error {
        FifoError::NotAFifo => StdioOpenError::NotAFifo { path: path() },
        FifoError::Open(error) if error.kind() == io::ErrorKind::NotFound => {
            StdioOpenError::FifoMissing { path: path() }
        }
        FifoError::Open(source) => StdioOpenError::OpenFifo {
            path: path(),
            source,
        },
    })
}
