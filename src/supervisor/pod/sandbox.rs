//! RunPodSandbox, StopPodSandbox, RemovePodSandbox.
//!
//! Owns: the order of their steps. A crash between any two leaves what [`recover`] completes or undoes:
//!
//! ```text
//! run      name --> pod.json, status.json "Creating" --> namespaces --> init --> network --> files --> "Ready"
//! stop     containers --> network --> init, namespaces --> "NotReady"
//! remove   containers --> the same --> cgroup --> pods/ID becomes pods/.gone-ID --> nothing
//! ```
//!
//! Each runs to its end even where its caller goes away.

mod cgroup;
mod files;
pub mod recover;
mod teardown;
mod watch;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::namespaces::{PidScope, Plan, Scope};
use super::{check, container, sandbox_init};
use crate::api::cri;
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::network::given_up::Ending;
use crate::supervisor::network::{self, Plugins};
use crate::supervisor::spec;
use crate::supervisor::store::{
    Container, Kind, Pod, PodCheckpoint, PodMeta, PodState, StoreError, new_id,
};
use crate::sys::file;
use crate::sys::namespace;
use crate::sys::worker;
use crate::types::{ContainerId, Timestamp};

pub use cgroup::cgroup_parent;
pub use recover::{restore, undo, undo_or_keep};

/// How long the disk and the kernel may take for one step.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// What the plugins answered: see [`network`].
const NETWORK_RECORD: &str = "network.json";

/// Runs `work`, which blocks, beside the runtime's thread. After a `Deadline` it may still be done.
async fn step<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::time::timeout(STEP_DEADLINE, worker::run(work)).await;
    match done {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(unfinished(operation, error)),
        Err(_) => Err(Error::Deadline {
            operation: operation.to_owned(),
            seconds: STEP_DEADLINE.as_secs(),
        }),
    }
}

/// A task that panicked, or a runtime that is shutting down.
fn unfinished(
    operation: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    failed(operation, Path::new(""), std::io::Error::other(error))
}

fn failed(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Store(StoreError {
        operation,
        path: path.to_owned(),
        source,
    })
}

/// Makes a pod, ready for containers.
///
/// # Errors
/// [`Error`]; then nothing of it is left, or what could not be undone is a pod that is not ready.
pub async fn run(
    supervisor: &Arc<Supervisor>,
    request: cri::RunPodSandboxRequest,
) -> Result<ContainerId, Error> {
    let ran = tokio::spawn(run_to_the_end(Arc::clone(supervisor), request)).await;
    ran.unwrap_or_else(|error| Err(unfinished("run a pod", error)))
}

async fn run_to_the_end(
    supervisor: Arc<Supervisor>,
    request: cri::RunPodSandboxRequest,
) -> Result<ContainerId, Error> {
    let (config, plan) = checked(&supervisor, &request)?;
    let id = step("draw an id", || {
        new_id().map_err(|error| failed("read", Path::new("/dev/urandom"), error))
    });
    let id = id.await?;
    let name = PodMeta::name(&config);
    let lease = supervisor.store.names().take(Kind::Pod, &name, &id)?;
    crash::point("run_pod.named");
    let meta = PodMeta {
        id: id.clone(),
        config,
        runtime: request.runtime_handler,
        created_at: Timestamp::now(),
    };
    let checkpoint = PodCheckpoint {
        state: PodState::Creating,
        init: None,
    };
    let (pods, dir) = (supervisor.store.layout().pods(), meta.clone());
    let written = checkpoint.clone();
    step("write a pod's files", move || record(&pods, &dir, &written)).await?;
    crash::point("run_pod.recorded");
    let dir = supervisor.store.layout().pod(&id);
    let pod = Pod::new(id.clone(), dir, Some(meta.clone()), checkpoint, Some(lease));
    // Whoever finds it in the store waits until it is made, or is no more.
    let _working = pod.lock_work().await;
    supervisor.store.insert_pod(Arc::clone(&pod));
    let Err(error) = build(&supervisor, &pod, &meta, plan).await else {
        let kinds = [
            cri::ContainerEventType::ContainerCreatedEvent,
            cri::ContainerEventType::ContainerStartedEvent,
        ];
        for kind in kinds {
            supervisor.events.publish(&supervisor.store, &id, kind);
        }
        watch::init(&supervisor, &pod);
        return Ok(id);
    };
    undo_or_keep(&supervisor, &pod).await;
    Err(error)
}

