//! splice(2): bytes from pipe to pipe without a copy and without a buffer.

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
