//! How many files this process may have open (getrlimit(2), RLIMIT_NOFILE), and what its children are given of that.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::dispositions;
use super::eventfd::EventFd;
use crate::types::Pid;

/// The soft limit that this process was started with, once it has another.
static STARTED_WITH: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one; answers how many files that is. Children that are started by way of [`as_started`],
/// [`lower_for_child`] or [`lower_of`] have the former limit: one that uses select(2) must not meet a descriptor above 1023.
///
/// # Errors
/// What the kernel answered.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        STARTED_WITH.get_or_init(|| soft);
    }
    Ok(hard)
}

/// Has the program run with the soft limit that this process was started with, and with default actions of all signals.
pub fn as_started(command: &mut Command) {
    let former = STARTED_WITH.get().copied();
    let restore = move || {
        dispositions::default_all();
        if let Some(soft) = former {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec `restore` makes only the system calls rt_sigaction, getrlimit and setrlimit and allocates
    // nothing.
    unsafe { command.pre_exec(restore) };
}

/// While this lives, this process has the soft limit that it was started with, and so has a child that is started.
#[derive(Debug)]
pub struct Lowered {
    soft: u64,
    hard: u64,
}

/// Lowers the soft limit for as long as it takes to start a child: posix_spawn(3) has no attribute for it. Another thread
/// that opens a file meanwhile may meet the lower limit. `None` where the limit was never raised.
///
/// # Errors
/// What the kernel answered.
pub fn lower_for_child() -> io::Result<Option<Lowered>> {
    let Some(&former) = STARTED_WITH.get() else {
        return Ok(None);
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, former.min(soft), hard)?;
    Ok(Some(Lowered { soft, hard }))
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // Fails only where the hard limit was lowered meanwhile: then its value is the most that there is.
        if setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard).is_err()
            && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
        }
    }
}

/// Gives the running process `pid` the soft limit that this process was started with (prlimit(2)).
///
/// # Errors
/// What the kernel answered.
pub fn lower_of(pid: Pid) -> io::Result<()> {
    let Some(&soft) = STARTED_WITH.get() else {
        return Ok(());
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = libc::rlimit {
        rlim_cur: soft.min(hard),
        rlim_max: hard,
    };
    let none = std::ptr::null_mut();
    // SAFETY: `limit` outlives the call, and a null pointer asks for no former limit.
    let result =
        unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_NOFILE, &raw const limit, none) };
    Errno::result(result)?;
    Ok(())
}

/// What is about to use descriptors, and how much of the reserve has to stay free for what matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// The stdio of one more process. The whole reserve must stay free, for connections, calls, exits and events.
    Stdio,
    /// One more connection. Half of the reserve must stay free, for calls, exits and events.
    Connection,
}

/// The most descriptors that are reserved; of a small limit it is a quarter.
const MOST_RESERVED: u64 = 32;

/// Refuses `demand` where only the reserve of descriptors is free.
///
/// # Errors
/// EMFILE where that is so; else what the kernel answered.
pub fn spare_reserve(demand: Demand) -> io::Result<()> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let all = MOST_RESERVED.min(soft / 4);
    let reserve = match demand {
        Demand::Stdio => all,
        Demand::Connection => all / 2,
    };
    // The kernel gives out the lowest free number (open(2)), so all below it are in use. Some above it may be too, where a
    // lower one was closed: this is an estimate, which costs one call, and the call that follows may still get EMFILE.
    let lowest = u64::try_from(EventFd::new()?.as_raw_fd()).unwrap_or(0);
    if lowest.saturating_add(reserve) < soft {
        Ok(())
    } else {
        Err(Errno::EMFILE.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_given_what_the_process_was_started_with() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Not needed by other tests of this process, which may run beside this one.
        setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).unwrap();
        assert_eq!(raise_open_files().unwrap(), hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -Sn; ulimit -Hn"]);
        as_started(&mut command);
        let output = command.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, format!("{}\n{hard}\n", hard - 1));
        let lowered = lower_for_child().unwrap();
        let lowered_to = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        drop(lowered);
        assert_eq!(lowered_to, (hard - 1, hard));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        setrlimit(Resource::RLIMIT_NOFILE, before, hard).unwrap();
    }
}
