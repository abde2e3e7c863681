//! Unix stream sockets in the file system.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The longest path of a socket that containerd makes, in bytes (unix(7) has 107 and a NUL).
pub const MAX_PATH_LEN: usize = 106;

/// What stands at a socket's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Somebody listens.
    Alive,
    /// A socket that nobody listens on.
    Dead,
    /// Nothing.
    Absent,
}

/// Whether somebody listens on `path`.
///
/// # Errors
/// What connect(2) answered, where that tells neither.
pub fn presence(path: &Path) -> io::Result<Presence> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(Presence::Alive),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(Presence::Dead),
            io::ErrorKind::NotFound => Ok(Presence::Absent),
            // A full backlog has somebody behind it.
            io::ErrorKind::WouldBlock => Ok(Presence::Alive),
            _ => Err(error),
        },
    }
}

/// Listens on `path`, mode 0600, in a directory that is made with mode 0700 where it is missing.
///
/// # Errors
/// `AddrInUse` where something stands at `path`; else what the kernel answered.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_PATH_LEN {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("path of more than {MAX_PATH_LEN} bytes"),
        ));
    }
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    // Between the two the directory's mode and the peer check keep others out.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes over the listening socket that this process was started with as `fd`.
///
/// # Errors
/// `InvalidInput` where `fd` is not open or no listening socket.
pub fn inherited_listener(fd: RawFd) -> io::Result<UnixListener> {
    // SAFETY: F_GETFD takes any number and touches no memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    nix::errno::Errno::result(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `fd` is open, and this process was started with it for nobody else.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    if !nix::sys::socket::getsockopt(&owned, nix::sys::socket::sockopt::AcceptConn)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    nix::fcntl::fcntl(
        &owned,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )?;
    let listener = UnixListener::from(owned);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
