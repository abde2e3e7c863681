//! Anonymous files, and the heap's habits.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// An anonymous file in memory (memfd_create(2)), named `name` in `/proc`.
///
/// # Errors
/// What the kernel answered.
pub fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a NUL-terminated string for the length of the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    nix::errno::Errno::result(fd)?;
    // SAFETY: the kernel just made `fd`, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the C library keep one heap for all threads and give freed memory back early (mallopt(3)).
/// A shim is one of hundreds, and rests: an arena per short-lived thread would be dirtied for nothing.
pub fn keep_heap_small() {
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, 64 << 10),
        (libc::M_MMAP_THRESHOLD, 32 << 10),
    ] {
        // SAFETY: mallopt may be called at any time; a value that it refuses changes nothing.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives the heap's free pages back to the kernel (malloc_trim(3)).
pub fn trim_heap() {
    // SAFETY: malloc_trim may be called at any time.
    unsafe { libc::malloc_trim(0) };
}
