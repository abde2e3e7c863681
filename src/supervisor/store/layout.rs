//! Every path name of the supervisor.
//!
//! ```text
//! ROOT/                         survives a reboot                         /var/lib/outlive
//!   outlive.lock                held by the one supervisor (flock(2))
//!   images/                     the image store: crate::images
//!   containers/ID/
//!     container.json            what was asked for: super::meta           once, at CreateContainer
//!     status.json               the checkpoint: super::status             replaced at each change
//!     config.json               the OCI spec, copied into the bundle at each start
//!     upper/ work/              the writable layer (overlayfs)
//!   containers/.new-ID/         on its way to be ID/; recovery removes it
//!   containers/.gone-ID/        was ID/; recovery removes it
//!   pods/ID/
//!     pod.json                  what was asked for: super::meta           first of all
//!     status.json               the checkpoint: super::status
//!     network.json              what the CNI plugins answered             before the pod is ready
//!     resolv.conf hostname hosts
//!   pods/.new-ID/ .gone-ID/     as with containers
//!   networks-left/ID.json       the network of a removed pod that the CNI plugins did not delete
//! STATE/                        gone after a reboot                       /run/outlive
//!   outlive.lock                as in ROOT
//!   outlive.sock                CRI
//!   events.sock                 the shims' events (ttrpc)
//!   pods/ID/                    net ipc uts pid: namespaces, bind mounted; shm/: the pod's /dev/shm
//!   tasks/ID/                   the bundle: crate::bundle::layout
//!   ends/ID/status.json         an EXITED checkpoint that ROOT has not taken yet
//! ```

use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::types::ContainerId;

/// The same in both, so that one supervisor's root cannot be another's state.
const LOCK: &str = "outlive.lock";

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    state: PathBuf,
}

/// Where a container's checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The container's directory below ROOT, with status.json.
    pub dir: PathBuf,
    /// The one below STATE, with status.json only while ROOT does not take an end.
    pub end: PathBuf,
}

impl Layout {
    /// The paths below `root` and `state`, both absolute.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            state: state.into(),
        }
    }

    /// The directory that survives a reboot.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that does not.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The image store.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// All containers.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// One container.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// All pods.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// One pod's lasting part.
    #[must_use]
    pub fn pod(&self, id: &ContainerId) -> PathBuf {
        self.pods().join(id.as_str())
    }

    /// The networks that the CNI plugins did not delete: `supervisor::network::given_up`.
    #[must_use]
    pub fn networks_left(&self) -> PathBuf {
        self.root.join("networks-left")
    }

    /// All pods' passing parts: namespaces and /dev/shm.
    #[must_use]
    pub fn pods_state(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// One pod's passing part.
    #[must_use]
    pub fn pod_state(&self, id: &ContainerId) -> PathBuf {
        self.pods_state().join(id.as_str())
    }

    /// All bundles.
    #[must_use]
    pub fn tasks(&self) -> PathBuf {
        self.state.join("tasks")
    }

    /// One container's bundle.
    #[must_use]
    pub fn bundle(&self, id: &ContainerId) -> Bundle {
        Bundle::new(self.tasks().join(id.as_str()))
    }

    /// All ends that ROOT has not taken.
    #[must_use]
    pub fn ends(&self) -> PathBuf {
        self.state.join("ends")
    }

    /// One container's.
    #[must_use]
    pub fn end(&self, id: &ContainerId) -> PathBuf {
        self.ends().join(id.as_str())
    }

    /// Where a container's checkpoint is.
    #[must_use]
    pub fn files(&self, id: &ContainerId) -> Files {
        Files {
            dir: self.container(id),
            end: self.end(id),
        }
    }

    /// The lock of the one supervisor that writes in ROOT.
    #[must_use]
    pub fn root_lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// The lock of the one supervisor that writes in STATE.
    #[must_use]
    pub fn state_lock(&self) -> PathBuf {
        self.state.join(LOCK)
    }

    /// The socket to which shims send their events.
    #[must_use]
    pub fn events_socket(&self) -> PathBuf {
        self.state.join("events.sock")
    }
}
