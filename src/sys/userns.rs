//! A user namespace that exists only for its id mappings, as mount_setattr(2) wants one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

/// A range of ids, as user_namespaces(7) maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside; for an idmapped mount the id that the filesystem stores.
    pub inside: u32,
    /// The first id outside; for an idmapped mount the owner that is seen.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// The mappings of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

/// Makes a user namespace with these mappings. It lives until the descriptor and every mount that uses it are gone.
///
/// A namespace needs a process to come into being; that child is dead and reaped when this returns. Its exit signal
/// is none instead of SIGCHLD: a waitid(2) without `__WCLONE` passes it over, so that it never shows up in the
/// shim's reaper, and waiting for it here takes no child from that one.
///
/// # Errors
/// What clone3(2), writing the mappings, or opening the namespace answered: `InvalidInput` for mappings that the
/// kernel refuses (overlapping ranges, more than 340 of them).
pub fn create(maps: &IdMaps) -> io::Result<OwnedFd> {
    let child = Child::start()?;
    let opened = child
        .write_map("uid_map", &maps.uids)
        .and_then(|()| child.write_map("gid_map", &maps.gids))
        .and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid)));
    child.end()?;
    Ok(opened?.into())
}

/// A process that does nothing but have a user namespace.
struct Child {
    pid: libc::c_long,
    pidfd: OwnedFd,
}

/// `struct clone_args` of clone3(2), first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// From `linux/sched.h`; libc's constants are of a signed type.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_NEWUSER: u64 = 0x1000_0000;
/// Without it a signal to the child would run the shim's handler on the shim's own wake-up pipe.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

impl Child {
    fn start() -> io::Result<Self> {
        let parent = nix::unistd::getpid();
        let mut pidfd: RawFd = -1;
        let args = CloneArgs {
            flags: CLONE_NEWUSER | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
            // Exposed: the compiler then knows that the kernel writes to `pidfd` by this number.
            pidfd: u64::try_from((&raw mut pidfd).expose_provenance()).unwrap_or(0),
            ..CloneArgs::default()
        };
        // SAFETY: without CLONE_VM and with no stack given this is a fork; `args` and the `pidfd` that it points to
        // outlive the call, and the child goes straight into `idle`.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => idle(parent.as_raw()),
            pid => {
                // SAFETY: the kernel has just put a new descriptor there, close-on-exec, and nobody else knows it.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok(Self { pid, pidfd })
            }
        }
    }

    /// One write(2): the kernel takes a mapping whole or not at all.
    fn write_map(&self, file: &str, ranges: &[IdRange]) -> io::Result<()> {
        let mut text = String::new();
        for range in ranges {
            text.push_str(&format!(
                "{} {} {}\n",
                range.inside, range.outside, range.count
            ));
        }
        let path = format!("/proc/{}/{file}", self.pid);
        File::options()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes())
    }

    fn end(self) -> io::Result<()> {
        kill(self.pidfd.as_fd())?;
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::__WCLONE;
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
                Err(Errno::EINTR) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }
}

fn kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open for the length of the call, and a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            info,
            0,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// What the child does: it waits to be killed. Only system calls, since locks of other threads may be held for ever.
fn idle(parent: libc::pid_t) -> ! {
    // SAFETY: a system call without pointers. A shim that is killed now must not leave this process behind.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: a system call without arguments.
        if unsafe { libc::getppid() } != parent {
            // SAFETY: ends the process at once; no destructor or exit handler of the shim runs in this copy of it.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: a system call without arguments.
        unsafe { libc::pause() };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn maps(outside: u32) -> IdMaps {
        let range = IdRange {
            inside: 0,
            outside,
            count: 65536,
        };
        IdMaps {
            uids: vec![range],
            gids: vec![range],
        }
    }

    #[test]
    fn a_user_namespace_outlives_the_child_that_made_it() {
        let namespace = create(&maps(100_000)).expect("run as root");
        let link = std::fs::read_link(format!("/proc/self/fd/{}", namespace.as_raw_fd())).unwrap();
        assert!(link.to_string_lossy().starts_with("user:["), "{link:?}");
        assert_ne!(link, std::fs::read_link("/proc/self/ns/user").unwrap());
    }

    #[test]
    fn the_child_is_never_seen_by_the_reaper_and_leaves_no_zombie() {
        let child = Child::start().expect("run as root");
        let proc = format!("/proc/{}", child.pid);
        kill(child.pidfd.as_fd()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stat = std::fs::read_to_string(format!("{proc}/stat")).unwrap();
            if stat.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < deadline, "not dead yet: {stat}");
        }
        let seen = crate::sys::wait::peek()
            .unwrap()
            .map(|zombie| i64::from(zombie.pid.as_raw()));
        assert_ne!(seen, Some(child.pid));
        child.end().unwrap();
        assert!(!std::path::Path::new(&proc).exists());
    }

    #[test]
    fn overlapping_ranges_are_refused_by_the_kernel() {
        let mut twice = maps(100_000);
        twice.uids.push(twice.uids[0]);
        assert_eq!(
            create(&twice).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}
