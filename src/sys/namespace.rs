//! Namespaces that live without a process: made in a thread that ends, and held by a bind mount (namespaces(7)).
//!
//! All of this blocks.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, statfs};

use crate::types::Pid;

/// From linux/magic.h: the file system of namespaces.
const NSFS_MAGIC: libc::c_long = 0x6e73_6673;
/// What a thread here runs needs little; the default would be 2 MiB of address space.
const STACK: usize = 256 << 10;

/// The kinds that a pod may have of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// network_namespaces(7).
    Net,
    /// ipc_namespaces(7).
    Ipc,
    /// uts_namespaces(7).
    Uts,
    /// pid_namespaces(7).
    Pid,
}

impl Kind {
    /// Its name in `/proc/PID/ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Pid => "pid",
        }
    }

    const fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Pid => CloneFlags::CLONE_NEWPID,
        }
    }
}

/// Runs `work` in a thread of its own, which may change its namespaces without any other noticing: they are the
/// thread's, not the process's, and it ends with this call.
///
/// # Errors
/// What pthread_create(3) answered.
pub fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespaces".into());
        let thread = thread.stack_size(STACK).spawn_scoped(scope, work)?;
        let ended = thread.join();
        ended.map_err(|_| io::Error::other("the thread panicked"))
    })
}

/// Gives the calling thread new namespaces of `kinds`; a new pid namespace is that of its next children
/// (unshare(2)). Call it within [`in_thread`] only.
///
/// # Errors
/// What unshare(2) answered.
pub fn leave(kinds: &[Kind]) -> io::Result<()> {
    let flags = kinds
        .iter()
        .fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
    Ok(unshare(flags)?)
}

/// Moves the calling thread into the namespace that is bound at `path` (setns(2)). Call it within [`in_thread`] only.
///
/// # Errors
/// What open(2) or setns(2) answered: `InvalidInput` where another kind of namespace, or none, is bound there.
pub fn enter(kind: Kind, path: &Path) -> io::Result<()> {
    Ok(setns(File::open(path)?, kind.flag())?)
}

/// Binds the calling thread's own namespace of `kind` on the file `at`.
///
/// # Errors
/// What mount(2) answered.
pub fn pin_own(kind: Kind, at: &Path) -> io::Result<()> {
    pin(&format!("/proc/thread-self/ns/{}", kind.name()), at)
}

/// Binds the namespace of `kind` of the process `pid` on the file `at`.
///
/// # Errors
/// What mount(2) answered.
pub fn pin_of(pid: Pid, kind: Kind, at: &Path) -> io::Result<()> {
    pin(&format!("/proc/{pid}/ns/{}", kind.name()), at)
}

fn pin(from: &str, at: &Path) -> io::Result<()> {
    let none = None::<&str>;
    Ok(mount(Some(from), at, none, MsFlags::MS_BIND, none)?)
}

/// Whether a namespace is bound at `path`. Nothing there is an answer too: no.
///
/// # Errors
/// What statfs(2) answered.
pub fn is_pinned(path: &Path) -> io::Result<bool> {
    match statfs(path) {
        Ok(found) => Ok(found.filesystem_type() == FsType(NSFS_MAGIC)),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    #[test]
    fn a_thread_leaves_its_namespaces_alone() {
        let own = |kind| std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
        let before = own("uts");
        let inside = in_thread(|| leave(&[Kind::Uts]).map(|()| own("uts"))).unwrap();
        assert_ne!(inside.expect("run as root"), before);
        assert_eq!(own("uts"), before);
    }

    #[test]
    fn what_is_no_namespace_is_not_pinned_and_cannot_be_entered() {
        let scratch = Scratch::new();
        scratch.write("net", "");
        let path = scratch.path().join("net");
        assert!(!is_pinned(&path).unwrap());
        assert!(!is_pinned(&scratch.path().join("none")).unwrap());
        assert!(in_thread(|| enter(Kind::Net, &path)).unwrap().is_err());
    }
}
