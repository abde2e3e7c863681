//! Directories of an overlayfs layer that hide those of the same name below them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// The mark (`filesystems/overlayfs.rst` of the kernel's documentation): its value is `y`.
const NAME: &std::ffi::CStr = c"trusted.overlay.opaque";

/// Whether a directory hides those of lower layers.
///
/// # Errors
/// What fgetxattr(2) answered.
pub fn is_opaque(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value = [0_u8; 8];
    // SAFETY: `directory` is open for the borrow's time, the name ends with zero, and `value` takes as many bytes as
    // it is said to have.
    let len = unsafe {
        libc::fgetxattr(
            directory.as_raw_fd(),
            NAME.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match Errno::result(len) {
        Ok(len) => Ok(len == 1 && value.first() == Some(&b'y')),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ERANGE) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Marks a directory, as who unpacks an image does.
///
/// # Errors
/// What setxattr(2) answered.
#[cfg(test)]
pub fn mark_opaque(directory: &std::path::Path) -> io::Result<()> {
    let directory = std::fs::File::open(directory)?;
    // SAFETY: the descriptor is open until the end of this function, the name ends with zero, and the value has the
    // one byte that it is said to have.
    let done = unsafe {
        libc::fsetxattr(
            directory.as_raw_fd(),
            NAME.as_ptr(),
            c"y".as_ptr().cast(),
            1,
            0,
        )
    };
    Errno::result(done).map(drop).map_err(io::Error::from)
}
