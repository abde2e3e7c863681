//! `status.json`: what is known of a container and a pod, in a form that survives the supervisor.
//!
//! ```text
//! containers/ID/status.json                                      pods/ID/status.json
//! {"version":1,                                                  {"version":1,
//!  "state":{"Running":{"created_at":..,"started_at":..,..}},      "state":"Ready" | {"NotReady":{..}} | ..,
//!  "resources":"base64 of runtime.v1.LinuxContainerResources"}    "init":{"pid":..,"start_ticks":..,"boot_id":".."}}
//! ```
//!
//! Times are Unix nanoseconds. Written whole or not at all ([`crate::sys::file::replace`]). A file of a later version
//! is Corrupt, and so is one with a key that this version does not know: nothing that it cannot keep is dropped. But for
//! fields of the protobuf in `resources` that only a later CRI has: a container is not UNKNOWN for their sake.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::api::cri;
use crate::bundle::{CorruptReason, Read, read_bytes};
use crate::sys::file;
use crate::types::{ExitStatus, Pid, ProcessIdentity, Timestamp};

/// The version that is written.
const VERSION: u32 = 1;
/// Larger than any status.
const MAX_LEN: u64 = 1 << 20;

/// What a container is.
///
/// ```text
/// Created --start--> Running --exit--> Exited --remove--> (gone)
///    `--start failed--------------------^
/// Unknown: told by nobody that can be believed; leaves by stop (Exited) or when its shim answers again
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerStatus {
    /// Created, not started.
    Created {
        /// When it was created.
        created_at: Timestamp,
    },
    /// Running, or frozen.
    Running {
        /// When it was created.
        created_at: Timestamp,
        /// When its program was started, as the shim tells.
        started_at: Timestamp,
        /// Its init.
        process: ProcessIdentity,
        /// Whether it is frozen.
        activity: Activity,
    },
    /// Ended. `finished_at` never changes.
    Exited {
        /// When it was created.
        created_at: Timestamp,
        /// When its program was started; `None` where it never was.
        started_at: Option<Timestamp>,
        /// When it ended.
        finished_at: Timestamp,
        /// How it ended.
        exit: ExitStatus,
        /// Why it ended.
        cause: ExitCause,
    },
    /// Not known: CRI's UNKNOWN.
    Unknown {
        /// When it was created, as far as known.
        created_at: Option<Timestamp>,
        /// When it was started, as far as known.
        started_at: Option<Timestamp>,
        /// Its init, as far as known.
        process: Option<ProcessIdentity>,
        /// Why nothing is known.
        reason: String,
    },
}

/// Whether a running container is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Not frozen.
    Running,
    /// Frozen (`pause`).
    Paused,
}

/// Why a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// By itself, or by a signal: CRI's reason is `Completed` for 0 and `Error` otherwise.
    Exited,
    /// It was killed for want of memory: `OOMKilled`.
    OomKilled,
    /// It could not be started: `StartError`, with the message.
    StartError(String),
    /// Nobody saw its end: `Unknown`, with what is known of the reason.
    Unknown(String),
}

impl ContainerStatus {
    /// CRI's state.
    #[must_use]
    pub const fn state(&self) -> cri::ContainerState {
        match self {
            Self::Created { .. } => cri::ContainerState::ContainerCreated,
            Self::Running { .. } => cri::ContainerState::ContainerRunning,
            Self::Exited { .. } => cri::ContainerState::ContainerExited,
            Self::Unknown { .. } => cri::ContainerState::ContainerUnknown,
        }
    }

    /// When the container was created, as far as known.
    #[must_use]
    pub const fn created_at(&self) -> Option<Timestamp> {
        match self {
            Self::Created { created_at }
            | Self::Running { created_at, .. }
            | Self::Exited { created_at, .. } => Some(*created_at),
            Self::Unknown { created_at, .. } => *created_at,
        }
    }

