//! OCI runtimes: runc, crun, or any program with runc's command line.
//!
//! - [`command`]: what to call, as a value; pure.
//! - [`driver`]: from a command to a call, and from a finished call to its result.
//! - [`error`]: why a call failed; the only place that looks into messages.
//! - [`resources`]: whether limits are limits.
//! - [`spec`]: what the shim reads of a container's `config.json`.

pub mod command;
pub mod driver;
pub mod error;
pub mod resources;
pub mod spec;

pub use command::{CheckpointArgs, Command, CreateArgs, ExecArgs, Restore};
pub use driver::{Call, OciRuntime};
pub use error::{FailureKind, OciError};
pub use spec::Spec;
