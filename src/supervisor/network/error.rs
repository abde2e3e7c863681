//! What can go wrong with a pod's network.

use std::io;
use std::path::PathBuf;

use tonic::Code;

use super::plugin::Command;

/// Why a pod has no network, or its network cannot be deleted.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No list can be used.
    #[error("no CNI configuration in {}: add one, or run the pod on the host's network{}", .dir.display(), listed(.rejected))]
    NotConfigured {
        /// Where lists are looked for.
        dir: PathBuf,
        /// The files that are there, and why each was passed over.
        rejected: Vec<String>,
    },
    /// A file of ours could not be read or written.
    #[error("{operation} {}", .path.display())]
    File {
        /// Which call.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No directory has the plugin.
    #[error("network {list}: no plugin {plugin:?} in {dirs:?}")]
    NoPlugin {
        /// The list.
        list: String,
        /// The plugin's type.
        plugin: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// Ports of the host are asked for, and no plugin of the list maps any.
    #[error("port_mappings: no plugin of network {list} has the capability portMappings")]
    NoPortMappings {
        /// The list.
        list: String,
    },
    /// Every plugin has done its work, and the pod has no address.
    #[error("network {list}: its plugins gave no address")]
    NoAddress {
        /// The list.
        list: String,
    },
    /// A plugin could not be run.
    #[error("network {list}: {command} by plugin {plugin:?}")]
    Run {
        /// The list.
        list: String,
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A plugin said no.
    #[error("network {list}: {command} by plugin {plugin:?}: {message} (CNI code {code})")]
    Refused {
        /// The list.
        list: String,
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// CNI's error code.
        code: u64,
        /// Its message and details.
        message: String,
    },
    /// A plugin failed without saying why in CNI's form, or answered in none.
    #[error("network {list}: {command} by plugin {plugin:?}: {reason}")]
    Malformed {
        /// The list.
        list: String,
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// How it ended, with the end of what it printed.
        reason: String,
    },
    /// A plugin was killed for taking too long.
    #[error("network {list}: {command} by plugin {plugin:?}: no end within {seconds} s")]
    Deadline {
        /// The list.
        list: String,
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// How long was waited.
        seconds: u64,
    },
    /// A mistake of ours.
    #[error("a network call panicked")]
    Panicked(#[source] crate::sys::worker::Panicked),
}

fn listed(rejected: &[String]) -> String {
    if rejected.is_empty() {
        String::new()
    } else {
        format!(" (passed over: {})", rejected.join("; "))
    }
}

/// CNI's error code for "try again later" (SPEC.md, "Error").
const TRY_AGAIN: u64 = 11;

impl NetworkError {
    /// Whether a plugin that answers so is expected to answer so again: it is missing, or refuses. One that asks to try
    /// again, takes too long, cannot be run or fails without an error of CNI's form may work the next time.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code != TRY_AGAIN,
            Self::NotConfigured { .. }
            | Self::NoPlugin { .. }
            | Self::NoPortMappings { .. }
            | Self::NoAddress { .. } => true,
            Self::File { .. }
            | Self::Run { .. }
            | Self::Malformed { .. }
            | Self::Deadline { .. }
            | Self::Panicked(_) => false,
        }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotConfigured { .. } | Self::NoPlugin { .. } => Code::FailedPrecondition,
            Self::NoPortMappings { .. } => Code::InvalidArgument,
            Self::Refused {
                code: TRY_AGAIN, ..
            } => Code::Unavailable,
            Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Code::ResourceExhausted
            }
            Self::File { .. }
            | Self::NoAddress { .. }
            | Self::Run { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Panicked(_) => Code::Internal,
        }
    }
}
