//! How a container's end becomes known, once: the shim's answer to Wait, its TaskExit event and the record on disk are
//! merged here.
//!
//! ```text
//! Wait answers ----.
//! TaskExit event --+--> ended(): checkpoint --> memory --> STOPPED event --> clean_when_saved(): task, shim, bundle
//! exit journal ----'       (the first one counts: an Exited container does not end again)
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::context::Supervisor;
use super::recovery::ask::is_absent;
use super::recovery::scan::{endpoint_of, recorded_exit};
use super::shim_client::{self, KillScope, ShimClient, ShimError};
use super::store::{self, Checkpoint, Container, ContainerStatus, ExitCause};
use crate::api::cri;
use crate::bundle::{Bundle, ExitEntry, Read, endpoint};
use crate::config::supervisor::Runtime;
use crate::supervisor::crash;
use crate::types::error::chain;
use crate::types::{ExitRecord, ExitStatus, Pid, Signal, Timestamp};

/// How long the first pause between two attempts to clean up is; doubled each time.
const CLEAN_AGAIN: Duration = Duration::from_millis(200);
/// How often cleaning up is attempted; what is left then is done by the next start of the supervisor.
const CLEAN_TRIES: u32 = 8;
/// How long after a container's end another shim's OOM event may come.
const OOM_NOTICE: Duration = Duration::from_millis(300);
/// How long the end of a task that was killed to be deleted may take to become known.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How its init ended.
    pub exit: ExitStatus,
    /// When.
    pub at: Timestamp,
    /// When its program was started, where the one who tells knows it.
    pub started_at: Option<Timestamp>,
    /// Why it ended.
    pub cause: ExitCause,
}

impl Ended {
    /// What an entry of the exit journal says.
    #[must_use]
    pub fn recorded(entry: &ExitEntry) -> Self {
        Self {
            exit: entry.status,
            at: entry.exited_at,
            started_at: entry.started_at,
            cause: if entry.oom_killed {
                ExitCause::OomKilled
            } else {
                ExitCause::Exited
            },
        }
    }

    /// Nobody saw it end, which must have been by now.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self {
            exit: ExitStatus::UNKNOWN,
            at: Timestamp::now(),
            started_at: None,
            cause: ExitCause::Unknown(why.into()),
        }
    }

    /// The checkpoint after it; `None` where the container has ended before.
    #[must_use]
    pub fn apply(self, before: &Checkpoint) -> Option<Checkpoint> {
        if matches!(before.status, ContainerStatus::Exited { .. }) {
            return None;
        }
        let started_at = before.status.started_at().or(self.started_at);
        Some(Checkpoint {
            status: ContainerStatus::Exited {
                created_at: before.status.created_at().unwrap_or(self.at),
                started_at,
                // A clock that was set back must not let a container end before it began.
                finished_at: started_at.map_or(self.at, |started| self.at.max(started)),
                exit: self.exit,
                cause: self.cause,
            },
            resources: before.resources.clone(),
        })
    }
}

/// Records and announces the end of a container. Does nothing where it has ended before.
pub async fn ended(supervisor: &Arc<Supervisor>, container: &Arc<Container>, end: Ended) {
    let changed = container.observe(|before| end.apply(before)).await;
    if let Some(after) = changed {
        crash::point("exit.recorded");
        let (reason, _) = after.status.reason();
        supervisor.metrics.exited(reason);
        log::info!(container = container.id().as_str(), reason = reason; "the container has ended");
        let stopped = cri::ContainerEventType::ContainerStoppedEvent;
        supervisor
            .events
            .publish(&supervisor.store, container.id(), stopped);
    }
}

/// Waits, in a task of its own, for the end of a container that has a connection to its shim, then records it and
/// cleans up. `already` is a Wait that was sent before the container was started.
pub fn monitor(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    let (supervisor, container) = (Arc::clone(supervisor), Arc::clone(container));
    tokio::spawn(async move {
        let Some(shim) = container.shim() else {
            return;
        };
        let answer = shim.wait().await;
        // On the heap and not in this task: there is one for every container that runs, and it waits.
        Box::pin(follow(&supervisor, &container, answer)).await;
    });
}