    /// When its program was started, as far as known.
    #[must_use]
    pub const fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Created { .. } => None,
            Self::Running { started_at, .. } => Some(*started_at),
            Self::Exited { started_at, .. } | Self::Unknown { started_at, .. } => *started_at,
        }
    }

    /// Its init, where it may be alive.
    #[must_use]
    pub const fn process(&self) -> Option<ProcessIdentity> {
        match self {
            Self::Running { process, .. } => Some(*process),
            Self::Unknown { process, .. } => *process,
            Self::Created { .. } | Self::Exited { .. } => None,
        }
    }

    /// CRI's `reason` and `message`.
    #[must_use]
    pub fn reason(&self) -> (&str, &str) {
        match self {
            Self::Created { .. } | Self::Running { .. } => ("", ""),
            Self::Exited { cause, exit, .. } => match cause {
                ExitCause::Exited if exit.get() == 0 => ("Completed", ""),
                ExitCause::Exited => ("Error", ""),
                ExitCause::OomKilled => ("OOMKilled", ""),
                ExitCause::StartError(message) => ("StartError", message),
                ExitCause::Unknown(message) => ("Unknown", message),
            },
            Self::Unknown { reason, .. } => ("Unknown", reason),
        }
    }
}

/// A container's checkpoint: all that changes after its creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What it is.
    pub status: ContainerStatus,
    /// Its limits as last set.
    pub resources: cri::LinuxContainerResources,
}

impl Checkpoint {
    /// Writes it to `path`, durably. Blocks for two fsyncs.
    ///
    /// # Errors
    /// What the file system answered; the old file is then still there.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let file = ContainerFile {
            version: VERSION,
            state: StateFile::from(&self.status),
            resources: BASE64.encode(self.resources.encode_to_vec()),
        };
        file::replace(path, &serde_json::to_vec(&file)?)
    }

    /// Reads it from `path`.
    #[must_use]
    pub fn read(path: &Path) -> Read<Self> {
        read_bytes(path, MAX_LEN).and_parse(path, |bytes| Self::parse(&bytes))
    }

    /// Reads it from the bytes of a file.
    ///
    /// # Errors
    /// Why they cannot be believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CorruptReason> {
        let file: ContainerFile = parse(bytes)?;
        let resources = BASE64.decode(file.resources).map_err(malformed)?;
        Ok(Self {
            status: file.state.into_status()?,
            resources: cri::LinuxContainerResources::decode(&*resources).map_err(malformed)?,
        })
    }
}

/// What a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodState {
    /// Being made: recovery undoes it.
    Creating,
    /// Its namespaces are there.
    Ready,
    /// Stopped, or its namespaces are gone.
    NotReady,
    /// Not known, with the reason: reported as not ready, and kept.
    Unknown(String),
}

/// A pod's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCheckpoint {
    /// What it is.
    pub state: PodState,
    /// The init of a shared pid namespace, where there is one.
    pub init: Option<ProcessIdentity>,
}

impl PodCheckpoint {
    /// Writes it to `path`, durably. Blocks for two fsyncs.
    ///
    /// # Errors
    /// What the file system answered; the old file is then still there.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let file = PodFile {
            version: VERSION,
            state: self.state.clone(),
            init: self.init.map(Into::into),
        };
        file::replace(path, &serde_json::to_vec(&file)?)
    }

    /// Reads it from `path`.
    #[must_use]
    pub fn read(path: &Path) -> Read<Self> {
        read_bytes(path, MAX_LEN).and_parse(path, |bytes| {
            let file: PodFile = parse(&bytes)?;
            Ok(Self {
                state: file.state,
                init: file.init.map(IdentityFile::into_identity).transpose()?,
            })
        })
    }
}

