//! Facts into the store: every container and pod is there, and is listed, before any shim was asked.
//!
//! A container whose container.json is missing or cannot be believed, or whose name another one has, is there too: shown
//! as UNKNOWN with the reason, unless its checkpoint says that it has ended. It can be stopped and removed.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::classify::Seen;
use super::scan::{ContainerFacts, Listed, PodFacts, Progress, Scan, scan};
use crate::api::cri;
use crate::bundle::Read;
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::store::{
    Checkpoint, Container, ContainerMeta, ContainerStatus, Kind, NameLease, Names, Pod,
    PodCheckpoint, PodMeta, PodState, Recovery, Saved,
};
use crate::types::ContainerId;
use crate::types::error::chain;

/// What a start has to do once everything is listed.
#[derive(Debug)]
pub struct Plan {
    /// When it began.
    pub began: Instant,
    /// Every container.
    pub containers: Vec<Loaded>,
    /// Every pod.
    pub pods: Vec<Arc<Pod>>,
    /// What belongs to nobody.
    pub orphans: Orphans,
}

/// A container in the store whose shim has not been asked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// It.
    pub container: Arc<Container>,
    /// What the disk says of it.
    pub seen: Seen,
}

/// What belonged to no container and no pod before the first call was taken: what is made later is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Bundles without a container.
    pub bundles: Vec<ContainerId>,
    /// Namespaces without a pod.
    pub namespaces: Vec<ContainerId>,
    /// Kept ends without a container.
    pub ends: Vec<ContainerId>,
    /// Directories that were on their way in or out.
    pub leftovers: Vec<PathBuf>,
}

impl Orphans {
    /// Those of a disk; none where the lists that they are missing from are not whole.
    #[must_use]
    pub fn of(scan: &Scan) -> Self {
        let containers: HashSet<_> = scan.containers.iter().map(|facts| &facts.id).collect();
        let pods: HashSet<_> = scan.pods.iter().map(|facts| &facts.id).collect();
        let without =
            |ids: &[ContainerId], owners: &HashSet<&ContainerId>, listed: &Listed| match listed {
                Listed::Whole => ids
                    .iter()
                    .filter(|id| !owners.contains(id))
                    .cloned()
                    .collect(),
                Listed::Partly(_) => Vec::new(),
            };
        Self {
            bundles: without(&scan.bundles, &containers, &scan.containers_listed),
            namespaces: without(&scan.namespaces, &pods, &scan.pods_listed),
            ends: without(&scan.ends, &containers, &scan.containers_listed),
            leftovers: scan.leftovers.clone(),
        }
    }
}

/// A container as its facts are understood.
#[derive(Debug)]
pub struct JudgedContainer {
    /// Its id.
    pub id: ContainerId,
    /// What it was asked to be, where that can be believed.
    pub meta: Option<ContainerMeta>,
    /// Its checkpoint.
    pub seen: Seen,
    /// Its limits.
    pub resources: cri::LinuxContainerResources,
    /// Whether ROOT has that checkpoint: an end may be kept in STATE alone.
    pub saved: Saved,
    /// What is wrong with its files.
    pub damage: Option<String>,
    /// Its name, where it is its.
    pub name: Option<NameLease>,
}

/// A pod as its facts are understood.
#[derive(Debug)]
pub struct JudgedPod {
    /// Its id.
    pub id: ContainerId,
    /// What it was asked to be, where that can be believed.
    pub meta: Option<PodMeta>,
    /// Its checkpoint, or what stands in for it.
    pub checkpoint: PodCheckpoint,
    /// What is wrong with its files.
    pub damage: Option<String>,
    /// Its name, where it is its.
    pub name: Option<NameLease>,
}

/// What is in a file, or why it cannot be believed.
fn believed<T>(read: Read<T>, file: &str) -> Result<T, String> {
    match read {
        Read::Found(content) => Ok(content),
        Read::Absent => Err(format!("{file} is missing")),
        Read::Corrupt(path, reason) => Err(format!("{}: {}", path.display(), chain(&reason))),
    }
}

