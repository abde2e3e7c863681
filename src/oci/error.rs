//! Why a call of the OCI runtime failed.
//!
//! Runtimes tell by text alone; this is the only place that compares it. The texts are runc's (`libcontainer/error.go`,
//! `libcontainer/container_linux.go`) and crun's (`src/libcrun/status.c`, `container.c`).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a failure means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The runtime knows no such container.
    NoSuchContainer,
    /// The process that should be signalled has ended.
    NoSuchProcess,
    /// Anything else.
    Other,
}

/// The steps before the runtime is started.
pub(super) const MAKE_OUTPUT: &str = "make a file for its output";
pub(super) const MAKE_INPUT: &str = "make a file for its input";

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The program could not be started.
    #[error("OCI runtime {binary:?} cannot be started")]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("OCI runtime {operation} failed: {message}")]
    Failed {
        /// The subcommand.
        operation: &'static str,
        /// What it said last.
        message: String,
        /// What that means.
        kind: FailureKind,
    },
    /// The program did not end in time; it was killed.
    #[error("OCI runtime {operation} did not end within {limit:?} and was killed")]
    TimedOut {
        /// The subcommand.
        operation: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// Something around the call failed.
    #[error("OCI runtime {operation}: {step}")]
    Io {
        /// The subcommand.
        operation: &'static str,
        /// Which step.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program succeeded but left no usable pid.
    #[error("OCI runtime {operation} left no pid in {path:?}")]
    NoPid {
        /// The subcommand.
        operation: &'static str,
        /// The pid file.
        path: PathBuf,
    },
}

impl OciError {
    /// What the failure means.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Failed { kind, .. } => *kind,
            Self::Spawn { .. } | Self::TimedOut { .. } | Self::Io { .. } | Self::NoPid { .. } => {
                FailureKind::Other
            }
        }
    }

    /// Whether the runtime surely did nothing, since it was not started.
    #[must_use]
    pub fn is_before_start(&self) -> bool {
        match self {
            Self::Spawn { .. } => true,
            Self::Io { step, .. } => [MAKE_OUTPUT, MAKE_INPUT].contains(step),
            Self::Failed { .. } | Self::TimedOut { .. } | Self::NoPid { .. } => false,
        }
    }
}

/// What `message` means, said by a runtime that keeps the container, if it does, in the directory `state`.
#[must_use]
pub fn classify(message: &str, state: &Path) -> FailureKind {
    // crun's delete (`src/libcrun/status.c`); of another directory this would mean something else.
    let no_state = format!(
        "cannot open directory '{}': No such file or directory",
        state.display()
    );
    if message.contains(&no_state) {
        return FailureKind::NoSuchContainer;
    }
    let message = message.to_ascii_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&[
        "process already finished",
        "container not running",
        "no such process",
        "is not running",
    ]) {
        FailureKind::NoSuchProcess
    } else if says(&[
        "container does not exist",
        "does not exist",
        "/status`: no such file",
    ]) {
        FailureKind::NoSuchContainer
    } else {
        FailureKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_and_crun_texts_are_told_apart() {
        for (text, kind) in [
            ("container does not exist", FailureKind::NoSuchContainer),
            (
                "container \"x\" does not exist",
                FailureKind::NoSuchContainer,
            ),
            (
                "error opening file `/run/crun/x/status`: No such file or directory",
                FailureKind::NoSuchContainer,
            ),
            ("os: process already finished", FailureKind::NoSuchProcess),
            (
                "unable to signal init: container not running",
                FailureKind::NoSuchProcess,
            ),
            (
                "kill container: No such process",
                FailureKind::NoSuchProcess,
            ),
            (
                "exec: \"/nope\": stat /nope: no such file or directory",
                FailureKind::Other,
            ),
            (
                "cannot open directory '/run/crun/x': No such file or directory",
                FailureKind::NoSuchContainer,
            ),
            (
                "cannot open directory '/run/crun/x/rootfs': No such file or directory",
                FailureKind::Other,
            ),
        ] {
            assert_eq!(classify(text, Path::new("/run/crun/x")), kind, "{text}");
        }
    }
}
