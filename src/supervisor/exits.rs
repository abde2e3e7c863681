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

use super::cleanup;
use super::context::Supervisor;
use super::recovery::ask::is_absent;
use super::recovery::scan::recorded_exit;
use super::remove_when_ended;
use super::shim_client::{ShimClient, ShimError};
use super::store::{self, Checkpoint, Container, ContainerStatus, ExitCause};
use crate::api::cri;
use crate::bundle::ExitEntry;
use crate::supervisor::crash;
use crate::types::error::chain;
use crate::types::{ExitRecord, ExitStatus, Pid, Timestamp};

/// How long the first pause between two attempts to wait is; doubled each time.
const WAIT_AGAIN: Duration = Duration::from_millis(200);
/// How long after a container's end another shim's OOM event may come.
const OOM_NOTICE: Duration = Duration::from_millis(300);

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
        if crash::has_defect("told_twice") {
            let events = &supervisor.events;
            events.publish(&supervisor.store, container.id(), stopped);
        }
        remove_when_ended::container_ended(supervisor, container);
    }
}

/// Waits, in a task of its own, for the end of a container that has a connection to its shim, then records it and
/// cleans up.
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
    let mut pause = WAIT_AGAIN;
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
    cleanup::clean_when_saved(supervisor, container).await;
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
    if matches!(container.status(), ContainerStatus::Exited { .. }) {
        // It was ended without its shim, which was killed since.
        return cleanup::clean_when_saved(supervisor, container).await;
    }
    let end = match journal(supervisor, container).await {
        Ok(Some(entry)) => Ended::recorded(&entry),
        Ok(None) => {
            log::warn!(container = container.id().as_str(); "the shim is gone and left no record of an end");
            if let Err(error) = cleanup::remove_bundle(supervisor, container).await {
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
    cleanup::clean_when_saved(supervisor, container).await;
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
