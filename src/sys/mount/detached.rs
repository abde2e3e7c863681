//! Mounts that are in no directory yet: open_tree(2), mount_setattr(2), move_mount(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// How much of a tree of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The mount alone.
    One,
    /// It and all below.
    Whole,
}

impl Depth {
    fn flag(self) -> libc::c_uint {
        match self {
            Self::One => 0,
            Self::Whole => AT_RECURSIVE,
        }
    }
}

// From `linux/mount.h` and `linux/fcntl.h`; libc has them for other systems only, or signed.
const AT_EMPTY_PATH: libc::c_uint = 0x1000;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = 0o2_000_000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A copy of the mount at `place`, with its owners mapped through `userns`, in no directory. It goes when it is closed.
///
/// # Errors
/// What open_tree(2) or mount_setattr(2) answered: `InvalidInput` where the filesystem cannot be idmapped or is already.
pub(super) fn idmapped(
    place: BorrowedFd<'_>,
    depth: Depth,
    userns: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let tree = clone(place, depth)?;
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns_fd: u64::try_from(userns.as_raw_fd()).map_err(io::Error::other)?,
    };
    let flags = AT_EMPTY_PATH | depth.flag();
    // SAFETY: both descriptors are open, the path is a constant, and `attr` is of the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    Errno::result(result)?;
    Ok(tree)
}

fn clone(place: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | depth.flag();
    // SAFETY: the descriptor is open and the path is a constant.
    let result =
        unsafe { libc::syscall(libc::SYS_open_tree, place.as_raw_fd(), c"".as_ptr(), flags) };
    let fd = RawFd::try_from(Errno::result(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a detached mount on `target`.
///
/// # Errors
/// What move_mount(2) answered.
pub(super) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let empty = c"".as_ptr();
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both descriptors are open and the paths are constants.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            empty,
            target.as_raw_fd(),
            empty,
            flags,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
