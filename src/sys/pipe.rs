//! pipe(7), and the plain system calls that move bytes through descriptors.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::{Gid, Uid};

/// Both ends of one pipe. They block until told otherwise, each by itself.
#[derive(Debug)]
pub struct Pipe {
    /// The end to read from.
    pub read: OwnedFd,
    /// The end to write to.
    pub write: OwnedFd,
}

impl Pipe {
    /// A new pipe.
    ///
    /// # Errors
    /// What pipe2(2) answered: EMFILE, ENFILE.
    pub fn new() -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { read, write })
    }

    /// A new pipe that `uid` and `gid` may open again through `/proc/PID/fd`, which is what `/dev/stdout` is.
    ///
    /// # Errors
    /// What pipe2(2) or fchown(2) answered.
    pub fn owned_by(uid: u32, gid: u32) -> io::Result<Self> {
        let pipe = Self::new()?;
        // Both ends are one inode.
        nix::unistd::fchown(
            &pipe.read,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
        )?;
        Ok(pipe)
    }
}

/// Makes calls on `fd`, and on every duplicate of it, answer EAGAIN where they would wait.
///
/// # Errors
/// What fcntl(2) answered.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// The reading end of the pipe behind `fd` as a descriptor with flags of its own: what is set on it does not show on
/// `fd` and its duplicates. It does not wait for a writer.
///
/// # Errors
/// What open(2) of `/proc/self/fd/N` answered.
pub fn open_again(fd: impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    Ok(file.into())
}

/// read(2), begun again after a signal. Zero is the end.
///
/// # Errors
/// What read(2) answered.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = fd.as_fd();
    Ok(uninterrupted(|| nix::unistd::read(fd, buffer))?)
}

/// write(2), begun again after a signal.
///
/// # Errors
/// What write(2) answered.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let fd = fd.as_fd();
    Ok(uninterrupted(|| nix::unistd::write(fd, bytes))?)
}

pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// How many bytes are in the pipe or fifo and not read yet (FIONREAD; either end may ask).
///
/// # Errors
/// What ioctl(2) answered.
pub fn unread(fd: impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call; FIONREAD writes one int to the pointer, which is valid for it.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    nix::errno::Errno::result(result)?;
    usize::try_from(count).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Makes a pipe hold `bytes`, where it holds less (fcntl(2), F_SETPIPE_SZ).
///
/// # Errors
/// `PermissionDenied` past what the user may have; what is in the pipe stays.
pub fn grow(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    let fd = fd.as_fd();
    let wanted = i32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    if fcntl(fd, FcntlArg::F_GETPIPE_SZ)? < wanted {
        fcntl(fd, FcntlArg::F_SETPIPE_SZ(wanted))?;
    }
    Ok(())
}

/// Whether nothing is in the pipe that `read` is the reading end of, and nobody can write to it any more.
///
/// # Errors
/// What poll(2) answered.
pub fn is_spent(read: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
    uninterrupted(|| nix::poll::poll(&mut fds, PollTimeout::ZERO))?;
    let [read] = fds;
    Ok(read.revents() == Some(PollFlags::POLLHUP))
}

/// Which of the two could go on right now; the end of a stream and an error count as "can".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The one to read from has bytes, or ended.
    pub source: bool,
    /// The one to write to has room, or is broken.
    pub sink: bool,
}

/// Asks, without waiting, what keeps bytes from going from `source` to `sink`.
///
/// # Errors
/// What poll(2) answered.
pub fn ready(source: impl AsFd, sink: impl AsFd) -> io::Result<Ready> {
    let mut fds = [
        PollFd::new(source.as_fd(), PollFlags::POLLIN),
        PollFd::new(sink.as_fd(), PollFlags::POLLOUT),
    ];
    uninterrupted(|| nix::poll::poll(&mut fds, PollTimeout::ZERO))?;
    let [source, sink] = fds.map(|fd| fd.any().unwrap_or(true));
    Ok(Ready { source, sink })
}

/// Whether a child of this process has the reading end of the pipe behind `pipe` open. One pass over the children's
/// `/proc/PID/fd` (proc(5)); their own children are not looked at, since who is left without a parent becomes a child of
/// a subreaper.
///
/// # Errors
/// procfs cannot tell, for example for want of `CONFIG_PROC_CHILDREN`.
pub fn read_by_a_child(pipe: impl AsFd) -> io::Result<bool> {
    let own = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
    let pipe = fs::read_link(own)?;
    for task in fs::read_dir("/proc/self/task")? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        if children
            .split_ascii_whitespace()
            .any(|pid| reads(pid, &pipe))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn reads(pid: &str, pipe: &Path) -> bool {
    const OPEN_FOR_READING: u32 = 0o400;
    // A child that has just died has no descriptors any more.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target == pipe)
            && descriptor
                .metadata()
                .is_ok_and(|link| link.mode() & OPEN_FOR_READING != 0)
    })
}
