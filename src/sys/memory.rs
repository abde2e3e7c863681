//! Anonymous files, and the heap's habits.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Of the smallest size that there is; a multiple of it on some machines is too little to give back, and no harm.
const PAGE: usize = 4096;

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

/// For the environment of a program whose C library is to keep nothing for later: neither freed memory for each thread,
/// which pins pages that [`trim_heap`] could give back, nor the stacks of threads that have ended. The GNU C Library reads
/// it once, when the program starts (its manual, "Tunables"); others ignore it.
pub const TUNABLES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.pthread.stack_cache_size=0",
);

/// Takes [`TUNABLES`] out of the environment again, which children inherit; a value that somebody else has set stays. Does
/// nothing where another thread runs already.
pub fn forget_tunables() {
    let (name, value) = TUNABLES;
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads == 1 && std::env::var_os(name).is_some_and(|set| set == value) {
        // SAFETY: no other thread is there that could read the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}

/// How far below the caller's frame the stack may have been used.
const STACK_DEPTH: usize = 256 << 10;

/// Gives back the pages of the main thread's stack that deeper calls have dirtied; nothing on another thread.
pub fn trim_stack() {
    let tid = nix::unistd::gettid();
    if tid != nix::unistd::getpid() {
        return;
    }
    let frame = 0_u8;
    // A page is left for what is called from here.
    let top = ((&raw const frame).expose_provenance() & !(PAGE - 1)).saturating_sub(PAGE);
    let bottom = std::ptr::with_exposed_provenance_mut(top.saturating_sub(STACK_DEPTH));
    // SAFETY: what is below the frames of all callers, and of this call, belongs to calls that have returned. Nothing else is
    // there: the kernel keeps at least a mebibyte below the main thread's stack free (`stack_guard_gap`). That a part is not
    // mapped is an error that changes nothing about the rest (madvise(2), ENOMEM).
    unsafe { libc::madvise(bottom, STACK_DEPTH, libc::MADV_DONTNEED) };
}

/// Gives the heap's free pages back to the kernel (malloc_trim(3)).
pub fn trim_heap() {
    // SAFETY: malloc_trim may be called at any time.
    unsafe { libc::malloc_trim(0) };
}
