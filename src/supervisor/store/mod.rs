//! What the supervisor knows: every container and pod by id, and their names. Lists answer from here.
//!
//! The store does not decide anything: [`super::pod`] changes what is in it, [`super::recovery`] fills it at the start.

pub mod container;
pub mod layout;
pub mod meta;
pub mod names;
pub mod pod;
pub mod status;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use container::{Container, Phase, Recovery, Saved};
pub use layout::{Files, Layout};
pub use meta::{ContainerMeta, PodMeta};
pub use names::{Kind, NameLease, NameTaken, Names};
pub use pod::Pod;
pub use status::{Activity, Checkpoint, ContainerStatus, ExitCause, PodCheckpoint, PodState};

use crate::sys::worker;
use crate::types::ContainerId;

/// A file system call of the store failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path:?}")]
pub struct StoreError {
    /// Which call.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Runs `work`, which blocks, beside the runtime's thread.
///
/// # Errors
/// [`StoreError`] with what `work` answered.
pub async fn blocking<T: Send + 'static>(
    operation: &'static str,
    path: PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = worker::run(work).await;
    done.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        .map_err(|source| StoreError {
            operation,
            path,
            source,
        })
}

/// No such container or pod, or more than one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None has that id.
    #[error("no {kind} {id:?}")]
    NotFound {
        /// `container` or `pod`.
        kind: &'static str,
        /// The id or prefix that was asked for.
        id: String,
    },
    /// More than one id begins with it.
    #[error("{id:?} is the beginning of more than one {kind}'s id: {first}, {second}")]
    Ambiguous {
        /// `container` or `pod`.
        kind: &'static str,
        /// The prefix.
        id: String,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
}

#[derive(Debug, Default)]
struct Index {
    containers: BTreeMap<String, Arc<Container>>,
    /// The containers of each pod, by the pod's id.
    of_pods: HashMap<ContainerId, BTreeMap<String, Arc<Container>>>,
    pods: BTreeMap<String, Arc<Pod>>,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    names: Names,
    index: Mutex<Index>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            names: Names::default(),
            index: Mutex::default(),
        }
    }

    /// Where everything is on disk.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The names.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a container.
    pub fn insert_container(&self, container: Arc<Container>) {
        let id = container.id().to_string();
        let mut index = self.index();
        if let Some(meta) = container.meta() {
            let siblings = index.of_pods.entry(meta.pod.clone()).or_default();
            siblings.insert(id.clone(), Arc::clone(&container));
        }
        index.containers.insert(id, container);
    }

    /// Takes a container out; its name is free when the last who works on it is done.
    pub fn remove_container(&self, id: &ContainerId) {
        let mut index = self.index();
        let Some(removed) = index.containers.remove(id.as_str()) else {
            return;
        };
        if let Some(meta) = removed.meta()
            && let Some(siblings) = index.of_pods.get_mut(&meta.pod)
        {
            siblings.remove(id.as_str());
            if siblings.is_empty() {
                index.of_pods.remove(&meta.pod);
            }
        }
    }

    /// Every container, by id.
    #[must_use]
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.index().containers.values().cloned().collect()
    }

    /// How many containers there are.
    #[must_use]
    pub fn container_count(&self) -> usize {
        self.index().containers.len()
    }

    /// The containers of a pod, by id. It looks at no others: lists, statistics and events ask this for each pod.
    #[must_use]
    pub fn containers_of(&self, pod: &ContainerId) -> Vec<Arc<Container>> {
        let index = self.index();
        let siblings = index.of_pods.get(pod);
        siblings.map_or_else(Vec::new, |all| all.values().cloned().collect())
    }

    /// The container with this id, or the one whose id begins with it.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn container(&self, id: &str) -> Result<Arc<Container>, LookupError> {
        find("container", &self.index().containers, id)
    }

    /// Adds a pod.
    pub fn insert_pod(&self, pod: Arc<Pod>) {
        let id = pod.id().to_string();
        self.index().pods.insert(id, pod);
    }

    /// Takes a pod out.
    pub fn remove_pod(&self, id: &ContainerId) {
        self.index().pods.remove(id.as_str());
    }

    /// Every pod, by id.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.index().pods.values().cloned().collect()
    }

    /// The pod with this id, or the one whose id begins with it.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn pod(&self, id: &str) -> Result<Arc<Pod>, LookupError> {
        find("pod", &self.index().pods, id)
    }
}

fn find<T>(
    kind: &'static str,
    map: &BTreeMap<String, Arc<T>>,
    id: &str,
) -> Result<Arc<T>, LookupError> {
    if let Some(found) = map.get(id) {
        return Ok(Arc::clone(found));
    }
    let mut beginning = map
        .range(id.to_owned()..)
        .take_while(|(key, _)| !id.is_empty() && key.starts_with(id));
    match (beginning.next(), beginning.next()) {
        (None, _) => Err(LookupError::NotFound {
            kind,
            id: id.to_owned(),
        }),
        (Some((_, found)), None) => Ok(Arc::clone(found)),
        (Some((first, _)), Some((second, _))) => Err(LookupError::Ambiguous {
            kind,
            id: id.to_owned(),
            first: first.clone(),
            second: second.clone(),
        }),
    }
}

/// A new random id: 64 hexadecimal digits, as containerd's CRI plugin draws them.
///
/// # Errors
/// What reading /dev/urandom answered.
pub fn new_id() -> io::Result<ContainerId> {
    let mut bytes = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    ContainerId::new(&text).map_err(io::Error::other)
}