/// Understands the pods' facts. Of two with one name the earlier has it.
#[must_use]
pub fn judge_pods(facts: Vec<PodFacts>, names: &Names) -> Vec<JudgedPod> {
    let mut judged: Vec<JudgedPod> = facts.into_iter().map(judge_pod).collect();
    judged.sort_by_key(|pod| pod.meta.as_ref().map(|meta| meta.created_at));
    for pod in &mut judged {
        let Some(meta) = &pod.meta else {
            continue;
        };
        match names.take(Kind::Pod, &PodMeta::name(&meta.config), &pod.id) {
            Ok(lease) => pod.name = Some(lease),
            // It is undone anyway.
            Err(_) if pod.checkpoint.state == PodState::Creating => {}
            Err(taken) => {
                pod.checkpoint.state = PodState::Unknown(taken.to_string());
                pod.damage = Some(taken.to_string());
            }
        }
    }
    judged
}

fn judge_pod(facts: PodFacts) -> JudgedPod {
    let unknown = |why: &String| PodCheckpoint {
        state: PodState::Unknown(why.clone()),
        init: None,
    };
    let meta = believed(facts.meta, "pod.json").and_then(|meta| {
        if meta.id == facts.id {
            Ok(meta)
        } else {
            Err(format!("pod.json is of {}", meta.id))
        }
    });
    let checkpoint = match (facts.checkpoint, facts.progress) {
        // RunPodSandbox ended before it had done anything.
        (Read::Absent, Progress::Nothing) => Ok(PodCheckpoint {
            state: PodState::Creating,
            init: None,
        }),
        (read, _) => believed(read, "status.json"),
    };
    let (checkpoint, damage) = match (&meta, checkpoint) {
        (Ok(_), Ok(checkpoint)) => (checkpoint, None),
        (Ok(_), Err(why)) => (unknown(&why), Some(why)),
        // What the checkpoint knows of namespaces and a pid is still needed to stop it.
        (Err(why), Ok(checkpoint)) => (
            PodCheckpoint {
                init: checkpoint.init,
                ..unknown(why)
            },
            Some(why.clone()),
        ),
        (Err(why), Err(_)) => (unknown(why), Some(why.clone())),
    };
    JudgedPod {
        id: facts.id,
        meta: meta.ok(),
        checkpoint,
        damage,
        name: None,
    }
}

/// Understands the containers' facts. Of two with one name the earlier has it.
#[must_use]
pub fn judge_containers(
    facts: Vec<ContainerFacts>,
    pods: &[JudgedPod],
    names: &Names,
) -> Vec<JudgedContainer> {
    let pods: HashMap<_, _> = pods
        .iter()
        .filter_map(|pod| Some((&pod.id, pod.meta.as_ref()?)))
        .collect();
    let mut judged: Vec<_> = facts.into_iter().map(judge_container).collect();
    judged.sort_by_key(|container| container.meta.as_ref().map(|meta| meta.created_at));
    for container in &mut judged {
        let Some(meta) = &container.meta else {
            continue;
        };
        // Without its pod's metadata a container has no full name that another one could have.
        let Some(pod) = pods.get(&meta.pod) else {
            continue;
        };
        let name = ContainerMeta::name(&meta.config, &pod.config);
        match names.take(Kind::Container, &name, &container.id) {
            Ok(lease) => container.name = Some(lease),
            Err(taken) => container.doubt(taken.to_string()),
        }
    }
    judged
}

impl JudgedContainer {
    /// What is there cannot be all true: only an end is still believed.
    fn doubt(&mut self, why: String) {
        match &self.seen {
            Seen::Known(ContainerStatus::Exited { .. }) => {}
            Seen::Known(
                status @ (ContainerStatus::Created { .. }
                | ContainerStatus::Running { .. }
                | ContainerStatus::Unknown { .. }),
            ) => {
                self.seen = Seen::Lost {
                    why: why.clone(),
                    created_at: status.created_at(),
                    started_at: status.started_at(),
                };
            }
            Seen::Lost {
                created_at,
                started_at,
                ..
            } => {
                self.seen = Seen::Lost {
                    why: why.clone(),
                    created_at: *created_at,
                    started_at: *started_at,
                };
            }
        }
        self.damage = Some(why);
    }
}

