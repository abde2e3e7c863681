//! A process held by a descriptor (pidfd_open(2)): a signal reaches it or nobody, whoever has its pid by then.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::proc;
use crate::types::{ProcessIdentity, Signal};

/// A process.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens the process that `identity` names; `None` where it has ended (a zombie has) or its pid is another's.
    ///
    /// # Errors
    /// What pidfd_open(2) or procfs answered.
    pub fn open(identity: ProcessIdentity) -> io::Result<Option<Self>> {
        let pid = identity.pid.as_raw();
        // SAFETY: pidfd_open(2) takes two numbers and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = match Errno::result(fd) {
            Ok(fd) => RawFd::try_from(fd).map_err(io::Error::other)?,
            Err(Errno::ESRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
        let opened = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // Compared when it is held: from here on the pid can become another's only after this process has ended.
        match proc::running(identity.pid) {
            Ok(found) if found == identity => Ok(Some(opened)),
            Ok(_) => Ok(None),
            Err(error) if proc_is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends `signal`; `false` where the process has ended.
    ///
    /// # Errors
    /// What pidfd_send_signal(2) answered.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open for the length of the call, and a null siginfo is allowed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                i32::from(signal.get()),
                info,
                0,
            )
        };
        match Errno::result(result) {
            Ok(_) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended, `within` at most; whether it has. Blocks.
    ///
    /// # Errors
    /// What poll(2) answered.
    pub fn wait(&self, within: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        loop {
            match poll(&mut fds, limit) {
                Err(Errno::EINTR) => {}
                other => return Ok(other? > 0),
            }
        }
    }

    /// Takes the zombie away, if it is one and this process's child.
    ///
    /// # Errors
    /// What waitid(2) answered.
    pub fn reap(&self) -> io::Result<()> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        match waitid(Id::PIDFd(self.0.as_fd()), flags) {
            Ok(_) | Err(Errno::ECHILD) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn proc_is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Pid;

    #[test]
    fn a_process_is_killed_by_identity_and_one_with_another_start_time_is_not() {
        let mut child = std::process::Command::new("/bin/sleep");
        let mut child = child.arg("60").spawn().unwrap();
        let identity = proc::identity(Pid::new(child.id()).unwrap()).unwrap();
        let mut earlier = identity;
        earlier.start_ticks -= 1;
        assert!(Pidfd::open(earlier).unwrap().is_none());
        let held = Pidfd::open(identity).unwrap().unwrap();
        assert!(!held.wait(Duration::ZERO).unwrap());
        assert!(held.signal(Signal::new(9).unwrap()).unwrap());
        assert!(held.wait(Duration::from_secs(60)).unwrap());
        assert!(Pidfd::open(identity).unwrap().is_none());
        child.wait().unwrap();
        assert!(!held.signal(Signal::new(9).unwrap()).unwrap());
        held.reap().unwrap();
    }
}
