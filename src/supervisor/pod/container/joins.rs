//! What a container has from its pod: the namespaces that it joins and the files that it sees.

use crate::supervisor::error::Error;
use crate::supervisor::pod::namespaces::{PidScope, Plan, SHM, Scope};
use crate::supervisor::spec::{PodFiles, PodNamespace, PodNamespaces, PodPid};
use crate::supervisor::store::{Layout, PodMeta};
use crate::sys::namespace::Kind;

/// Where the pod's namespaces are.
pub(super) fn namespaces(layout: &Layout, pod: &PodMeta) -> Result<PodNamespaces, Error> {
    let plan = Plan::of(&pod.config)?;
    let dir = layout.pod_state(&pod.id);
    let of = |scope, kind: Kind| match scope {
        Scope::Pod => PodNamespace::Pinned(dir.join(kind.name())),
        Scope::Node => PodNamespace::Host,
    };
    Ok(PodNamespaces {
        network: of(plan.network, Kind::Net),
        ipc: of(plan.ipc, Kind::Ipc),
        uts: of(plan.network, Kind::Uts),
        pid: match plan.pid {
            PidScope::Pod => PodPid::Shared(dir.join(Kind::Pid.name())),
            PidScope::Container => PodPid::PerContainer,
            PidScope::Node => PodPid::Host,
        },
    })
}

/// Where the pod's files are.
pub(super) fn files(layout: &Layout, pod: &PodMeta) -> Result<PodFiles, Error> {
    let dir = layout.pod(&pod.id);
    let shm = match Plan::of(&pod.config)?.ipc {
        Scope::Pod => Some(layout.pod_state(&pod.id).join(SHM)),
        Scope::Node => None,
    };
    Ok(PodFiles {
        resolv_conf: Some(dir.join("resolv.conf")),
        hostname: Some(dir.join("hostname")),
        hosts: Some(dir.join("hosts")),
        dev_shm: shm,
    })
}
