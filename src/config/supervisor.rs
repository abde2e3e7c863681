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
