//! Every name in a bundle.
//!
//! ```text
//! BUNDLE/
//!   config.json          the OCI spec                              containerd
//!   rootfs/              where the root filesystem is mounted      containerd, the shim
//!   log                  fifo, the shim's log                      containerd
//!   work ->              containerd's directory for large files    containerd
//!   log.json             the OCI runtime's log                     OCI runtime
//!   init.pid             init's pid                                OCI runtime
//!   exec-ID.pid          an exec's pid                             OCI runtime
//!   exec-ID.json         an exec's OCI process                     the shim
//!   address              where the shim listens: [`super::endpoint`]
//!   runtime              how the container was made: [`super::runtime`]
//!   exits                who exited, and how: [`super::exit_journal`]
//!   criu-dump.log        why a checkpoint failed                   the shim
//!   stdio.json           where a shim that is not ours has its output go     the supervisor
//!   stdout stderr        fifos, that output on its way to the supervisor      the supervisor
//!   exec/ID/             fifos of an exec that the supervisor runs            the supervisor
//!   work/.NAME.spool     output that waits for a reader; it has this name for a moment only
//! ```
//!
//! The Go shim calls an exec's pid file `ID.pid`, where an exec called `init` overwrites init's.

use std::path::{Path, PathBuf};

use crate::types::ExecId;

/// The directory of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle(PathBuf);

macro_rules! names {
    ($($(#[$doc:meta])* $method:ident = $name:literal;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $method(&self) -> PathBuf {
                self.0.join($name)
            }
        )*
    };
}

impl Bundle {
    /// The bundle at `dir`, which need not be there.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Whether the directory is not there (ENOENT). One that cannot be looked at is there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.0.try_exists(), Ok(false))
    }

    names! {
        /// The OCI spec.
        config = "config.json";
        /// Where the root filesystem is mounted.
        rootfs = "rootfs";
        /// The fifo of the shim's log.
        log = "log";
        /// The OCI runtime's log.
        runtime_log = "log.json";
        /// Init's pid, written by the OCI runtime.
        init_pid = "init.pid";
        /// Where the shim listens.
        address = "address";
        /// How the container was made.
        runtime = "runtime";
        /// The exit journal.
        exits = "exits";
        /// The log of a checkpoint that failed.
        checkpoint_log = "criu-dump.log";
        /// containerd's directory for large files.
        work = "work";
        /// Where the output of a shim that is not ours goes.
        foreign_stdio = "stdio.json";
        /// The fifo of such a shim's stdout.
        foreign_stdout = "stdout";
        /// The fifo of such a shim's stderr.
        foreign_stderr = "stderr";
        /// CRIU's directory, in containerd's own for large files.
        criu_work = "work/criu-work";
    }

    /// The pid of `exec`, written by the OCI runtime.
    #[must_use]
    pub fn exec_pid(&self, exec: &ExecId) -> PathBuf {
        self.0.join(format!("exec-{exec}.pid"))
    }

    /// The fifos of `exec`, where the supervisor runs it.
    #[must_use]
    pub fn exec_fifos(&self, exec: &ExecId) -> PathBuf {
        self.0.join("exec").join(exec.as_str())
    }

    /// The OCI process of `exec`.
    #[must_use]
    pub fn exec_spec(&self, exec: &ExecId) -> PathBuf {
        self.0.join(format!("exec-{exec}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_that_is_not_there_is_gone() {
        assert!(Bundle::new("/no/such/bundle").is_gone());
        assert!(!Bundle::new("/").is_gone());
        // ENOTDIR and ENAMETOOLONG.
        assert!(!Bundle::new("/proc/version/b").is_gone());
        assert!(!Bundle::new(format!("/{}", "b".repeat(300))).is_gone());
    }

    #[test]
    fn no_exec_id_names_a_file_of_init() {
        let bundle = Bundle::new("/b");
        let exec = ExecId::new("init").unwrap();
        assert_eq!(bundle.exec_pid(&exec), Path::new("/b/exec-init.pid"));
        assert_eq!(bundle.exec_spec(&exec), Path::new("/b/exec-init.json"));
        assert_eq!(bundle.init_pid(), Path::new("/b/init.pid"));
        assert_eq!(bundle.dir(), Path::new("/b"));
    }
}
