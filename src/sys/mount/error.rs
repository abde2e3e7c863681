//! What can go wrong with a root filesystem's mounts.

use std::io;
use std::path::PathBuf;

use super::overlay;

/// Why a root filesystem could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// An option whose value makes no sense: the caller's mistake.
    #[error("mount option {option:?}: {reason}")]
    BadOption {
        /// The option, as it was given.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The type is mounted by a program: see [`super::helper`].
    #[error("type {kind:?} is mounted by a helper program")]
    NeedsHelper {
        /// The type.
        kind: String,
    },
    /// The options do not fit in the one page that mount(2) takes, not even with relative lower directories.
    #[error("the options for {} are {length} bytes, and mount(2) takes {}", target.display(), overlay::LONGEST_DATA)]
    OptionsTooLong {
        /// Where it was to be mounted.
        target: PathBuf,
        /// How many bytes they are.
        length: usize,
    },
    /// A step of a mount failed.
    #[error("{step}: {from:?} on {}", target.display())]
    Step {
        /// Which.
        step: Step,
        /// The mount's source.
        from: String,
        /// The root filesystem, with the mount's target below it.
        target: PathBuf,
        /// What the kernel answered.
        #[source]
        error: io::Error,
    },
    /// Some mounts could not be taken away; all others were.
    #[error("unmounting {}: {}", rootfs.display(), listed(failures))]
    Unmount {
        /// The root filesystem.
        rootfs: PathBuf,
        /// What is left, and why; not empty.
        failures: Vec<Failure>,
    },
}

/// A step of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Finding or making the target.
    Target,
    /// Making a user namespace with the mappings.
    UserNamespace,
    /// Mapping the owners of a mount.
    IdMap,
    /// Attaching a loop device.
    Loop,
    /// mount(2).
    Mount,
    /// Mounting a bind mount once more, with its flags.
    Remount,
    /// Setting the propagation type.
    Propagation,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Target => "finding the target",
            Self::UserNamespace => "making a user namespace",
            Self::IdMap => "mapping owners",
            Self::Loop => "attaching a loop device",
            Self::Mount => "mounting",
            Self::Remount => "remounting",
            Self::Propagation => "setting the propagation",
        })
    }
}

/// Something that is still mounted, or a directory that is still there.
#[derive(Debug)]
pub struct Failure {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

fn listed(failures: &[Failure]) -> String {
    let each = failures
        .iter()
        .map(|failure| format!("{}: {}", failure.path.display(), failure.error));
    each.collect::<Vec<_>>().join("; ")
}
