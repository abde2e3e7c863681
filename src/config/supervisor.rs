//! The supervisor's settings: `outlive serve --config FILE`.
//!
//! The file is TOML. All of it is read and checked before anything is opened, made or listened on; a key that is not
//! known is an error. `shim-config/supervisor.toml` has every key with what it is without it.
//!
//! ```text
//! root state address default_runtime
//! [log] level format              [metrics] address           [network] conf_dir bin_dirs
//! [cgroup] parent                 [seccomp] profile_root      [runtimes.NAME] shim binary root
//! ```

mod file;
mod identity;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration that is read where none is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/outlive/supervisor.toml";
/// Where lasting data is without a setting.
pub const DEFAULT_ROOT: &str = "/var/lib/outlive";
/// Where passing data is without a setting.
pub const DEFAULT_STATE: &str = "/run/outlive";
/// The handler that is there without a setting.
pub const DEFAULT_RUNTIME: &str = "outlive";

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration {path:?}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, has a key that is not known, or a value of another type.
    #[error("{}:{line}: {reason}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where in it, counted from one.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A value that cannot work.
    #[error("{origin}: {key}: {reason}")]
    Value {
        /// As in [`Origins`].
        origin: String,
        /// Which, with the names of the tables it is in.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the command line and the environment say instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--state`.
    pub state: Option<PathBuf>,
    /// `--address`.
    pub address: Option<String>,
    /// Where the first and the last of them come from.
    pub givers: Givers,
}

/// Where what is said instead of the file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Giver {
    /// A flag.
    #[default]
    CommandLine,
    /// The variable that is read where the flag is not there.
    Environment,
}

/// Where the settings come from that have an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Givers {
    /// `--root` or `OUTLIVE_ROOT`.
    pub root: Giver,
    /// `--address` or `OUTLIVE_ADDRESS`.
    pub address: Giver,
}

/// Where the settings come from that say which supervisor this is: each `command line`, `environment OUTLIVE_ROOT`,
/// `FILE:LINE` or `default`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    /// The file that was read; `None` where there was none.
    pub file: Option<PathBuf>,
    /// Root's.
    pub root: String,
    /// State's.
    pub state: String,
    /// The address's.
    pub address: String,
    /// What the file says in vain, because the environment says something else.
    pub overridden: Vec<Overridden>,
}

/// A setting of the file that an environment variable overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// The variable.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
    /// `FILE:LINE` of the setting.
    pub setting: String,
    /// The setting's value.
    pub instead_of: String,
}

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

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The supervisor's own log, which goes to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// What is worth a line.
    pub level: log::LevelFilter,
    /// What it looks like.
    pub format: LogFormat,
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
    /// The supervisor's log.
    pub log: LogSettings,
    /// Where Prometheus may ask; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where the first three come from.
    pub origins: Origins,
}

impl Config {
    /// The settings in `path` ([`DEFAULT_FILE`] for `None`, if it is there), `overrides` before them: a flag wins over an
    /// environment variable, that over the file, and that over the default. Reads the file and looks for the programs that
    /// it names; makes nothing.
    ///
    /// # Errors
    /// [`ConfigError`] with the file, the line and the key.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        file::load(path, overrides)
    }

    /// The root that the file at `path` names; `None` where it names none, or is not there. For a client that has to find
    /// a supervisor's directory while none runs: nothing else of the file has to be right.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn root_of(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
        file::root_of(path)
    }

    /// The handler of that name; the default for an empty one.
    #[must_use]
    pub fn runtime(&self, name: &str) -> Option<&Runtime> {
        match name {
            "" => self.runtimes.first(),
            name => self.runtimes.iter().find(|runtime| runtime.name == name),
        }
    }
}
