//! waitid(2): look at a dead child first, take it away after.
//!
//! Between the two the child is a zombie: its `/proc` entry still tells who it was, and its pid cannot be given to another.

use std::io;

use nix::sys::wait::WaitPidFlag;

use crate::types::{ExitStatus, Pid, Signal};

/// A dead child that was not reaped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zombie {
    /// Which.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
}

/// The next dead child, left in place; `None` where none is dead. Never blocks.
///
/// # Errors
/// What waitid(2) answered; having no children at all is `Ok(None)`.
pub fn peek() -> io::Result<Option<Zombie>> {
    loop {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = match waitid_raw(libc::P_ALL, 0, flags) {
            Err(nix::errno::Errno::ECHILD) => return Ok(None),
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        return Ok(status);
    }
}

/// waitid by hand: nix turns a real-time signal's number into an error, and a container may be killed by one.
fn waitid_raw(
    kind: libc::idtype_t,
    id: libc::id_t,
    flags: WaitPidFlag,
) -> nix::Result<Option<Zombie>> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is a writable siginfo_t for the length of the call.
    let result = unsafe { libc::waitid(kind, id, info.as_mut_ptr(), flags.bits()) };
    nix::errno::Errno::result(result)?;
    // SAFETY: all zeroes is a valid siginfo_t, and the kernel has filled in the rest.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the SIGCHLD fields, or leaves the zeroes that stand for "none".
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    let low = u8::try_from(status & 0xff).unwrap_or(u8::MAX);
    let status = if info.si_code == libc::CLD_EXITED {
        ExitStatus::from_code(low)
    } else {
        Signal::new(u32::from(low & 0x7f)).map_or(ExitStatus::UNKNOWN, ExitStatus::from_signal)
    };
    Ok(Some(Zombie { pid, status }))
}

/// Takes the zombie away; its pid is free after that.
///
/// # Errors
/// What waitid(2) answered.
pub fn reap(zombie: Zombie) -> io::Result<()> {
    try_wait(zombie.pid).map(drop)
}

/// Reaps the child `pid` if it is dead: for a process that has one child and no reaper.
///
/// # Errors
/// What waitid(2) answered.
pub fn try_wait(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    Ok(waitid_raw(libc::P_PID, pid.get(), flags)?.map(|zombie| zombie.status))
}

/// Whether `pid` is a child, alive or dead, that nobody has reaped.
///
/// # Errors
/// What waitid(2) answered.
pub fn is_child(pid: Pid) -> io::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid_raw(libc::P_PID, pid.get(), flags) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::ECHILD) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sends `signal` to the child `pid`, which is not reaped, so that the pid is its own still; or to a process that was just
/// listed in a container's cgroup.
///
/// # Errors
/// What kill(2) answered.
pub fn signal_child(pid: Pid, signal: Signal) -> io::Result<()> {
    // By hand: nix's kill knows no real-time signals.
    // SAFETY: kill(2) takes two numbers and touches no memory.
    let result = unsafe { libc::kill(pid.as_raw(), i32::from(signal.get())) };
    nix::errno::Errno::result(result)?;
    Ok(())
}
