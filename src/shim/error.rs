//! What can go wrong in a call, and the ttrpc status that the caller sees.

use std::io;
use std::path::PathBuf;

use containerd_shim_protos::ttrpc::get_status;
use containerd_shim_protos::ttrpc::proto::{Code, Status};

use super::lifecycle::Denied;
use super::stdio::StdioOpenError;
use crate::cgroup::CgroupError;
use crate::config::OptionsError;
use crate::oci::{FailureKind, OciError};
use crate::sys::mount::MountError;
use crate::types::{IdError, StdioError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// An identifier is malformed.
    #[error("{what} id: {source}")]
    Id {
        /// Whose.
        what: &'static str,
        /// Why.
        #[source]
        source: IdError,
    },
    /// A field of the request is wrong.
    #[error("{field}: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The stdio cannot be had.
    #[error(transparent)]
    Stdio(#[from] StdioError),
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There is no such task or process.
    #[error("{what} {id:?}: not found")]
    NotFound {
        /// A task, or a process.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// There is one already.
    #[error("{what} {id:?}: already exists")]
    AlreadyExists {
        /// A task, or a process.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The state does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The OCI runtime failed.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// The root filesystem cannot be mounted or unmounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The stdio cannot be opened.
    #[error(transparent)]
    StdioOpen(#[from] StdioOpenError),
    /// The cgroup cannot be read.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A step on the file system failed.
    #[error("{operation} {path:?}")]
    Io {
        /// Which step.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The shim does not offer this.
    #[error("{what} is not supported")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// The last task is gone and the server is about to end.
    #[error("the shim is shutting down")]
    ShuttingDown,
    /// Too many calls wait for the same process.
    #[error("too many calls wait for this process")]
    Overloaded,
    /// A worker of the shim did not answer.
    #[error("{operation}: the worker ended without an answer")]
    Worker {
        /// What it was to do.
        operation: &'static str,
    },
}

impl ShimError {
    /// The status code, as containerd's Go shim would choose it (`pkg/errgrpc`, `process/utils.go`).
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Id { .. } | Self::Field { .. } | Self::Stdio(_) | Self::Options(_) => {
                Code::INVALID_ARGUMENT
            }
            Self::NotFound { .. } => Code::NOT_FOUND,
            Self::AlreadyExists { .. } => Code::ALREADY_EXISTS,
            Self::Denied(Denied::Finished) => Code::NOT_FOUND,
            Self::Denied(Denied::State { .. }) => Code::FAILED_PRECONDITION,
            Self::Denied(Denied::Unexpected { .. }) | Self::Worker { .. } => Code::INTERNAL,
            Self::Oci(OciError::TimedOut { .. }) => Code::DEADLINE_EXCEEDED,
            Self::Oci(error) => match error.kind() {
                FailureKind::NoSuchContainer | FailureKind::NoSuchProcess => Code::NOT_FOUND,
                FailureKind::Other => Code::UNKNOWN,
            },
            Self::Mount(error) => {
                if matches!(error, MountError::BadOption { .. }) {
                    Code::INVALID_ARGUMENT
                } else {
                    Code::UNKNOWN
                }
            }
            Self::StdioOpen(StdioOpenError::NotAFifo { .. }) => Code::INVALID_ARGUMENT,
            Self::StdioOpen(StdioOpenError::FifoMissing { .. }) => Code::NOT_FOUND,
            Self::StdioOpen(_) => Code::UNKNOWN,
            Self::Cgroup(CgroupError::Gone) => Code::NOT_FOUND,
            Self::Cgroup(_) | Self::Io { .. } => Code::UNKNOWN,
            Self::Unsupported { .. } => Code::UNIMPLEMENTED,
            Self::ShuttingDown => Code::UNAVAILABLE,
            Self::Overloaded => Code::RESOURCE_EXHAUSTED,
        }
    }

    /// The status that a caller gets: the code, and the error with all its causes in one line.
    #[must_use]
    pub fn status(&self) -> Status {
        get_status(self.code(), self.chain())
    }

    /// The error with its causes, outermost first.
    #[must_use]
    pub fn chain(&self) -> String {
        crate::types::error::chain(self)
    }
}