/// What can be said of a request before anything is done for it.
fn checked(
    supervisor: &Supervisor,
    request: &cri::RunPodSandboxRequest,
) -> Result<(cri::PodSandboxConfig, Plan), Error> {
    let Some(config) = request.config.clone() else {
        return Err(Error::invalid("config", "is missing"));
    };
    check::pod(&config)?;
    if supervisor
        .config
        .runtime(&request.runtime_handler)
        .is_none()
    {
        let reason = format!("no runtime is called {:?}", request.runtime_handler);
        return Err(Error::invalid("runtime_handler", reason));
    }
    spec::check_sandbox(&config, &supervisor.host)?;
    let plan = Plan::of(&config)?;
    network::check(&config)?;
    if plan.network == Scope::Node {
        for (index, mapping) in config.port_mappings.iter().enumerate() {
            // kubelet names the ports of such pods, each mapped to itself.
            if mapping.host_port != 0 && mapping.host_port != mapping.container_port {
                return Err(Error::invalid(
                    format!("port_mappings[{index}].host_port"),
                    "differs from container_port, and the pod is on the host's network",
                ));
            }
        }
    }
    Ok((config, plan))
}

/// Makes the pod's directory with both files, or nothing: it gets its name when it is whole. Blocks.
fn record(pods: &Path, meta: &PodMeta, checkpoint: &PodCheckpoint) -> Result<(), Error> {
    let new = pods.join(format!("{}{}", recover::NEW, meta.id));
    let write = || {
        DirBuilder::new().recursive(true).mode(0o700).create(pods)?;
        DirBuilder::new().mode(0o700).create(&new)?;
        meta.write(&new.join("pod.json"))?;
        checkpoint.write(&new.join("status.json"))?;
        crash::point("run_pod.written");
        let dir = pods.join(meta.id.as_str());
        fs::rename(&new, &dir)?;
        file::sync_parent(&dir)
    };
    write().map_err(|error| {
        // The first error is the one to tell; what cannot be removed is left to the next start.
        drop(fs::remove_dir_all(&new));
        failed("make", &new, error)
    })
}

/// Everything between "Creating" and "Ready".
async fn build(
    supervisor: &Arc<Supervisor>,
    pod: &Arc<Pod>,
    meta: &PodMeta,
    plan: Plan,
) -> Result<(), Error> {
    let layout = supervisor.store.layout();
    let dir = layout.pod_state(pod.id());
    let (planned, at) = (plan.clone(), dir.clone());
    step("make the pod's namespaces", move || Ok(planned.make(&at)?)).await?;
    crash::point("run_pod.namespaces");
    if plan.pid == PidScope::Pod {
        start_init(pod, &plan, dir.clone()).await?;
        crash::point("run_pod.init");
    }
    if plan.network == Scope::Pod {
        let plugins = Plugins::from(&supervisor.config);
        let netns = dir.join(namespace::Kind::Net.name());
        let record = pod.dir().join(NETWORK_RECORD);
        let attached = network::attach(&plugins, pod.id(), &meta.config, &netns, &record);
        pod.set_addresses(attached.await?);
        crash::point("run_pod.network");
    }
    let (config, at) = (meta.config.clone(), pod.dir().to_owned());
    step("write the pod's files", move || files::write(&config, &at)).await?;
    crash::point("run_pod.files");
    let ready = PodCheckpoint {
        state: PodState::Ready,
        init: pod.checkpoint().init,
    };
    pod.commit(ready).await?;
    crash::point("run_pod.ready");
    Ok(())
}

/// Starts the init of a shared pid namespace: it lives on its own only when it is on disk which process it is.
async fn start_init(pod: &Arc<Pod>, plan: &Plan, dir: PathBuf) -> Result<(), Error> {
    let kinds = plan.pinned().into_iter();
    let inside: Vec<_> = kinds.map(|kind| (kind, dir.join(kind.name()))).collect();
    let at = dir.clone();
    let waiting = step("start the pod's init", move || {
        sandbox_init::start(&inside).map_err(|error| failed("start the init of", &at, error))
    });
    let waiting = waiting.await?;
    crash::point("run_pod.init_started");
    let recorded = PodCheckpoint {
        state: PodState::Creating,
        init: Some(waiting.identity()),
    };
    if let Err(error) = pod.commit(recorded).await {
        let identity = waiting.identity();
        drop(waiting);
        teardown::end_init(Some(identity)).await?;
        return Err(error.into());
    }
    crash::point("run_pod.init_recorded");
    step("release the pod's init", move || {
        let pin = dir.join(namespace::Kind::Pid.name());
        let released = waiting.release(&pin);
        released.map_err(|error| failed("bind a namespace on", &pin, error))
    })
    .await
}

