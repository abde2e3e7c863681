//! The socket over which the OCI runtime hands out the master of a container's terminal.
//!
//! <https://github.com/opencontainers/runc/blob/main/docs/terminals.md>: the runtime connects to `--console-socket`, and
//! sends one message with the descriptor.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::warn;
use tokio::io::Interest;
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::error::StdioOpenError;
use crate::sys::{fdpass, pty};

/// What fits into `sun_path` beside its NUL (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// A listening socket in the bundle; its file goes with it.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The path for the OCI runtime, whose working directory is the bundle.
    pub(super) for_runtime: PathBuf,
}

impl ConsoleSocket {
    /// Listens at `<bundle>/<name>.console.sock`.
    pub(super) fn bind(bundle: &Path, name: &str) -> Result<Self, StdioOpenError> {
        let file = PathBuf::from(format!("{name}.console.sock"));
        let path = bundle.join(&file);
        match listen(bundle, &file) {
            Ok(listener) => {
                let fits = path.as_os_str().as_bytes().len() <= LONGEST_SOCKET_PATH;
                let for_runtime = if fits { path.clone() } else { file };
                Ok(Self {
                    listener,
                    path,
                    for_runtime,
                })
            }
            Err(source) => Err(StdioOpenError::ConsoleSocket { path, source }),
        }
    }

    /// Waits for the terminal's master.
    pub(super) async fn receive(self, deadline: Duration) -> Result<OwnedFd, StdioOpenError> {
        let path = || self.path.clone();
        match timeout(deadline, self.accept()).await {
            Ok(Ok(master)) => Ok(master),
            Ok(Err(source)) => Err(StdioOpenError::ConsoleReceive {
                path: path(),
                source,
            }),
            Err(_) => Err(StdioOpenError::ConsoleLate {
                path: path(),
                after: deadline,
            }),
        }
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept().await?;
        let master = stream
            .async_io(Interest::READABLE, || fdpass::receive(&stream))
            .await?;
        if pty::is_terminal(&master) {
            Ok(master)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the descriptor is not a terminal",
            ))
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(path:% = self.path.display(); "console socket: remove: {error}");
        }
    }
}

/// Binds through the directory's descriptor: a bundle's path may be longer than a socket's path can be.
fn listen(bundle: &Path, file: &Path) -> io::Result<UnixListener> {
    let directory = File::open(bundle)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(file);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}
