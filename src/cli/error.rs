//! Why a command failed, what to do about it, and the exit code that says so.

use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use crate::images::ImageError;
use crate::types::error::chain;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments are wrong in a way that only the command knows.
    #[error("{0}")]
    Usage(String),
    /// The supervisor cannot be reached.
    #[error("the supervisor does not answer at {address}: {remedy}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What to do.
        remedy: &'static str,
        /// Whether it is certain that no process listens there.
        is_absent: bool,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The supervisor refused a call or failed.
    #[error("{operation}: {}{}", .status.message(), hint(.status))]
    Call {
        /// Which call, with its subject.
        operation: String,
        /// What it said.
        status: Box<Status>,
    },
    /// The supervisor did not answer in time.
    #[error("{operation}: no answer within {} s; try a longer --timeout", .after.as_secs_f32())]
    Deadline {
        /// Which call, with its subject.
        operation: String,
        /// How long was waited.
        after: Duration,
    },
    /// Nothing has this name or id.
    #[error("no {kind} has the name or id {word:?}; see `{see}`")]
    NotFound {
        /// container, pod, container or pod.
        kind: &'static str,
        /// What was written.
        word: String,
        /// The command that lists what there is.
        see: &'static str,
    },
    /// Several have this name or beginning of an id.
    #[error("{word:?} could be any of these, name one by its id:\n  {}", .candidates.join("\n  "))]
    Ambiguous {
        /// What was written.
        word: String,
        /// Each with its id and name.
        candidates: Vec<String>,
    },
    /// It is in no state for that.
    #[error("{subject} is {state}: {remedy}")]
    WrongState {
        /// Which container or pod.
        subject: String,
        /// What it is.
        state: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Not supported.
    #[error("{0}")]
    Unsupported(String),
    /// The image store.
    #[error(transparent)]
    Image(#[from] Box<ImageError>),
    /// What was printed could not be.
    #[error("standard output")]
    Output(#[source] io::Error),
    /// Something of this machine failed.
    #[error("{operation}")]
    Io {
        /// What, with its subject.
        operation: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What to do about a status, where the code alone tells.
fn hint(status: &Status) -> &'static str {
    match status.code() {
        Code::Unavailable => " (has the supervisor been stopped? see `systemctl status outlive`)",
        Code::ResourceExhausted => " (is the disk full?)",
        Code::DeadlineExceeded => " (its shim may be stopped or slow; nothing was given up)",
        _ => "",
    }
}

impl Error {
    /// The exit code, by the table in `outlive --help`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Ambiguous { .. } => 2,
            Self::NotFound { .. } => 3,
            Self::WrongState { .. } => 4,
            Self::Unreachable { .. } => 5,
            Self::Deadline { .. } => 6,
            Self::Unsupported(_) => 7,
            Self::Output(_) | Self::Io { .. } => 1,
            Self::Image(error) => match error.as_ref() {
                ImageError::Reference(_) | ImageError::Ambiguous { .. } => 2,
                ImageError::NotFound { .. } => 3,
                ImageError::Busy { .. } => 4,
                _ => 1,
            },
            Self::Call { status, .. } => match status.code() {
                Code::InvalidArgument => 2,
                Code::NotFound => 3,
                Code::FailedPrecondition | Code::AlreadyExists => 4,
                Code::Unavailable => 5,
                Code::DeadlineExceeded => 6,
                Code::Unimplemented => 7,
                _ => 1,
            },
        }
    }

    /// The exit code of `run` and `exec`, whose low ones are the program's: docker-run(1), chroot(1).
    #[must_use]
    pub fn exit_code_beside_a_program(&self) -> u8 {
        match self {
            Self::Call { status, .. } => not_started(status.message()),
            _ => 125,
        }
    }

    /// Whether the reader of standard output has gone.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether no process listens at the address. A supervisor that is not allowed to be asked, or slow, is no absence.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable {
                is_absent: true,
                ..
            }
        )
    }

    /// Whether the supervisor may be back in a moment.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::Call { status, .. } => {
                // A connection that broke in the middle of a call is Unknown, Internal or Cancelled with a source of
                // the transport's; an answer of the supervisor's has no source.
                let of_transport = std::error::Error::source(status.as_ref()).is_some();
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || of_transport
            }
            _ => false,
        }
    }
}

/// The exit code for a program that was not started, from what the OCI runtime said: nothing else carries it. The texts
/// are those of the Go library and of crun that all OCI runtimes' messages have in them.
pub fn not_started(message: &str) -> u8 {
    let message = message.to_ascii_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&["exec format error", "permission denied", "is a directory"]) {
        126
    } else if says(&[
        "executable file not found",
        "executable file `",
        "exec: no such file",
        "no such file or directory",
    ]) {
        127
    } else {
        125
    }
}

/// Prints an error where people look for one. Nobody is left to tell when that fails.
pub fn tell(error: &Error) {
    warn(&chain(error));
}

/// Prints a line about what is going on.
pub fn warn(text: &str) {
    use std::io::Write as _;
    drop(writeln!(io::stderr(), "outlive: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(code: Code, message: &str) -> Error {
        Error::Call {
            operation: "start".to_owned(),
            status: Box::new(Status::new(code, message)),
        }
    }

    #[test]
    fn scripts_can_tell_what_failed() {
        for (code, exit) in [
            (Code::Internal, 1),
            (Code::InvalidArgument, 2),
            (Code::NotFound, 3),
            (Code::FailedPrecondition, 4),
            (Code::AlreadyExists, 4),
            (Code::Unavailable, 5),
            (Code::DeadlineExceeded, 6),
            (Code::Unimplemented, 7),
        ] {
            assert_eq!(call(code, "x").exit_code(), exit, "{code}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
        for (message, exit) in [
            (r#"exec: "nope": executable file not found in $PATH"#, 127),
            (
                "exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            ("executable file `nope` not found in $PATH", 127),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("exec /x: exec format error", 126),
            ("no network is configured", 125),
        ] {
            assert_eq!(
                call(Code::Unknown, message).exit_code_beside_a_program(),
                exit
            );
        }
    }
}
