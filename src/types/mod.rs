//! The vocabulary of the project: values that are validated once, at the edge, and cannot be wrong after that.
//!
//! Nothing in here does I/O, is asynchronous or knows protobuf; every other layer may import it.

pub mod error;
pub mod event;
pub mod exit;
pub mod id;
pub mod mount;
pub mod process;
pub mod signal;
pub mod status;
pub mod stdio;
pub mod time;

pub use event::Event;
pub use exit::{ExitRecord, ExitStatus};
pub use id::{ContainerId, ExecId, IdError, Namespace};
pub use mount::Mount;
pub use process::{Pid, ProcessIdentity};
pub use signal::Signal;
pub use status::TaskStatus;
pub use stdio::{OutputUri, Stdio, StdioError};
pub use time::Timestamp;
