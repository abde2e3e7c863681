//! Why no specification can be made: the field that is to blame, as the protocol spells it.

use std::io;
use std::path::{Path, PathBuf};

/// Why no specification can be made.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A field that CRI has and this supervisor, or this machine, has not.
    #[error("{field} is not supported: {reason}")]
    Unsupported {
        /// The field with dots, from the top of the configuration: `linux.security_context.selinux_options`.
        field: String,
        /// Why not.
        reason: String,
    },
    /// A field whose value cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field with dots, as above; `image ..` for what the image's configuration says.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the machine or of the image that is needed to tell.
    #[error("{operation} {path:?}")]
    Io {
        /// What was done to it.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl SpecError {
    /// A field that is not supported.
    pub(super) fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// A field whose value cannot be.
    pub(super) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// A file that failed, for `map_err`.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// The field that is to blame; `None` where it is a file.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Unsupported { field, .. } | Self::Invalid { field, .. } => Some(field),
            Self::Io { .. } => None,
        }
    }
}
