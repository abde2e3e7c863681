//! Passing a descriptor over a unix socket (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The bytes that come with a descriptor are its name (runc sends the path of the terminal): read and ignored.
const MOST_NAME: usize = 4096;

/// More than one descriptor in a message is not expected; this many are taken, so that they are closed and not lost.
const MOST_FDS: usize = 8;

/// Receives one message and the descriptor in it, close-on-exec; any further one in it is closed.
///
/// # Errors
/// `UnexpectedEof` where the peer closed; `InvalidData` where the message has no descriptor; else what recvmsg(2) answered.
pub fn receive(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut name = [0; MOST_NAME];
    let mut parts = [IoSliceMut::new(&mut name)];
    let mut control = nix::cmsg_space!([RawFd; MOST_FDS]);
    let message = recvmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            received.extend(fds.into_iter().map(own));
        }
    }
    match received.into_iter().next() {
        Some(fd) => Ok(fd),
        None if message.bytes == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message carries no descriptor",
        )),
    }
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed `fd` for this message, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sends `fd` with `name` beside it, which must not be empty.
///
/// # Errors
/// What sendmsg(2) answered.
pub fn send(socket: impl AsFd, name: &[u8], fd: impl AsFd) -> io::Result<()> {
    let fds = [fd.as_fd().as_raw_fd()];
    sendmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &[IoSlice::new(name)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_received_descriptor_is_the_sent_one_and_closes_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pipe = crate::sys::pipe::Pipe::new().unwrap();
        send(&theirs, b"pipe", &pipe.write).unwrap();
        let write = receive(&ours).unwrap();
        crate::sys::pipe::write(&write, b"x").unwrap();
        let mut byte = [0];
        crate::sys::pipe::read(&pipe.read, &mut byte).unwrap();
        assert_eq!(&byte, b"x");
        let flags = nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn a_message_without_a_descriptor_and_a_hang_up_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        crate::sys::pipe::write(&theirs, b"nothing").unwrap();
        assert_eq!(
            receive(&ours).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        drop(theirs);
        assert_eq!(
            receive(&ours).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
