//! What is known, in CRI's words: pure functions over the store's containers and pods.
//!
//! The fields are filled as containerd's CRI plugin does (`internal/cri/server/container_status.go`,
//! `container_list.go`, `sandbox_status.go`, `sandbox_list.go`). A container or pod whose metadata cannot be read is
//! shown under its id with empty metadata; CRI's consumers do not expect that message to be missing.

use std::collections::HashMap;

use crate::api::cri;
use crate::supervisor::network;
use crate::supervisor::store::{Checkpoint, Container, ContainerStatus, Pod, PodState};
use crate::types::Timestamp;

/// CRI's time: nanoseconds since the epoch.
#[must_use]
pub fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.unix_nanos()).unwrap_or(i64::MAX)
}

/// As [`nanos`], with CRI's word for never.
fn nanos_or_zero(at: Option<Timestamp>) -> i64 {
    at.map_or(0, nanos)
}

/// ContainerStatus's answer.
#[must_use]
pub fn container_status(container: &Container) -> cri::ContainerStatus {
    let Checkpoint { status, resources } = container.checkpoint();
    let (reason, message) = status.reason();
    let mut answer = cri::ContainerStatus {
        id: container.id().to_string(),
        metadata: Some(cri::ContainerMetadata::default()),
        state: status.state().into(),
        created_at: nanos_or_zero(status.created_at()),
        started_at: nanos_or_zero(status.started_at()),
        reason: reason.to_owned(),
        message: message.to_owned(),
        resources: Some(cri::ContainerResources {
            linux: Some(resources),
            windows: None,
        }),
        ..Default::default()
    };
    match &status {
        ContainerStatus::Exited {
            finished_at, exit, ..
        } => {
            answer.finished_at = nanos(*finished_at);
            answer.exit_code = exit.get().into();
        }
        ContainerStatus::Created { .. }
        | ContainerStatus::Running { .. }
        | ContainerStatus::Unknown { .. } => (),
    }
    if let Some(meta) = container.meta() {
        let config = &meta.config;
        answer.metadata = config.metadata.clone().or(answer.metadata);
        answer.image = config.image.clone().map(named_image);
        answer.image_ref.clone_from(&meta.image_id);
        answer.image_id.clone_from(&meta.image_id);
        answer.labels.clone_from(&config.labels);
        answer.annotations.clone_from(&config.annotations);
        answer.mounts.clone_from(&config.mounts);
        answer.user = meta
            .user
            .clone()
            .map(|linux| cri::ContainerUser { linux: Some(linux) });
        let log_path = meta.log_path.as_ref();
        answer.log_path = log_path.map_or_else(String::new, |path| path.display().to_string());
    }
    answer
}

/// The image under the name that people gave it. kubelet creates containers by the image's id, and shows what
/// ContainerStatus says in the pod's status; containerd puts a tag of the image there (`container_status.go`).
fn named_image(image: cri::ImageSpec) -> cri::ImageSpec {
    match image.user_specified_image.is_empty() {
        true => image,
        false => cri::ImageSpec {
            image: image.user_specified_image.clone(),
            ..image
        },
    }
}

/// One line of ListContainers.
#[must_use]
pub fn container(container: &Container) -> cri::Container {
    let status = container.status();
    let mut line = cri::Container {
        id: container.id().to_string(),
        metadata: Some(cri::ContainerMetadata::default()),
        state: status.state().into(),
        created_at: nanos_or_zero(status.created_at()),
        ..Default::default()
    };
    if let Some(meta) = container.meta() {
        let config = &meta.config;
        line.pod_sandbox_id = meta.pod.to_string();
        line.metadata = config.metadata.clone().or(line.metadata);
        line.image = config.image.clone();
        line.image_ref.clone_from(&meta.image_id);
        line.image_id.clone_from(&meta.image_id);
        line.labels.clone_from(&config.labels);
        line.annotations.clone_from(&config.annotations);
    }
    line
}

/// The state of a pod: what is not known is not ready.
#[must_use]
pub fn pod_state(state: &PodState) -> cri::PodSandboxState {
    match state {
        PodState::Ready => cri::PodSandboxState::SandboxReady,
        PodState::Creating | PodState::NotReady | PodState::Unknown(_) => {
            cri::PodSandboxState::SandboxNotready
        }
    }
}

