//! A verdict is carried out: memory, disk, announcement, task, in the order that the table gives.
//!
//! An end that is found out here is treated as one that is told while we watch: [`exits::ended`] writes, announces and
//! counts it, and whoever comes first wins. Whoever calls holds the container's task lock.

use std::sync::Arc;

use super::ask::Answer;
use super::classify::{self, Action, Reported, Seen, Verdict};
use super::load::Loaded;
use super::retry;
use crate::api::cri;
use crate::supervisor::cleanup;
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::exits::{self, Ended};
use crate::supervisor::store::{Checkpoint, Container, ContainerStatus};
use crate::types::error::chain;
use crate::types::{ExitStatus, Timestamp};

impl Loaded {
    /// What its verdict starts from: what the disk said, unless something was settled since.
    #[must_use]
    pub fn now(&self) -> Seen {
        match self.container.status() {
            // Nothing but a doubt, or what the disk said.
            ContainerStatus::Unknown { .. } => self.seen.clone(),
            status @ (ContainerStatus::Created { .. }
            | ContainerStatus::Running { .. }
            | ContainerStatus::Exited { .. }) => match &self.seen {
                Seen::Lost { .. } if !matches!(status, ContainerStatus::Exited { .. }) => {
                    self.seen.clone()
                }
                Seen::Known(_) | Seen::Lost { .. } => Seen::Known(status),
            },
        }
    }
}

/// Judges what was reported, and does what follows from it.
pub async fn reconcile(supervisor: &Arc<Supervisor>, loaded: &Loaded, answer: Answer) -> Verdict {
    let container = &loaded.container;
    let verdict = classify::reconcile(&loaded.now(), &answer.reported, Timestamp::now());
    log::info!(
        container = container.id().as_str(),
        reported = answer.reported.word(),
        status = state_word(&verdict.status);
        "recovered"
    );
    if let Some(shim) = answer.shim {
        container.set_shim(Some(shim));
        supervisor.metrics.reconnected();
    }
    let is_written = verdict.actions.contains(&Action::Write);
    if !is_written && container.status() != verdict.status {
        container.doubt(verdict.status.clone()).await;
    }
    for action in &verdict.actions {
        act(supervisor, loaded, &verdict, *action).await;
    }
    crash::point("recover.acted");
    verdict
}

async fn act(supervisor: &Arc<Supervisor>, loaded: &Loaded, verdict: &Verdict, action: Action) {
    let container = &loaded.container;
    match action {
        Action::Write => {
            write(supervisor, container, verdict.status.clone()).await;
            crash::point("recover.persisted");
        }
        Action::AnnounceStarted => {
            let started = cri::ContainerEventType::ContainerStartedEvent;
            supervisor
                .events
                .publish(&supervisor.store, container.id(), started);
        }
        // With the write: whoever writes an end announces it.
        Action::AnnounceStopped => {}
        Action::DeleteTask | Action::RemoveLeftovers => clean(supervisor, container).await,
        Action::Monitor => exits::monitor(supervisor, container),
        Action::Retry => retry::spawn(supervisor, loaded),
    }
}

/// Writes the status; where the disk does not take it, it is shown all the same and written again later.
async fn write(supervisor: &Arc<Supervisor>, container: &Arc<Container>, status: ContainerStatus) {
    match status {
        ContainerStatus::Exited {
            started_at,
            finished_at,
            exit,
            cause,
            ..
        } => {
            let is_invented = crash::has_defect("exit_code");
            let end = Ended {
                exit: if is_invented {
                    ExitStatus::UNKNOWN
                } else {
                    exit
                },
                at: finished_at,
                started_at,
                cause,
            };
            exits::ended(supervisor, container, end).await;
        }
        ContainerStatus::Created { .. }
        | ContainerStatus::Running { .. }
        | ContainerStatus::Unknown { .. } => {
            container
                .observe(|before| {
                    Some(Checkpoint {
                        status,
                        resources: before.resources.clone(),
                    })
                })
                .await;
        }
    }
}

/// Cleans up now, and where that fails or an end is not on disk yet, later: nobody waits for it.
async fn clean(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    if container.is_saved() {
        let Err(error) = cleanup::clean_once(supervisor, container).await else {
            return;
        };
        log::warn!(container = container.id().as_str(), error:% = chain(&error); "cleaning up, to be tried again");
    }
    let (supervisor, container) = (Arc::clone(supervisor), Arc::clone(container));
    tokio::spawn(async move { cleanup::clean_when_saved(&supervisor, &container).await });
}

impl Reported {
    /// The row of the table.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoShim { exit: None } => "no shim",
            Self::NoShim { exit: Some(_) } => "no shim, recorded exit",
            Self::Created => "created",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Stopped(_) => "stopped",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// CRI's word for the state, in capitals.
#[must_use]
pub const fn state_word(status: &ContainerStatus) -> &'static str {
    match status {
        ContainerStatus::Created { .. } => "CREATED",
        ContainerStatus::Running { .. } => "RUNNING",
        ContainerStatus::Exited { .. } => "EXITED",
        ContainerStatus::Unknown { .. } => "UNKNOWN",
    }
}

#[cfg(test)]
#[path = "tests/reconcile.rs"]
mod tests;