/// Only the version of a file: looked at first, since a later one may have any other fields.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, CorruptReason> {
    let found: Version = serde_json::from_slice(bytes).map_err(malformed)?;
    if found.version != VERSION {
        return Err(CorruptReason::Version(found.version));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

pub(super) fn malformed(error: impl std::fmt::Display) -> CorruptReason {
    CorruptReason::Malformed(error.to_string())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerFile {
    version: u32,
    state: StateFile,
    resources: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PodFile {
    version: u32,
    state: PodState,
    init: Option<IdentityFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    pid: u32,
    start_ticks: u64,
    /// 32 hexadecimal digits: JSON's numbers are shorter.
    boot_id: String,
}

impl From<ProcessIdentity> for IdentityFile {
    fn from(identity: ProcessIdentity) -> Self {
        Self {
            pid: identity.pid.get(),
            start_ticks: identity.start_ticks,
            boot_id: format!("{:032x}", identity.boot_id),
        }
    }
}

impl IdentityFile {
    fn into_identity(self) -> Result<ProcessIdentity, CorruptReason> {
        Ok(ProcessIdentity {
            pid: Pid::new(self.pid).ok_or_else(|| malformed("pid"))?,
            start_ticks: self.start_ticks,
            boot_id: u128::from_str_radix(&self.boot_id, 16).map_err(malformed)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum StateFile {
    Created {
        created_at: u64,
    },
    Running {
        created_at: u64,
        started_at: u64,
        process: IdentityFile,
        activity: Activity,
    },
    Exited {
        created_at: u64,
        started_at: Option<u64>,
        finished_at: u64,
        exit: u8,
        cause: ExitCause,
    },
    Unknown {
        created_at: Option<u64>,
        started_at: Option<u64>,
        process: Option<IdentityFile>,
        reason: String,
    },
}

impl From<&ContainerStatus> for StateFile {
    fn from(status: &ContainerStatus) -> Self {
        match status {
            ContainerStatus::Created { created_at } => Self::Created {
                created_at: created_at.unix_nanos(),
            },
            ContainerStatus::Running {
                created_at,
                started_at,
                process,
                activity,
            } => Self::Running {
                created_at: created_at.unix_nanos(),
                started_at: started_at.unix_nanos(),
                process: (*process).into(),
                activity: *activity,
            },
            ContainerStatus::Exited {
                created_at,
                started_at,
                finished_at,
                exit,
                cause,
            } => Self::Exited {
                created_at: created_at.unix_nanos(),
                started_at: started_at.map(Timestamp::unix_nanos),
                finished_at: finished_at.unix_nanos(),
                exit: exit.get(),
                cause: cause.clone(),
            },
            ContainerStatus::Unknown {
                created_at,
                started_at,
                process,
                reason,
            } => Self::Unknown {
                created_at: created_at.map(Timestamp::unix_nanos),
                started_at: started_at.map(Timestamp::unix_nanos),
                process: process.map(Into::into),
                reason: reason.clone(),
            },
        }
    }
}

impl StateFile {
    fn into_status(self) -> Result<ContainerStatus, CorruptReason> {
        let time = Timestamp::from_unix_nanos;
        Ok(match self {
            Self::Created { created_at } => ContainerStatus::Created {
                created_at: time(created_at),
            },
            Self::Running {
                created_at,
                started_at,
                process,
                activity,
            } => ContainerStatus::Running {
                created_at: time(created_at),
                started_at: time(started_at),
                process: process.into_identity()?,
                activity,
            },
            Self::Exited {
                created_at,
                started_at,
                finished_at,
                exit,
                cause,
            } => ContainerStatus::Exited {
                created_at: time(created_at),
                started_at: started_at.map(time),
                finished_at: time(finished_at),
                exit: ExitStatus::from_code(exit),
                cause,
            },
            Self::Unknown {
                created_at,
                started_at,
                process,
                reason,
            } => ContainerStatus::Unknown {
                created_at: created_at.map(time),
                started_at: started_at.map(time),
                process: process.map(IdentityFile::into_identity).transpose()?,
                reason,
            },
        })
    }
}
