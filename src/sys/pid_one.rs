//! What the first process of a pid namespace does for itself: it waits for signals, sees nothing of the host and may
//! do nothing there.

use std::io;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Gid, Uid};

/// The user and group `nobody`: the kernel's own overflow ids (proc(5), `overflowuid`).
const NOBODY: u32 = 65534;

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A child has ended.
    Child,
    /// SIGTERM or SIGINT from outside of the pid namespace.
    End,
    /// One that asks for nothing: the same from within.
    Nothing,
}

/// The signals that are waited for, blocked from now on in this process, which has one thread.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks them. A blocked signal waits even where pid 1 would not be given it (pid_namespaces(7)).
    ///
    /// # Errors
    /// What sigprocmask(2) answered.
    pub fn block() -> io::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
        Ok(Self(set))
    }

    /// Waits for the next one. Blocks.
    ///
    /// # Errors
    /// What sigwaitinfo(2) answered.
    pub fn wait(&self) -> io::Result<Received> {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the set and `info` outlive the call, which writes no more than one siginfo_t.
        let number = unsafe { libc::sigwaitinfo(self.0.as_ref(), info.as_mut_ptr()) };
        if number < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(Received::Nothing),
                _ => Err(error),
            };
        }
        if number == libc::SIGCHLD {
            return Ok(Received::Child);
        }
        // SAFETY: all zeroes is a valid siginfo_t, and the kernel has filled in the rest.
        let info = unsafe { info.assume_init() };
        // SAFETY: kill(2) fills in the sender, and the zeroes stand for "none" otherwise.
        let sender = unsafe { info.si_pid() };
        // A sender in another pid namespace has no pid in this one: the kernel says 0.
        Ok(if sender == 0 {
            Received::End
        } else {
            Received::Nothing
        })
    }
}

/// Gives this process a mount namespace with one empty, read-only directory, so that `/proc/1/root` leads nowhere.
///
/// # Errors
/// What unshare(2), mount(2) or pivot_root(2) answered.
pub fn hide_host() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // On any directory that surely is there.
    mount(
        Some("empty"),
        "/proc",
        Some("tmpfs"),
        flags,
        Some("size=4k"),
    )?;
    nix::unistd::chdir("/proc")?;
    // The old root comes to lie on the new one, and is taken off (pivot_root(2), "pivot_root(".", ".")").
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(())
}

/// Makes this process nobody, without capabilities and without a way to get any.
///
/// # Errors
/// What prctl(2), setgroups(2), setresgid(2) or setresuid(2) answered.
pub fn give_up_privileges() -> io::Result<()> {
    // SAFETY: this option takes numbers and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    nix::errno::Errno::result(result)?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    // From root to another user: the kernel clears the capabilities (capabilities(7)).
    nix::unistd::setresuid(uid, uid, uid)?;
    Ok(())
}
