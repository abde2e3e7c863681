//! The decision table: from a container's checkpoint and what its shim reports to what the container is, and what is to
//! be done. Pure and total.
//!
//! ```text
//! reported \ checkpoint | CREATED       | RUNNING         | EXITED      | UNKNOWN       | lost
//! ----------------------+---------------+-----------------+-------------+---------------+--------------
//! no shim, no record    | as is         | EXITED 255 L*WS | as is     L | as is       L | unknown     L
//! no shim, record       | EXITED    WSL | EXITED      WSL | as is     L | EXITED    WSL | EXITED    WSL
//! Created               | as is       D | UNKNOWN      WD | as is     D | as is       D | unknown     D
//! Running, Paused       | RUNNING   WTM | RUNNING     (W)M| unknown   M | RUNNING    WM | unknown     M
//! Stopped               | EXITED    WSD | EXITED      WSD | as is     D | EXITED    WSD | EXITED    WSD
//! unreachable           | unknown     R | unknown       R | as is     R | as is       R | unknown     R
//!
//! W write the checkpoint   T announce STARTED   S announce STOPPED   D delete the task, end the shim
//! L remove what a dead shim left   M monitor   R ask again later   in this order
//! unknown in small letters: shown, and the disk left as it is          L*: what still runs is killed before it is EXITED
//! ```
//!
//! - `lost` is a checkpoint that is absent or cannot be believed, or one whose container.json is: such a file is not
//!   overwritten by a guess (it may be of a later version), only by an exit.
//! - What is merely in doubt is not written either: a shim that does not answer leaves RUNNING on the disk, where the
//!   next start finds it; an EXITED checkpoint whose task runs keeps the end it has.
//! - So UNKNOWN is on disk only where nothing more can be learned: a task that was RUNNING and is Created has been
//!   deleted. It stays UNKNOWN until it is stopped or a shim tells more; else recovering twice would differ from once.
//! - A shim that answers and has no task counts as no shim; deleting its task then ends it.
//! - `finished_at` of an EXITED checkpoint is never rewritten; the `created_at` and `started_at` of a checkpoint are
//!   kept where they are known.

use crate::bundle::ExitEntry;
use crate::supervisor::exits::Ended;
use crate::supervisor::store::{Activity, Checkpoint, ContainerStatus, ExitCause};
use crate::types::{ExitStatus, ProcessIdentity, Timestamp};

/// What the disk says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Its checkpoint.
    Known(ContainerStatus),
    /// No checkpoint that can be believed.
    Lost {
        /// Why.
        why: String,
        /// When the container was created, where its metadata tells.
        created_at: Option<Timestamp>,
        /// When its program was started, where only container.json cannot be believed.
        started_at: Option<Timestamp>,
    },
}

impl Seen {
    /// When the container's program was started, as far as the disk tells.
    #[must_use]
    pub const fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Known(status) => status.started_at(),
            Self::Lost { started_at, .. } => *started_at,
        }
    }

    /// What is shown before anybody was asked.
    #[must_use]
    pub fn shown(&self) -> ContainerStatus {
        match self {
            Self::Known(status) => status.clone(),
            Self::Lost {
                why,
                created_at,
                started_at,
            } => ContainerStatus::Unknown {
                created_at: *created_at,
                started_at: *started_at,
                process: None,
                reason: why.clone(),
            },
        }
    }
}

/// A program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Its init.
    pub process: ProcessIdentity,
    /// When it was started.
    pub started_at: Timestamp,
}

/// What is found where a container's task should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// No shim, or one that has no task; with init's entry in the exit journal.
    NoShim {
        /// The entry.
        exit: Option<ExitEntry>,
    },
    /// A task that is not started.
    Created,
    /// A task that runs.
    Running(Live),
    /// A task that is frozen.
    Paused(Live),
    /// A task that has ended.
    Stopped(Ended),
    /// Nobody knows: no answer in time, or none that says anything. Not dead.
    Unreachable(String),
}

/// What is to be done, besides showing the verdict's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write the status to disk.
    Write,
    /// Tell who listens that the container was started.
    AnnounceStarted,
    /// Tell who listens that the container has stopped.
    AnnounceStopped,
    /// Delete the task, end its shim, remove the bundle.
    DeleteTask,
    /// Kill, unmount and remove what a dead shim left.
    RemoveLeftovers,
    /// Wait for the program's end.
    Monitor,
    /// Ask the shim again later.
    Retry,
}

/// What a container is, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it is.
    pub status: ContainerStatus,
    /// What is to be done, in this order.
    pub actions: Vec<Action>,
}

/// The table's cell for `seen` and `reported`. `now` is the end of what nobody saw end.
#[must_use]
pub fn reconcile(seen: &Seen, reported: &Reported, now: Timestamp) -> Verdict {
    match reported {
        Reported::NoShim { exit: None } => no_shim(seen, now),
        Reported::NoShim { exit: Some(entry) } => {
            ended(seen, Ended::recorded(entry), Action::RemoveLeftovers)
        }
        Reported::Created => created(seen),
        Reported::Running(live) => running(seen, *live, Activity::Running),
        Reported::Paused(live) => running(seen, *live, Activity::Paused),
        Reported::Stopped(end) => ended(seen, end.clone(), Action::DeleteTask),
        Reported::Unreachable(why) => unreachable(seen, why),
    }
}

