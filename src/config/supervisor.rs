//! The supervisor's settings: `outlive serve --config FILE`.

use std::path::PathBuf;

/// A runtime handler: which shim, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The handler's name: CRI's `runtime_handler`.
    pub name: String,
    /// The shim's program, absolute.
    pub shim: PathBuf,
    /// The OCI runtime's program (`BinaryName`); `None` for the shim's default.
    pub binary: Option<PathBuf>,
    /// The OCI runtime's state directory (`Root`); `None` for the shim's default.
    pub runtime_root: Option<PathBuf>,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What survives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub state: PathBuf,
    /// The CRI socket.
    pub socket: PathBuf,
    /// The handlers; the first is the default.
    pub runtimes: Vec<Runtime>,
    /// CNI's configuration lists.
    pub cni_conf_dir: PathBuf,
    /// CNI's plugins.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// The cgroup of pods that name no parent, absolute.
    pub cgroup_parent: String,
    /// Where `localhost/` seccomp profiles with relative names are.
    pub seccomp_profile_root: PathBuf,
}

impl Config {
    /// The handler of that name; the default for an empty one.
    #[must_use]
    pub fn runtime(&self, name: &str) -> Option<&Runtime> {
        match name {
            "" => self.runtimes.first(),
            name => self.runtimes.iter().find(|runtime| runtime.name == name),
        }
    }
}
