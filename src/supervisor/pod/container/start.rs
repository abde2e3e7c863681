//! StartContainer.
//!
//! ```text
//! checks --> bundle --> shim --> Create --> Wait is sent --> Start --> RUNNING on disk --> STARTED, monitor
//!   |           `---------`--------`------------`-------------`-----------'
//!   `refused: nothing changes           any failure: EXITED, 128, StartError; the task is killed and deleted
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use oci_spec::runtime::Spec;

use super::{busy, end_silent_shim, meta, wrong_state};
use crate::api::cri;
use crate::bundle::Bundle;
use crate::config::supervisor::Runtime;
use crate::supervisor::cleanup;
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::exits::{self, Ended};
use crate::supervisor::shim_client::{KillScope, ShimClient};
use crate::supervisor::store::{
    self, Activity, Checkpoint, Container, ContainerMeta, ContainerStatus, ExitCause, Phase,
};
use crate::supervisor::{crash, spec};
use crate::sys::proc;
use crate::types::error::chain;
use crate::types::event::TaskIo;
use crate::types::{ExitStatus, Mount, Pid, ProcessIdentity, Signal, Timestamp};

/// The longest line in a CRI log, in bytes (containerd's `max_container_log_line_size`).
const MAX_LOG_LINE: u32 = 16 << 10;

/// StartContainer.
///
/// # Errors
/// [`Error`]; `WrongState` before the start leaves the container as it was, every later one ends it with `StartError`.
pub async fn start(supervisor: &Arc<Supervisor>, container: &Arc<Container>) -> Result<(), Error> {
    let began = Instant::now();
    let _starting = container
        .begin(Phase::Starting)
        .map_err(|phase| busy(container, phase))?;
    let _task = container.lock_task().await;
    let meta = meta(container)?;
    let ContainerStatus::Created { created_at } = container.status() else {
        return Err(wrong_state(container, "it must be CREATED"));
    };
    match run(supervisor, container, meta, created_at).await {
        Ok(()) => {
            supervisor.metrics.started(&meta.runtime, began.elapsed());
            Ok(())
        }
        Err(error) => {
            fail(supervisor, container, &error).await;
            Err(error)
        }
    }
}

async fn run(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    meta: &ContainerMeta,
    created_at: Timestamp,
) -> Result<(), Error> {
    let pod = supervisor.store.pod(meta.pod.as_str())?;
    if !pod.is_ready() {
        return Err(Error::WrongState {
            subject: format!("pod {}", pod.id()),
            state: "not ready".to_owned(),
            needed: "containers start in a ready pod only",
        });
    }
    let target = check_target(supervisor, meta)?;
    let runtime = supervisor.config.runtime(&meta.runtime).ok_or_else(|| {
        Error::invalid(
            "runtime_handler",
            format!("no handler {:?} is configured", meta.runtime),
        )
    })?;
    let bundle = prepare(supervisor, container, target).await?;
    crash::point("start.bundled");
    let shim = ShimClient::launch(&supervisor.home, runtime, container.id(), &bundle).await?;
    container.set_shim(Some(shim.clone()));
    crash::point("start.launched");
    let process = create(supervisor, container, meta, runtime, &shim).await?;
    crash::point("start.created");
    let waiting = tokio::spawn({
        let shim = shim.clone();
        async move { shim.wait().await }
    });
    // Lets that task send its request before Start is sent: no end can come before somebody waits for it.
    tokio::task::yield_now().await;
    shim.start().await?;
    crash::point("start.started");
    let told = shim.started_at().await.unwrap_or_else(|error| {
        log::warn!(container = container.id().as_str(), error:% = chain(&error); "the shim does not say when it started the container");
        None
    });
    let started_at = told.unwrap_or_else(Timestamp::now);
    let running = |before: &Checkpoint| {
        Some(Checkpoint {
            status: ContainerStatus::Running {
                created_at,
                started_at,
                process,
                activity: Activity::Running,
            },
            resources: before.resources.clone(),
        })
    };
    container.commit(running).await?;
    crash::point("start.recorded");
    let started = cri::ContainerEventType::ContainerStartedEvent;
    supervisor
        .events
        .publish(&supervisor.store, container.id(), started);
    let (supervisor, container) = (Arc::clone(supervisor), Arc::clone(container));
    tokio::spawn(async move {
        match waiting.await {
            Ok(answer) => Box::pin(exits::follow(&supervisor, &container, answer)).await,
            // A panic of the task that waits: ask again.
            Err(_) => exits::monitor(&supervisor, &container),
        }
    });
    Ok(())
}

