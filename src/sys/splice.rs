//! splice(2): bytes from pipe to pipe without a copy, and from a pipe to a file, without a buffer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::fcntl::SpliceFFlags;

use super::pipe::uninterrupted;

/// Moves up to `most` bytes from one pipe to another, never waiting; zero is the end of `source`.
///
/// # Errors
/// `WouldBlock` where `source` is empty **or** `sink` is full: [`super::pipe::ready`] tells which.
/// `BrokenPipe` where nobody can read `sink` any more. Otherwise what splice(2) answered.
pub fn splice(source: impl AsFd, sink: impl AsFd, most: usize) -> io::Result<usize> {
    let (source, sink) = (source.as_fd(), sink.as_fd());
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(uninterrupted(|| {
        nix::fcntl::splice(source, None, sink, None, most, flags)
    })?)
}

/// Moves up to `most` bytes from a pipe to `file`, which must not be open for appending, from the offset `at` on; its
/// own position stays. Zero is the end of `source`. May wait for the disk, never for the pipe.
///
/// # Errors
/// `WouldBlock` where `source` is empty; otherwise what splice(2) answered. What was not written is still in `source`.
pub fn into_file(source: impl AsFd, file: &File, at: u64, most: usize) -> io::Result<usize> {
    let source = source.as_fd();
    let at = libc::loff_t::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok(uninterrupted(|| {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        nix::fcntl::splice(source, None, file, Some(&mut at.clone()), most, flags)
    })?)
}
