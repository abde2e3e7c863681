//! A process held by a descriptor (pidfd_open(2)): a signal reaches it or nobody, whoever has its pid by then.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::Child;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::proc;
use crate::types::{ExitStatus, Pid, ProcessIdentity, Signal};

/// `struct pidfd_info` as of Linux 6.15 (include/uapi/linux/pidfd.h): its first 64 bytes.
#[repr(C)]
#[derive(Debug, Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// Asks for `exit_code`, and says that it is there.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

nix::ioctl_readwrite! {
    /// `PIDFD_GET_INFO`.
    pidfd_get_info, 0xFF, 11, PidfdInfo
}

/// A process.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens the process that `identity` names; `None` where it has ended (a zombie has) or its pid is another's.
    ///
    /// # Errors
    /// What pidfd_open(2) or procfs answered.
    pub fn open(identity: ProcessIdentity) -> io::Result<Option<Self>> {
        let opened = match open(identity.pid.as_raw()) {
            Ok(fd) => Self(fd),
            Err(Errno::ESRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Compared when it is held: from here on the pid can become another's only after this process has ended.
        match proc::running(identity.pid) {
            Ok(found) if found == identity => Ok(Some(opened)),
            Ok(_) => Ok(None),
            Err(error) if proc_is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a child that nobody has waited for yet.
    ///
    /// # Errors
    /// What pidfd_open(2) answered.
    pub fn of_child(child: &Child) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self(open(pid)?))
    }

    /// Opens the process that has `pid` now; `None` if no process has it. Its caller confirms which one that is. A leader
    /// that is a zombie while its other threads live is one too.
    ///
    /// # Errors
    /// What pidfd_open(2) answered.
    pub fn of_any(pid: Pid) -> io::Result<Option<Self>> {
        match open(pid.as_raw()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::ESRCH) => Ok(None),
            Err(error) => Err(error.into()),
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

    /// How the process ended: `None` while it runs or nobody has taken its zombie away, and where the kernel is older
    /// than Linux 6.15 and does not tell (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, include/uapi/linux/pidfd.h). Anybody
    /// may ask, not only its parent.
    ///
    /// # Errors
    /// What ioctl(2) answered.
    pub fn exit_status(&self) -> io::Result<Option<ExitStatus>> {
        let mut info = PidfdInfo {
            mask: PIDFD_INFO_EXIT,
            ..PidfdInfo::default()
        };
        // SAFETY: the descriptor is open for the length of the call, and the kernel writes no more than the size of the
        // structure, which is part of the request's number.
        match unsafe { pidfd_get_info(self.0.as_raw_fd(), &raw mut info) } {
            Ok(_) if info.mask & PIDFD_INFO_EXIT != 0 => Ok(Some(decoded(info.exit_code))),
            Ok(_) | Err(Errno::ESRCH | Errno::ENOTTY | Errno::EINVAL) => Ok(None),
            Err(error) => Err(error.into()),
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

/// How a zombie ended, before its parent has waited for it; `None` where the process runs or is gone. Needs the right to
/// trace the process (proc_pid_stat(5), `exit_code`).
///
/// # Errors
/// What procfs answered.
pub fn exit_of_zombie(process: ProcessIdentity) -> io::Result<Option<ExitStatus>> {
    match proc::zombie(process) {
        Ok(status) => Ok(status.map(decoded)),
        Err(error) if proc_is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(pid: libc::pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) takes two numbers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd)?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A wait status as wait(2) describes it.
fn decoded(status: i32) -> ExitStatus {
    if libc::WIFEXITED(status) {
        let code = u8::try_from(libc::WEXITSTATUS(status) & 0xff).unwrap_or(u8::MAX);
        return ExitStatus::from_code(code);
    }
    u32::try_from(libc::WTERMSIG(status))
        .ok()
        .and_then(Signal::new)
        .map_or(ExitStatus::UNKNOWN, ExitStatus::from_signal)
}

fn proc_is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.0
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

    #[test]
    fn a_zombie_tells_how_it_ended_before_its_parent_waits_for_it() {
        for (script, expected) in [
            ("exit 7", ExitStatus::from_code(7)),
            ("exit 0", ExitStatus::from_code(0)),
            ("kill -KILL $$", ExitStatus::KILLED),
            ("kill -TERM $$", ExitStatus::from_code(143)),
        ] {
            let mut child = std::process::Command::new("/bin/sh");
            let mut child = child
                .args(["-c", &format!("read x; {script}")])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let identity = proc::identity(Pid::new(child.id()).unwrap()).unwrap();
            let held = Pidfd::open(identity).unwrap().unwrap();
            assert_eq!(exit_of_zombie(identity).unwrap(), None);
            drop(child.stdin.take());
            assert!(held.wait(Duration::from_secs(60)).unwrap());
            assert_eq!(
                exit_of_zombie(identity).unwrap(),
                Some(expected),
                "{script}"
            );
            child.wait().unwrap();
            assert_eq!(exit_of_zombie(identity).unwrap(), None);
        }
    }

    #[test]
    fn the_kernel_tells_anybody_how_a_process_ended_once_it_was_reaped() {
        let release = nix::sys::utsname::uname().unwrap();
        let release = release.release().to_str().unwrap().to_owned();
        for (script, expected) in [
            ("exit 7", ExitStatus::from_code(7)),
            ("kill -KILL $$", ExitStatus::KILLED),
        ] {
            let mut child = std::process::Command::new("/bin/sh");
            let mut child = child
                .args(["-c", &format!("read x; {script}")])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let identity = proc::identity(Pid::new(child.id()).unwrap()).unwrap();
            let held = Pidfd::open(identity).unwrap().unwrap();
            assert_eq!(held.exit_status().unwrap(), None);
            child.wait().unwrap();
            match held.exit_status().unwrap() {
                Some(exit) => assert_eq!(exit, expected),
                None => println!("Linux {release} does not tell how a process ended"),
            }
        }
    }
}
