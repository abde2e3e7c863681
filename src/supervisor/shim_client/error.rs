//! Why a shim did not do as asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use containerd_shim_protos::protobuf::Enum;
use containerd_shim_protos::ttrpc::proto::{Code as TtrpcCode, Status};
use tonic::Code;

/// Why a shim did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// There is no shim at the end of the line: no socket, nobody who listens, or the connection was closed.
    #[error("{call}: the shim is gone")]
    Gone {
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer in time: slow, stopped, or working; not dead.
    #[error("{call}: no answer from the shim within {} s", .after.as_secs_f32())]
    Timeout {
        /// Which call.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// It answered with an error.
    #[error("{call}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The status code, which is gRPC's.
        code: Code,
        /// What it said.
        message: String,
    },
    /// It could not be launched.
    #[error("launch {shim:?}: {reason}")]
    Launch {
        /// Which program.
        shim: PathBuf,
        /// Why; with what it printed.
        reason: String,
    },
}

impl ShimError {
    /// The gRPC code that the supervisor's own caller is given.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Gone { .. } => Code::Unavailable,
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::Refused { code, .. } => *code,
            Self::Launch { .. } => Code::Internal,
        }
    }

    /// Whether the shim has no such task or process.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Code::NotFound
    }

    /// What a step of the supervisor's own answered, beside a call.
    pub(super) fn local(call: &'static str, step: &str, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::StorageFull => Code::ResourceExhausted,
            _ => Code::Internal,
        };
        Self::Refused {
            call,
            code,
            message: format!("{step}: {error}"),
        }
    }

    /// What a shim answered with a status that is not OK, after waiting for at most `within`.
    pub(super) fn from_status(
        call: &'static str,
        status: Status,
        within: Option<Duration>,
    ) -> Self {
        let code = status.code.enum_value_or(TtrpcCode::UNKNOWN);
        match (Code::from(code.value()), within) {
            (Code::DeadlineExceeded, Some(after)) => Self::Timeout { call, after },
            (code, _) => Self::Refused {
                call,
                code: by_message(code, &status.message),
                message: status.message,
            },
        }
    }
}

/// Go's shims lose the code of an error that was not made for the wire, but containerd's errors keep their word at the
/// end of the message (containerd `errdefs/errors.go`).
fn by_message(code: Code, message: &str) -> Code {
    if code != Code::Unknown {
        return code;
    }
    let words = [
        ("not found", Code::NotFound),
        ("already exists", Code::AlreadyExists),
        ("failed precondition", Code::FailedPrecondition),
        ("invalid argument", Code::InvalidArgument),
        ("not implemented", Code::Unimplemented),
        ("unavailable", Code::Unavailable),
    ];
    let found = words.iter().find(|(word, _)| message.ends_with(word));
    found.map_or(code, |(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: TtrpcCode, message: &str) -> Code {
        let status = Status {
            code: code.into(),
            message: message.to_owned(),
            ..Status::default()
        };
        ShimError::from_status("Kill", status, None).code()
    }

    #[test]
    fn an_error_without_a_code_is_known_by_containerds_word_for_it() {
        let message = "process already finished: not found";
        assert_eq!(refused(TtrpcCode::UNKNOWN, message), Code::NotFound);
        assert_eq!(refused(TtrpcCode::INTERNAL, message), Code::Internal);
        assert_eq!(refused(TtrpcCode::UNKNOWN, "oops"), Code::Unknown);
    }
}
