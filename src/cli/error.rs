//! Why a command failed, what to do about it, and the exit code that says so.

use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use crate::images::ImageError;
use crate::types::error::chain;

/// The exit code for wrong arguments.
pub const USAGE: u8 = 2;
/// The exit code of `run` and `exec` for what is not the program's: docker-run(1), chroot(1).
pub const OUR_FAILURE: u8 = 125;

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
    /// The program of `run` or `exec` is not there, or cannot be executed.
    #[error("{operation}: {message}")]
    NoProgram {
        /// Which call, with its subject.
        operation: String,
        /// What the OCI runtime said.
        message: String,
        /// 126 or 127, as a shell has them.
        exit_code: u8,
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
            Self::Usage(_) | Self::Ambiguous { .. } => USAGE,
            Self::NoProgram { exit_code, .. } => *exit_code,
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

    /// The exit code of `run` and `exec`, whose low ones are the program's.
    #[must_use]
    pub fn exit_code_beside_a_program(&self) -> u8 {
        match self {
            Self::NoProgram { exit_code, .. } => *exit_code,
            _ => OUR_FAILURE,
        }
    }

    /// The error of a call that starts a program, where the program is what is wrong.
    #[must_use]
    pub fn of_program(self) -> Self {
        match self {
            Self::Call { operation, status } => match no_program(status.message()) {
                Some(exit_code) => Self::NoProgram {
                    operation,
                    message: status.message().to_owned(),
                    exit_code,
                },
                None => Self::Call { operation, status },
            },
            other => other,
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

/// 126 for a program that cannot be executed, 127 for one that is not there, `None` where something else is wrong. From
/// what the OCI runtime said: nothing else carries it. runc quotes Go's `os/exec` (`exec: "NAME": ..`), crun has texts of
/// its own. What they say of mounts, control groups and namespaces ends in the same words, and is no program's fault.
pub fn no_program(message: &str) -> Option<u8> {
    let message = message.to_ascii_lowercase();
    let beginnings = [
        "exec: \"",
        "exec: no such file",
        "exec /",
        "executable",
        "exec user process",
    ];
    let starts = beginnings.iter().filter_map(|text| message.find(text));
    let of_program = message.get(starts.min()?..)?;
    let says = |texts: &[&str]| texts.iter().any(|text| of_program.contains(text));
    if says(&[
        "exec format error",
        "permission denied",
        // crun's, of a directory.
        "operation not permitted",
        "is a directory",
    ]) {
        Some(126)
    } else if says(&["not found", "no such file or directory"]) {
        Some(127)
    } else {
        None
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
            ("open executable: Permission denied", 126),
            ("open executable: Operation not permitted", 126),
            ("mount `/a` to `etc`: Not a directory", 125),
            ("no network is configured", 125),
            (
                "error mounting \"/a\" to rootfs at \"/b\": mount /a:/b: no such file or directory",
                125,
            ),
            ("mkdir /sys/fs/cgroup/x: permission denied", 125),
        ] {
            let error = call(Code::Unknown, message);
            assert_eq!(error.exit_code_beside_a_program(), 125, "{message}");
            let error = error.of_program();
            assert_eq!(error.exit_code_beside_a_program(), exit, "{message}");
        }
    }

    #[test]
    fn what_is_not_the_program_s_fault_is_125() {
        for error in [
            Error::Usage(String::new()),
            call(Code::InvalidArgument, "x"),
            call(Code::NotFound, "exec: \"x\": no such file or directory"),
        ] {
            assert_eq!(error.exit_code_beside_a_program(), 125);
        }
    }
}