/// Stops a pod: its containers are killed, its network and namespaces given up. Does nothing where it is stopped.
///
/// # Errors
/// [`Error`]; may be called again.
pub async fn stop(supervisor: &Arc<Supervisor>, pod: &Arc<Pod>) -> Result<(), Error> {
    let (supervisor, pod) = (Arc::clone(supervisor), Arc::clone(pod));
    let stopped = tokio::spawn(async move {
        let _working = pod.lock_work().await;
        if !is_known(&supervisor, &pod) {
            return Ok(());
        }
        let stop = |supervisor: Arc<Supervisor>, container: Arc<Container>| async move {
            container::stop(&supervisor, &container, Duration::ZERO).await?;
            container::end_silent_shim(&supervisor, &container).await
        };
        each_container(&supervisor, pod.id(), stop).await?;
        crash::point("stop_pod.containers");
        give_up(&supervisor, &pod, Ending::Stopped).await
    });
    let stopped = stopped.await;
    stopped.unwrap_or_else(|error| Err(unfinished("stop a pod", error)))
}

/// Removes a pod and its containers, stopped or not.
///
/// # Errors
/// [`Error`]; may be called again.
pub async fn remove(supervisor: &Arc<Supervisor>, pod: &Arc<Pod>) -> Result<(), Error> {
    let (supervisor, pod) = (Arc::clone(supervisor), Arc::clone(pod));
    let removed = tokio::spawn(async move {
        let _working = pod.lock_work().await;
        if !is_known(&supervisor, &pod) {
            return Ok(());
        }
        let remove = |supervisor: Arc<Supervisor>, container: Arc<Container>| async move {
            container::remove(&supervisor, &container).await
        };
        each_container(&supervisor, pod.id(), remove).await?;
        crash::point("remove_pod.containers");
        give_up(&supervisor, &pod, Ending::Removed).await?;
        let id = pod.id().clone();
        teardown::remove_record(&supervisor, &id, pod.meta()).await?;
        supervisor.store.remove_pod(&id);
        supervisor.events.pod_deleted(&supervisor.store, &pod);
        Ok(())
    });
    let removed = removed.await;
    removed.unwrap_or_else(|error| Err(unfinished("remove a pod", error)))
}

/// Whether the pod is in the store still: whoever worked on it before may have removed it.
fn is_known(supervisor: &Supervisor, pod: &Arc<Pod>) -> bool {
    let found = supervisor.store.pod(pod.id().as_str());
    found.is_ok_and(|found| Arc::ptr_eq(&found, pod))
}

/// Does the same to every container of the pod at the same time. All are tried; the first error is answered.
async fn each_container<F>(
    supervisor: &Arc<Supervisor>,
    pod: &ContainerId,
    work: impl Fn(Arc<Supervisor>, Arc<Container>) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for container in supervisor.store.containers_of(pod) {
        tasks.spawn(work(Arc::clone(supervisor), container));
    }
    let mut errors = Vec::new();
    while let Some(done) = tasks.join_next().await {
        errors.extend(
            done.unwrap_or_else(|error| Err(unfinished("stop a container", error)))
                .err(),
        );
    }
    teardown::first(pod, errors)
}

/// Gives up what makes the pod ready. The pod's work is locked.
async fn give_up(
    supervisor: &Arc<Supervisor>,
    pod: &Arc<Pod>,
    ending: Ending,
) -> Result<(), Error> {
    let before = pod.checkpoint();
    teardown::teardown(supervisor, pod.id(), before.init, ending).await?;
    pod.set_addresses(Vec::new());
    let stopped = PodCheckpoint {
        state: PodState::NotReady,
        init: None,
    };
    if before == stopped {
        return Ok(());
    }
    pod.commit(stopped).await?;
    crash::point("stop_pod.recorded");
    if before.state != PodState::NotReady {
        let kind = cri::ContainerEventType::ContainerStoppedEvent;
        supervisor.events.publish(&supervisor.store, pod.id(), kind);
    }
    Ok(())
}
