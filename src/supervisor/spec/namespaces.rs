//! The namespaces that a container joins, makes or does without.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Kind, Spec};

use super::checks::enumeration;
use super::{CgroupVersion, Inputs, Privilege, SpecError};
use crate::api::cri::{self, NamespaceMode};
use crate::types::Pid;

const FIELD: &str = "linux.security_context.namespace_options";

/// One of a pod's namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodNamespace {
    /// The pod has none of its own: it is in the host's (`NODE`).
    Host,
    /// Pinned by this bind mount.
    Pinned(PathBuf),
}

/// A pod's pid namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPid {
    /// The host's (`NODE`).
    Host,
    /// One for all its containers (`POD`), pinned by this bind mount and kept by an init.
    Shared(PathBuf),
    /// One a container (`CONTAINER`).
    PerContainer,
}

/// A pod's namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNamespaces {
    /// Network.
    pub network: PodNamespace,
    /// System V IPC and message queues.
    pub ipc: PodNamespace,
    /// Host name.
    pub uts: PodNamespace,
    /// Processes.
    pub pid: PodPid,
}

/// Whose IPC namespace a container is in, and so which /dev/shm it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ipc {
    Host,
    Pod,
    Own,
}

/// What a container was found to be in.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) namespaces: Vec<LinuxNamespace>,
    pub(super) ipc: Ipc,
}

fn entry(kind: Kind, path: Option<&Path>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace
        .set_typ(kind)
        .set_path(path.map(Path::to_path_buf));
    namespace
}

/// A network or IPC namespace: where it is, `None` for the host's.
fn chosen(
    kind: Kind,
    field: &str,
    mode: NamespaceMode,
    pod: &PodNamespace,
) -> Result<Option<LinuxNamespace>, SpecError> {
    match (mode, pod) {
        (NamespaceMode::Pod, PodNamespace::Pinned(path)) => Ok(Some(entry(kind, Some(path)))),
        (NamespaceMode::Pod, PodNamespace::Host) | (NamespaceMode::Node, _) => Ok(None),
        (NamespaceMode::Container, _) => Ok(Some(entry(kind, None))),
        (NamespaceMode::Target, _) => Err(SpecError::invalid(
            format!("{FIELD}.{field}"),
            "TARGET is for the pid namespace only",
        )),
    }
}

fn pid(mode: NamespaceMode, inputs: &Inputs<'_>) -> Result<Option<LinuxNamespace>, SpecError> {
    match (mode, &inputs.namespaces.pid) {
        (NamespaceMode::Pod, PodPid::Shared(path)) => Ok(Some(entry(Kind::Pid, Some(path)))),
        (NamespaceMode::Pod, PodPid::Host) | (NamespaceMode::Node, _) => Ok(None),
        (NamespaceMode::Pod, PodPid::PerContainer) => Err(SpecError::invalid(
            format!("{FIELD}.pid"),
            "POD, but the pod was made with a pid namespace for each container",
        )),
        (NamespaceMode::Container, _) => Ok(Some(entry(Kind::Pid, None))),
        (NamespaceMode::Target, _) => match inputs.target {
            Some(pid) => Ok(Some(entry(Kind::Pid, Some(&of_process(pid))))),
            None => Err(SpecError::invalid(
                format!("{FIELD}.target_id"),
                "no running container of the pod",
            )),
        },
    }
}

fn of_process(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/pid"))
}

/// Puts the pid namespace of another process into a finished specification: what `TARGET` names may have another
/// process at StartContainer than it had at CreateContainer.
pub fn set_target(spec: &mut Spec, target: Pid) {
    let linux = spec.linux_mut().as_mut();
    for namespace in linux
        .and_then(|linux| linux.namespaces_mut().as_mut())
        .into_iter()
        .flatten()
    {
        if namespace.typ() == Kind::Pid {
            namespace.set_path(Some(of_process(target)));
        }
    }
}

/// The modes, as the container asks for them. A container that has no `namespace_options` at all asks for its pod's.
fn modes(
    asked: Option<&cri::NamespaceOption>,
    pod: &PodPid,
) -> Result<[NamespaceMode; 3], SpecError> {
    let Some(asked) = asked else {
        let pid = match pod {
            PodPid::Host | PodPid::Shared(_) => NamespaceMode::Pod,
            PodPid::PerContainer => NamespaceMode::Container,
        };
        return Ok([NamespaceMode::Pod, NamespaceMode::Pod, pid]);
    };
    let cri::NamespaceOption {
        network,
        pid,
        ipc,
        target_id,
        userns_options,
    } = asked;
    let pid: NamespaceMode = enumeration(&format!("{FIELD}.pid"), *pid)?;
    match (pid, target_id.is_empty()) {
        (NamespaceMode::Target, true) => {
            return Err(SpecError::invalid(
                format!("{FIELD}.target_id"),
                "TARGET needs one",
            ));
        }
        (NamespaceMode::Pod | NamespaceMode::Container | NamespaceMode::Node, false) => {
            return Err(SpecError::invalid(
                format!("{FIELD}.target_id"),
                "only TARGET has one",
            ));
        }
        _ => {}
    }
    user(&format!("{FIELD}.userns_options"), userns_options.as_ref())?;
    Ok([
        enumeration(&format!("{FIELD}.network"), *network)?,
        enumeration(&format!("{FIELD}.ipc"), *ipc)?,
        pid,
    ])
}

/// User namespaces: only that there is none can be asked for.
pub(super) fn user(field: &str, asked: Option<&cri::UserNamespace>) -> Result<(), SpecError> {
    let Some(cri::UserNamespace { mode, uids, gids }) = asked else {
        return Ok(());
    };
    match enumeration(&format!("{field}.mode"), *mode)? {
        NamespaceMode::Node if uids.is_empty() && gids.is_empty() => Ok(()),
        NamespaceMode::Node => Err(SpecError::invalid(field, "NODE maps no ids")),
        NamespaceMode::Pod => Err(SpecError::unsupported(field, "no user namespaces yet")),
        NamespaceMode::Container | NamespaceMode::Target => Err(SpecError::invalid(
            format!("{field}.mode"),
            "neither POD nor NODE",
        )),
    }
}

/// The container's namespaces. The mount namespace is always its own, the host name always the pod's; a control group
/// namespace it has on version 2 unless it is privileged, as containerd does.
pub(super) fn choose(
    asked: Option<&cri::NamespaceOption>,
    privilege: Privilege,
    inputs: &Inputs<'_>,
) -> Result<Chosen, SpecError> {
    let pod = inputs.namespaces;
    let [network, ipc, pid_mode] = modes(asked, &pod.pid)?;
    let mut namespaces = vec![entry(Kind::Mount, None)];
    namespaces.extend(pid(pid_mode, inputs)?);
    namespaces.extend(chosen(Kind::Network, "network", network, &pod.network)?);
    namespaces.extend(chosen(Kind::Ipc, "ipc", ipc, &pod.ipc)?);
    if let PodNamespace::Pinned(path) = &pod.uts {
        namespaces.push(entry(Kind::Uts, Some(path)));
    }
    if inputs.host.cgroups == CgroupVersion::V2 && privilege == Privilege::Confined {
        namespaces.push(entry(Kind::Cgroup, None));
    }
    let ipc = match (ipc, &pod.ipc) {
        (NamespaceMode::Container, _) => Ipc::Own,
        (NamespaceMode::Pod, PodNamespace::Pinned(_)) => Ipc::Pod,
        _ => Ipc::Host,
    };
    Ok(Chosen { namespaces, ipc })
}
