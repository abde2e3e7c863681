//! Finding a mount's target without ever leaving the root filesystem (openat2(2), `RESOLVE_IN_ROOT`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

/// openat2 answers EAGAIN where a rename or mount anywhere on the machine came between.
const ATTEMPTS: usize = 64;

/// A place below a root filesystem, held open: what is mounted there later lies over what is open here.
#[derive(Debug)]
pub(super) struct Target(OwnedFd);

impl Target {
    /// Finds `target` below `rootfs`, as a process with that root would. What is missing becomes a directory.
    ///
    /// # Errors
    /// What openat2(2) and mkdirat(2) answered.
    pub fn find_or_make(rootfs: &Path, target: &str) -> io::Result<Self> {
        let root = open_root(rootfs)?;
        match open_in(root.as_fd(), Path::new(target)) {
            Err(Errno::ENOENT) => make_directories(root.as_fd(), Path::new(target))?,
            other => return Ok(Self(other?)),
        }
        Ok(Self(open_in(root.as_fd(), Path::new(target))?))
    }

    /// Finds `target` once more: what was mounted on it since.
    ///
    /// # Errors
    /// What openat2(2) answered.
    pub fn find(rootfs: &Path, target: &str) -> io::Result<Self> {
        let root = open_root(rootfs)?;
        Ok(Self(open_in(root.as_fd(), Path::new(target))?))
    }

    /// A path that leads here in this process, for calls that take no descriptor.
    pub fn as_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(rootfs, flags, Mode::empty())?)
}

fn open_in(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    resolve(root, path, ResolveFlag::RESOLVE_IN_ROOT)
}

/// Opens `path` for its place alone.
pub(super) fn resolve(from: BorrowedFd<'_>, path: &Path, how: ResolveFlag) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let mut last = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        match openat2(from, path, OpenHow::new().flags(flags).resolve(how)) {
            Err(error @ (Errno::EAGAIN | Errno::EINTR)) => last = error,
            other => return other,
        }
    }
    Err(last)
}

/// `mkdir -p`, each step resolved from the root again: a symbolic link in the middle is followed inside the root.
fn make_directories(root: BorrowedFd<'_>, path: &Path) -> nix::Result<()> {
    let mut done = PathBuf::new();
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => Path::new(name),
            Component::ParentDir => Path::new(".."),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => continue,
        };
        let next = done.join(name);
        match open_in(root, &next) {
            Err(Errno::ENOENT) => {
                mkdirat(open_in(root, &done)?, name, Mode::from_bits_truncate(0o755))?;
            }
            other => drop(other?),
        }
        done = next;
    }
    Ok(())
}