/// The init of the container whose pid namespace is to be joined (`TARGET`), which must be of the same pod and run.
pub(super) fn check_target(
    supervisor: &Supervisor,
    meta: &ContainerMeta,
) -> Result<Option<Pid>, Error> {
    let linux = meta.config.linux.as_ref();
    let context = linux.and_then(|linux| linux.security_context.as_ref());
    let options = context.and_then(|context| context.namespace_options.as_ref());
    let Some(options) = options.filter(|options| options.pid() == cri::NamespaceMode::Target)
    else {
        return Ok(None);
    };
    let field = "linux.security_context.namespace_options.target_id";
    let target = supervisor
        .store
        .container(&options.target_id)
        .map_err(|error| Error::invalid(field, error.to_string()))?;
    if target.meta().is_none_or(|other| other.pod != meta.pod) {
        return Err(Error::invalid(field, "the container is of another pod"));
    }
    match target.status() {
        ContainerStatus::Running { process, .. } => Ok(Some(process.pid)),
        ContainerStatus::Created { .. }
        | ContainerStatus::Exited { .. }
        | ContainerStatus::Unknown { .. } => Err(wrong_state(
            &target,
            "whose pid namespace is joined must be RUNNING",
        )),
    }
}

/// Makes the bundle anew, with the spec that CreateContainer has made.
async fn prepare(
    supervisor: &Supervisor,
    container: &Container,
    target: Option<Pid>,
) -> Result<Bundle, Error> {
    let bundle = supervisor.store.layout().bundle(container.id());
    let (made, spec) = (bundle.clone(), container.dir().join("config.json"));
    let logs = container
        .meta()
        .and_then(|meta| meta.log_path.as_deref()?.parent().map(PathBuf::from));
    store::blocking("make", bundle.dir().to_owned(), move || {
        std::fs::create_dir_all(made.rootfs())?;
        match target {
            None => drop(std::fs::copy(&spec, made.config())?),
            Some(target) => {
                let mut spec: Spec = serde_json::from_slice(&std::fs::read(&spec)?)?;
                spec::set_target(&mut spec, target);
                std::fs::write(made.config(), serde_json::to_vec(&spec)?)?;
            }
        }
        logs.map_or(Ok(()), std::fs::create_dir_all)
    })
    .await?;
    Ok(bundle)
}

/// Creates the task; answers who its init is.
async fn create(
    supervisor: &Supervisor,
    container: &Container,
    meta: &ContainerMeta,
    runtime: &Runtime,
    shim: &ShimClient,
) -> Result<ProcessIdentity, Error> {
    let rootfs: Vec<Mount> = supervisor.images.overlay_mounts(
        &meta.layers,
        &container.dir().join("upper"),
        &container.dir().join("work"),
    );
    let pid = shim.create(runtime, &rootfs, &stdio(meta)).await?;
    // Read while it cannot have ended: it waits for Start.
    let path = PathBuf::from(format!("/proc/{pid}"));
    Ok(store::blocking("read", path, move || proc::identity(pid)).await?)
}

/// The shim itself writes the log.
fn stdio(meta: &ContainerMeta) -> TaskIo {
    let log = meta.log_path.as_deref().map_or_else(String::new, |path| {
        format!(
            "cri://{}?max-line={MAX_LOG_LINE}",
            escape(&path.to_string_lossy())
        )
    });
    TaskIo {
        stdin: String::new(),
        stdout: log.clone(),
        stderr: log,
        terminal: false,
    }
}

/// Percent-encodes what would end the path of a URI (RFC 3986, 3.3).
fn escape(path: &str) -> String {
    path.replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23")
}

/// The start failed: the container has ended, and nothing of its task may stay.
async fn fail(supervisor: &Arc<Supervisor>, container: &Arc<Container>, error: &Error) {
    let end = Ended {
        exit: ExitStatus::START_ERROR,
        at: Timestamp::now(),
        started_at: None,
        cause: ExitCause::StartError(chain(error)),
    };
    exits::ended(supervisor, container, end).await;
    if let Some(shim) = container.shim()
        && let Err(error) = shim.kill(Signal::KILL, KillScope::All).await
    {
        log::debug!(container = container.id().as_str(), error:% = chain(&error); "killing what was started");
    }
    if let Err(error) = end_silent_shim(supervisor, container).await {
        log::warn!(container = container.id().as_str(), error:% = chain(&error); "the shim of a failed start does not answer and cannot be killed");
    }
    if container.is_saved() {
        let Err(error) = cleanup::clean_once(supervisor, container).await else {
            return;
        };
        log::debug!(container = container.id().as_str(), error:% = chain(&error); "cleaning up after a failed start, to be tried again");
    }
    let (supervisor, container) = (Arc::clone(supervisor), Arc::clone(container));
    tokio::spawn(async move { cleanup::clean_when_saved(&supervisor, &container).await });
}
