//! Why a call failed, and the gRPC status that says so.

use tonic::{Code, Status};

use super::shim_client::ShimError;
use super::spec::SpecError;
use super::store::{LookupError, NameTaken, StoreError};
use crate::images::ImageError;
use crate::types::error::chain;

/// The longest message in bytes: it travels in a header, and clients take 8 KiB of those.
const MAX_MESSAGE: usize = 4096;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such container or pod.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The name is another's.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// A field of the request is not as it must be.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the protocol spells it, with dots: `linux.security_context.run_as_group`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A field or call that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// No specification can be made of the configuration.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The container or pod is in no state for that.
    #[error("{subject} is {state}, {needed}")]
    WrongState {
        /// Which: `container ID`.
        subject: String,
        /// What it is.
        state: String,
        /// What the call needs.
        needed: &'static str,
    },
    /// The image store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shim, or the OCI runtime behind it.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The pod's network.
    #[error(transparent)]
    Network(#[from] super::network::NetworkError),
    /// The pod's namespaces.
    #[error(transparent)]
    Namespace(#[from] super::pod::namespaces::NamespaceError),
    /// It took longer than it may.
    #[error("{operation}: no end within {seconds} s")]
    Deadline {
        /// What.
        operation: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// A field that is not as it must be.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Lookup(LookupError::NotFound { .. }) => Code::NotFound,
            Self::Lookup(LookupError::Ambiguous { .. }) | Self::Invalid { .. } => {
                Code::InvalidArgument
            }
            Self::NameTaken(_) => Code::AlreadyExists,
            Self::Spec(SpecError::Invalid { .. }) => Code::InvalidArgument,
            Self::Unsupported(_) | Self::Spec(SpecError::Unsupported { .. }) => Code::Unimplemented,
            Self::Spec(SpecError::Io { .. }) => Code::Internal,
            Self::WrongState { .. } => Code::FailedPrecondition,
            Self::Image(error) => image_code(error),
            Self::Store(error) if error.source.kind() == std::io::ErrorKind::StorageFull => {
                Code::ResourceExhausted
            }
            Self::Store(_) => Code::Internal,
            Self::Shim(error) => error.code(),
            Self::Network(error) => error.code(),
            Self::Namespace(error) => error.code(),
            Self::Deadline { .. } => Code::DeadlineExceeded,
        }
    }
}

const fn image_code(error: &ImageError) -> Code {
    match error {
        ImageError::NotFound { .. } => Code::NotFound,
        ImageError::Ambiguous { .. } | ImageError::Reference(_) => Code::InvalidArgument,
        ImageError::NoSpace { .. } => Code::ResourceExhausted,
        ImageError::Busy { .. } => Code::Unavailable,
        _ => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(error.code(), shortened(chain(&error)))
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let boundary = (0..=MAX_MESSAGE).rfind(|end| message.is_char_boundary(*end));
        message.truncate(boundary.unwrap_or(0));
        message.push_str("..");
    }
    message
}