fn verdict(status: ContainerStatus, actions: impl Into<Vec<Action>>) -> Verdict {
    Verdict {
        status,
        actions: actions.into(),
    }
}

fn no_shim(seen: &Seen, now: Timestamp) -> Verdict {
    match seen {
        Seen::Known(ContainerStatus::Running { .. }) => {
            let end = Ended {
                exit: ExitStatus::UNKNOWN,
                at: now,
                started_at: None,
                cause: ExitCause::Unknown(
                    "its shim is gone and left no record of its end".to_owned(),
                ),
            };
            verdict(
                after(seen, end),
                [
                    Action::RemoveLeftovers,
                    Action::Write,
                    Action::AnnounceStopped,
                ],
            )
        }
        Seen::Known(
            ContainerStatus::Created { .. }
            | ContainerStatus::Exited { .. }
            | ContainerStatus::Unknown { .. },
        )
        | Seen::Lost { .. } => verdict(seen.shown(), [Action::RemoveLeftovers]),
    }
}

fn ended(seen: &Seen, end: Ended, then: Action) -> Verdict {
    match seen {
        Seen::Known(status @ ContainerStatus::Exited { .. }) => verdict(status.clone(), [then]),
        Seen::Known(
            ContainerStatus::Created { .. }
            | ContainerStatus::Running { .. }
            | ContainerStatus::Unknown { .. },
        )
        | Seen::Lost { .. } => verdict(
            after(seen, end),
            [Action::Write, Action::AnnounceStopped, then],
        ),
    }
}

fn created(seen: &Seen) -> Verdict {
    match seen {
        Seen::Known(ContainerStatus::Running {
            created_at,
            started_at,
            ..
        }) => {
            let unknown = ContainerStatus::Unknown {
                created_at: Some(*created_at),
                started_at: Some(*started_at),
                process: None,
                reason: "it was running, and its shim reported a task that was never started"
                    .to_owned(),
            };
            verdict(unknown, [Action::Write, Action::DeleteTask])
        }
        Seen::Known(
            ContainerStatus::Created { .. }
            | ContainerStatus::Exited { .. }
            | ContainerStatus::Unknown { .. },
        )
        | Seen::Lost { .. } => verdict(seen.shown(), [Action::DeleteTask]),
    }
}

fn running(seen: &Seen, live: Live, activity: Activity) -> Verdict {
    let doubted = |created_at, started_at, reason: &str| ContainerStatus::Unknown {
        created_at,
        started_at: Some(started_at),
        process: Some(live.process),
        reason: reason.to_owned(),
    };
    let runs = |created_at, started_at: Option<Timestamp>| ContainerStatus::Running {
        created_at,
        started_at: started_at.unwrap_or(live.started_at),
        process: live.process,
        activity,
    };
    match seen {
        Seen::Known(ContainerStatus::Created { created_at }) => verdict(
            runs(*created_at, None),
            [Action::Write, Action::AnnounceStarted, Action::Monitor],
        ),
        Seen::Known(
            before @ ContainerStatus::Running {
                created_at,
                started_at,
                ..
            },
        ) => {
            let status = runs(*created_at, Some(*started_at));
            if status == *before {
                verdict(status, [Action::Monitor])
            } else {
                verdict(status, [Action::Write, Action::Monitor])
            }
        }
        Seen::Known(ContainerStatus::Exited { created_at, .. }) => verdict(
            doubted(
                Some(*created_at),
                live.started_at,
                "it has ended, and its shim reports that it runs",
            ),
            [Action::Monitor],
        ),
        Seen::Known(ContainerStatus::Unknown {
            created_at,
            started_at,
            ..
        }) => verdict(
            runs(
                created_at.or(*started_at).unwrap_or(live.started_at),
                *started_at,
            ),
            [Action::Write, Action::Monitor],
        ),
        Seen::Lost {
            why,
            created_at,
            started_at,
        } => {
            let started_at = started_at.unwrap_or(live.started_at);
            verdict(doubted(*created_at, started_at, why), [Action::Monitor])
        }
    }
}

fn unreachable(seen: &Seen, why: &str) -> Verdict {
    let status = match seen {
        Seen::Known(
            status @ (ContainerStatus::Created { .. } | ContainerStatus::Running { .. }),
        ) => ContainerStatus::Unknown {
            created_at: status.created_at(),
            started_at: status.started_at(),
            process: status.process(),
            reason: why.to_owned(),
        },
        Seen::Known(ContainerStatus::Exited { .. } | ContainerStatus::Unknown { .. })
        | Seen::Lost { .. } => seen.shown(),
    };
    verdict(status, [Action::Retry])
}

/// What the container is after `end`, which it has not had before.
fn after(seen: &Seen, end: Ended) -> ContainerStatus {
    let before = Checkpoint {
        status: seen.shown(),
        resources: Default::default(),
    };
    end.apply(&before)
        .map_or(before.status, |after| after.status)
}

#[cfg(test)]
#[path = "tests/classify.rs"]
mod tests;