/// The namespaces that the pod was asked to have; CRI's defaults where it was asked for none.
#[must_use]
pub fn pod_namespaces(config: &cri::PodSandboxConfig) -> cri::NamespaceOption {
    let linux = config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref());
    let namespaces = security.and_then(|security| security.namespace_options.clone());
    namespaces.unwrap_or_default()
}

/// PodSandboxStatus's answer.
#[must_use]
pub fn pod_status(pod: &Pod) -> cri::PodSandboxStatus {
    let mut answer = cri::PodSandboxStatus {
        id: pod.id().to_string(),
        metadata: Some(cri::PodSandboxMetadata::default()),
        state: pod_state(&pod.checkpoint().state).into(),
        network: Some(network::status(&pod.addresses()).unwrap_or_default()),
        ..Default::default()
    };
    if let Some(meta) = pod.meta() {
        let config = &meta.config;
        answer.created_at = nanos(meta.created_at);
        answer.metadata = config.metadata.clone().or(answer.metadata);
        answer.labels.clone_from(&config.labels);
        answer.annotations.clone_from(&config.annotations);
        answer.runtime_handler.clone_from(&meta.runtime);
        answer.linux = Some(cri::LinuxPodSandboxStatus {
            namespaces: Some(cri::Namespace {
                options: Some(pod_namespaces(config)),
            }),
        });
    }
    answer
}

/// One line of ListPodSandbox.
#[must_use]
pub fn pod(pod: &Pod) -> cri::PodSandbox {
    let mut line = cri::PodSandbox {
        id: pod.id().to_string(),
        metadata: Some(cri::PodSandboxMetadata::default()),
        state: pod_state(&pod.checkpoint().state).into(),
        ..Default::default()
    };
    if let Some(meta) = pod.meta() {
        let config = &meta.config;
        line.created_at = nanos(meta.created_at);
        line.metadata = config.metadata.clone().or(line.metadata);
        line.labels.clone_from(&config.labels);
        line.annotations.clone_from(&config.annotations);
        line.runtime_handler.clone_from(&meta.runtime);
    }
    line
}

/// What a list is narrowed to. Ids may be the beginnings of ids, and empty ones narrow nothing.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The container's or pod's own id.
    pub id: String,
    /// The pod's id, for containers.
    pub pod: String,
    /// CRI's number of the state.
    pub state: Option<i32>,
    /// Labels that must all be there with these values.
    pub labels: HashMap<String, String>,
}

impl From<Option<cri::ContainerFilter>> for Selection {
    fn from(filter: Option<cri::ContainerFilter>) -> Self {
        filter.map_or_else(Self::default, |filter| Self {
            id: filter.id,
            pod: filter.pod_sandbox_id,
            state: filter.state.map(|value| value.state),
            labels: filter.label_selector,
        })
    }
}

impl From<Option<cri::PodSandboxFilter>> for Selection {
    fn from(filter: Option<cri::PodSandboxFilter>) -> Self {
        filter.map_or_else(Self::default, |filter| Self {
            id: filter.id,
            pod: String::new(),
            state: filter.state.map(|value| value.state),
            labels: filter.label_selector,
        })
    }
}

impl From<Option<cri::ContainerStatsFilter>> for Selection {
    fn from(filter: Option<cri::ContainerStatsFilter>) -> Self {
        filter.map_or_else(Self::default, |filter| Self {
            id: filter.id,
            pod: filter.pod_sandbox_id,
            state: None,
            labels: filter.label_selector,
        })
    }
}

impl From<Option<cri::PodSandboxStatsFilter>> for Selection {
    fn from(filter: Option<cri::PodSandboxStatsFilter>) -> Self {
        filter.map_or_else(Self::default, |filter| Self {
            id: filter.id,
            pod: String::new(),
            state: None,
            labels: filter.label_selector,
        })
    }
}

impl Selection {
    /// Whether a line of ListContainers is among it.
    #[must_use]
    pub fn has_container(&self, line: &cri::Container) -> bool {
        self.has(&line.id, line.state, &line.labels) && line.pod_sandbox_id.starts_with(&self.pod)
    }

    /// Whether a line of ListPodSandbox is among it.
    #[must_use]
    pub fn has_pod(&self, line: &cri::PodSandbox) -> bool {
        self.has(&line.id, line.state, &line.labels)
    }

    fn has(&self, id: &str, state: i32, labels: &HashMap<String, String>) -> bool {
        let mut wanted = self.labels.iter();
        id.starts_with(&self.id)
            && self.state.is_none_or(|wanted| wanted == state)
            && wanted.all(|(key, value)| labels.get(key) == Some(value))
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