/// The checkpoint, or the end that was kept because ROOT did not take it. It is final, so that nothing but an end on ROOT
/// can be later.
fn with_end(disk: Read<Checkpoint>, kept: Read<Checkpoint>) -> (Read<Checkpoint>, Saved) {
    let has_ended =
        |checkpoint: &Checkpoint| matches!(checkpoint.status, ContainerStatus::Exited { .. });
    match (disk, kept) {
        (Read::Found(disk), _) if has_ended(&disk) => (Read::Found(disk), Saved::Yes),
        (_, Read::Found(end)) if has_ended(&end) => (Read::Found(end), Saved::NotYet),
        (disk, _) => (disk, Saved::Yes),
    }
}

fn judge_container(facts: ContainerFacts) -> JudgedContainer {
    let meta = believed(facts.meta, "container.json").and_then(|meta| {
        if meta.id == facts.id {
            Ok(meta)
        } else {
            Err(format!("container.json is of {}", meta.id))
        }
    });
    let asked_for = |meta: &ContainerMeta| meta.config.linux.clone()?.resources;
    let (checkpoint, saved) = with_end(facts.checkpoint, facts.end);
    let (seen, resources, damage) = match believed(checkpoint, "status.json") {
        Ok(checkpoint) => (Seen::Known(checkpoint.status), checkpoint.resources, None),
        Err(why) => {
            let lost = Seen::Lost {
                why: why.clone(),
                created_at: meta.as_ref().ok().map(|meta| meta.created_at),
                started_at: None,
            };
            let resources = meta.as_ref().ok().and_then(asked_for).unwrap_or_default();
            (lost, resources, Some(why))
        }
    };
    let mut judged = JudgedContainer {
        id: facts.id,
        meta: None,
        seen,
        resources,
        saved,
        damage,
        name: None,
    };
    match meta {
        Ok(meta) => judged.meta = Some(meta),
        Err(why) => judged.doubt(why),
    }
    judged
}

/// Reads everything that is on disk into the store. Blocks for the disk; nothing is written, no shim is asked.
#[must_use]
pub fn load(supervisor: &Arc<Supervisor>) -> Plan {
    let began = Instant::now();
    let store = &supervisor.store;
    let scan = scan(store.layout());
    let orphans = Orphans::of(&scan);
    for path in &scan.strangers {
        log::warn!(path:? = path; "left alone: this is no container's or pod's directory");
    }
    for listed in [&scan.containers_listed, &scan.pods_listed] {
        if let Listed::Partly(why) = listed {
            log::error!(reason = why.as_str(); "what nothing is known of is kept: the list of what is known is not whole");
        }
    }
    let pods = judge_pods(scan.pods, store.names());
    let judged = judge_containers(scan.containers, &pods, store.names());
    let containers = judged
        .into_iter()
        .map(|container| insert_container(supervisor, container))
        .collect();
    let pods = pods
        .into_iter()
        .map(|pod| insert_pod(supervisor, pod))
        .collect();
    crash::point("recover.loaded");
    Plan {
        began,
        containers,
        pods,
        orphans,
    }
}

fn insert_container(supervisor: &Arc<Supervisor>, judged: JudgedContainer) -> Loaded {
    if let Some(why) = &judged.damage {
        log::error!(container = judged.id.as_str(), reason = why.as_str(); "the container's files cannot be believed");
    }
    let store = &supervisor.store;
    let files = store.layout().files(&judged.id);
    let checkpoint = Checkpoint {
        status: judged.seen.shown(),
        resources: judged.resources,
    };
    let container = Container::new(
        judged.id,
        files,
        judged.meta,
        (checkpoint, judged.saved),
        judged.name,
        Recovery::Pending,
    );
    store.insert_container(Arc::clone(&container));
    Loaded {
        container,
        seen: judged.seen,
    }
}

fn insert_pod(supervisor: &Arc<Supervisor>, judged: JudgedPod) -> Arc<Pod> {
    if let Some(why) = &judged.damage {
        log::error!(pod = judged.id.as_str(), reason = why.as_str(); "the pod's files cannot be believed");
    }
    let dir = supervisor.store.layout().pod(&judged.id);
    let pod = Pod::new(judged.id, dir, judged.meta, judged.checkpoint, judged.name);
    supervisor.store.insert_pod(Arc::clone(&pod));
    pod
}

#[cfg(test)]
#[path = "tests/load.rs"]
mod tests;