/// Goes on with what Wait answered, until the container has ended.
pub async fn follow(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    mut answer: Result<ExitRecord, ShimError>,
) {
    let mut pause = CLEAN_AGAIN;
    loop {
        match answer {
            Ok(record) => {
                let end = told(supervisor, container, record).await;
                ended(supervisor, container, end).await;
                break;
            }
            Err(ShimError::Gone { .. }) => {
                if !again(supervisor, container).await {
                    return lost(supervisor, container).await;
                }
            }
            // The task was deleted by somebody else: what is known of its end is on disk, or nowhere.
            Err(ShimError::Refused {
                code: Code::NotFound,
                ..
            }) => {
                return lost(supervisor, container).await;
            }
            Err(error) => {
                log::warn!(container = container.id().as_str(), error:% = chain(&error); "waiting for the container's end");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
        answer = match container.shim() {
            Some(shim) => shim.wait().await,
            // Another one has cleaned up.
            None => return,
        };
    }
    clean_when_saved(supervisor, container).await;
}

/// Connects again to a shim whose connection was lost; false where nobody listens any more.
async fn again(supervisor: &Arc<Supervisor>, container: &Arc<Container>) -> bool {
    let bundle = supervisor.store.layout().bundle(container.id());
    match ShimClient::connect(container.id(), &bundle).await {
        Ok(shim) => {
            container.set_shim(Some(shim));
            supervisor.metrics.reconnected();
            true
        }
        Err(error) if is_absent(&error) => false,
        Err(error) => {
            log::warn!(container = container.id().as_str(), error:% = chain(&error); "connecting to the shim again");
            true
        }
    }
}

/// What the shim told of an end, with what only the journal and the OOM event know.
async fn told(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    record: ExitRecord,
) -> Ended {
    let entry = journal(supervisor, container).await;
    if matches!(entry, Ok(None)) && record.status == ExitStatus::KILLED {
        // Another shim, which tells of an OOM kill by an event alone: it may come after the exit.
        let mut waited = Duration::ZERO;
        while waited < OOM_NOTICE && !container.was_oom_killed() {
            tokio::time::sleep(OOM_NOTICE / 10).await;
            waited += OOM_NOTICE / 10;
        }
    }
    let oom = if container.was_oom_killed() {
        ExitCause::OomKilled
    } else {
        ExitCause::Exited
    };
    match entry {
        Ok(Some(entry)) if entry.identity.pid == record.pid => Ended {
            cause: if entry.oom_killed {
                ExitCause::OomKilled
            } else {
                oom
            },
            ..Ended::recorded(&entry)
        },
        Ok(_) | Err(_) => Ended {
            exit: record.status,
            at: record.exited_at,
            started_at: None,
            cause: oom,
        },
    }
}

/// The shim is gone for good: the end is as recorded, or unknown. What the container left is killed first.
async fn lost(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    container.set_shim(None);
    let end = match journal(supervisor, container).await {
        Ok(Some(entry)) => Ended::recorded(&entry),
        Ok(None) => {
            log::warn!(container = container.id().as_str(); "the shim is gone and left no record of an end");
            if let Err(error) = remove_bundle(supervisor, container).await {
                log::warn!(container = container.id().as_str(), error:% = chain(&error); "removing what a dead shim left");
            }
            Ended::unknown("the shim is gone and left no record of the container's end")
        }
        Err(why) => {
            // What cannot be read may say how it ended: nothing is deleted, and stop and remove are for the user.
            let status = container.status();
            let doubt = ContainerStatus::Unknown {
                created_at: status.created_at(),
                started_at: status.started_at(),
                process: status.process(),
                reason: format!("the shim is gone, and its record of exits is unreadable: {why}"),
            };
            container.doubt(doubt).await;
            return;
        }
    };
    ended(supervisor, container, end).await;
    clean_when_saved(supervisor, container).await;
}

/// A TaskExit event: the end of the container's init, unless a Wait told it before or it is being started, when the
/// Wait that was sent before the start tells it in its place.
pub async fn announced(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    record: ExitRecord,
) {
    let is_its_init = |pid: Pid| match container.status() {
        ContainerStatus::Running { process, .. } => process.pid == pid,
        ContainerStatus::Unknown { process, .. } => {
            process.is_some_and(|process| process.pid == pid)
        }
        ContainerStatus::Created { .. } | ContainerStatus::Exited { .. } => false,
    };
    if is_its_init(record.pid) {
        let end = told(supervisor, container, record).await;
        ended(supervisor, container, end).await;
    }
}

/// The end of the container's init as its journal has it.
///
/// # Errors
/// Why the journal cannot be believed.
pub async fn journal(
    supervisor: &Supervisor,
    container: &Container,
) -> Result<Option<ExitEntry>, String> {
    let bundle = supervisor.store.layout().bundle(container.id());
    let read = move || recorded_exit(&bundle).map_err(io::Error::other);
    store::blocking("read", PathBuf::new(), read)
        .await
        .map_err(|error| error.source.to_string())
}

/// Deletes the task, ends the shim and removes the bundle, once the container's end is on disk: before that, theirs is
/// the only record of it.
pub async fn clean_when_saved(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    container.until_saved().await;
    let _task = container.lock_task().await;
    clean(supervisor, container).await;
}

/// Deletes the task, ends the shim and removes the bundle; tries again for a while. For an ended container, by one who
/// holds its task lock.
async fn clean(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    let mut pause = CLEAN_AGAIN;
    for attempt in 1..=CLEAN_TRIES {
        match clean_once(supervisor, container).await {
            Ok(()) => return,
            Err(error) if attempt == CLEAN_TRIES => {
                log::error!(container = container.id().as_str(), error:% = chain(&error); "what the container left cannot be removed");
            }
            Err(error) => {
                log::debug!(container = container.id().as_str(), error:% = chain(&error); "cleaning up, to be tried again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// One attempt of [`clean`].
///
/// # Errors
/// What the shim or the disk answered; may be called again.
pub async fn clean_once(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Result<(), super::error::Error> {
    let shim = match container.shim() {
        Some(shim) => Some(shim),
        None => found_again(supervisor, container).await,
    };
    let Some(shim) = shim else {
        return remove_bundle(supervisor, container).await;
    };
    delete_task(&shim).await?;
    crash::point("clean.deleted");
    match shim.shutdown().await {
        Ok(()) | Err(ShimError::Gone { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    crash::point("clean.shut_down");
    container.set_shim(None);
    discard(&supervisor.store.layout().bundle(container.id())).await
}

/// Deletes the task, killed first where it has not ended.
async fn delete_task(shim: &ShimClient) -> Result<(), ShimError> {
    let deleted = match shim.delete().await {
        Err(ShimError::Refused {
            code: Code::FailedPrecondition,
            ..
        }) => {
            shim.kill(Signal::KILL, KillScope::All).await?;
            // Delete says whether it has ended.
            drop(tokio::time::timeout(AFTER_KILL, shim.wait()).await);
            shim.delete().await
        }
        other => other,
    };
    match deleted {
        Err(ShimError::Gone { .. }) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// The shim whose address in the bundle cannot be believed, so that it does not stay behind. `start` answers where the
/// container's shim listens, one that lives already included (containerd `docs/runtime-v2.md`, `start`).
async fn found_again(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Option<ShimClient> {
    let bundle = supervisor.store.layout().bundle(container.id());
    let read = bundle.clone();
    let look = move || Ok(endpoint_of(&read).is_err());
    let is_damaged = store::blocking("read", bundle.address(), look).await;
    if !is_damaged.unwrap_or(false) {
        return None;
    }
    let runtime = runtime_of(supervisor, container)?;
    let found = ShimClient::launch(&supervisor.home, runtime, container.id(), &bundle).await;
    match found {
        Ok(shim) => {
            container.set_shim(Some(shim.clone()));
            Some(shim)
        }
        Err(error) => {
            log::warn!(container = container.id().as_str(), error:% = chain(&error); "looking for the shim of a damaged bundle");
            None
        }
    }
}

/// Which shim the container has; the default one where that is not known any more.
fn runtime_of<'a>(supervisor: &'a Supervisor, container: &Container) -> Option<&'a Runtime> {
    let name = container.meta().map_or("", |meta| meta.runtime.as_str());
    let config = &supervisor.config;
    config.runtime(name).or_else(|| config.runtime(""))
}

/// Runs the shim's `delete`, which kills, unmounts and removes what is left, and removes the bundle.
async fn remove_bundle(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Result<(), super::error::Error> {
    let bundle = supervisor.store.layout().bundle(container.id());
    if !bundle.dir().exists() {
        return Ok(());
    }
    if let Some(runtime) = runtime_of(supervisor, container) {
        let launched = bundle.clone();
        let has_address = store::blocking("look at", bundle.dir().to_owned(), move || {
            Ok(!matches!(endpoint::read(&launched), Read::Absent))
        })
        .await?;
        let id = container.id();
        match shim_client::delete_action(&supervisor.home, runtime, id, &bundle).await {
            // There was no shim yet: containerd's own finds nothing to delete and calls that an error.
            Err(error) if !has_address => {
                log::debug!(container = id.as_str(), error:% = chain(&error); "deleting what no shim has made");
            }
            done => done?,
        }
    }
    crash::point("clean.shim_deleted");
    discard(&bundle).await
}

/// Removes a bundle in which nothing is mounted any more.
///
/// # Errors
/// What the file system answered.
pub async fn discard(bundle: &Bundle) -> Result<(), super::error::Error> {
    let dir = bundle.dir().to_owned();
    let rootfs = bundle.rootfs();
    store::blocking("remove", dir.clone(), move || {
        // A mount that is left would have its files removed with the bundle's.
        match std::fs::remove_dir(&rootfs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        crash::point("clean.unmounted");
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await?;
    Ok(())
}
