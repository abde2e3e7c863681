//! The life of one process, init or exec, as a pure total function: `step(State, Input) -> (State, Effects) | Denied`.
//!
//! ```text
//!            Start            Started
//!  Created ---------> Starting ------> Running <-------- Resuming
//!     |                  |            |  |    ^ Pause        ^ Resume
//!     |   StartFailed    |            |  |    |  failed      |
//!     |<-----------------'            |  '-> Pausing ----> Paused
//!     |                               |         |            |
//!     |  Exited                       |  Exited |     Exited |
//!     '-----------------------------> Dying <----------------'
//!                                       |  every other process of the container has ended
//!                                       v
//!                                    Stopped --Delete--> Deleting ----> Deleted
//! ```
//!
//! - An exit during Starting is legal and is kept until the start has answered, so that "started" is announced first.
//! - Init is Dying while execs live or are being started: its exit is announced after all of theirs. To callers it is
//!   still running: Wait has not answered, and Delete is refused. An exec may be registered then, but not started, as in
//!   containerd's shim (`cmd/containerd-shim-runc-v2/task/service.go`, `Start`).
//! - Created may be deleted as well; its process is killed by that, and the exit arrives during Deleting.
//!
//! Which calls may be made in which state is containerd's (`cmd/containerd-shim-runc-v2/process/{init,exec}_state.go`).

use crate::types::{ExitRecord, TaskStatus};

#[cfg(test)]
mod tests;

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Set up, its program not started.
    Created,
    /// The OCI runtime was asked to start it; it may have died since.
    Starting(Option<ExitRecord>),
    /// Running.
    Running,
    /// The OCI runtime was asked to freeze it.
    Pausing,
    /// Frozen.
    Paused,
    /// The OCI runtime was asked to thaw it.
    Resuming,
    /// Dead; its exit is to be announced after those of other processes.
    Dying(ExitRecord),
    /// Dead and announced.
    Stopped(ExitRecord),
    /// An exec that could not be started: it never ran, so no exit is announced.
    Failed,
    /// Its traces are being removed.
    Deleting(Option<ExitRecord>),
    /// Gone.
    Deleted(Option<ExitRecord>),
}

/// Which process of its container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first, whose end is the container's.
    Init,
    /// A further one.
    Exec,
}

/// Whether something is left that init's exit must wait for: an exec that lives, or a kill of the others that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Some are.
    Alive,
    /// None is.
    Gone,
}

impl Others {
    /// Whether init's exit must wait: for the kill of what shared its pid namespace, or for one of the `execs`.
    #[must_use]
    pub fn of(killing_others: bool, mut execs: impl Iterator<Item = State>) -> Self {
        if killing_others || execs.any(|exec| exec.holds_init_exit()) {
            Self::Alive
        } else {
            Self::Gone
        }
    }
}

/// How a call of the OCI runtime ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// Not.
    Failed,
}

/// What may happen to a process: requests, the answers of the OCI runtime, and facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Somebody wants it started.
    Start,
    /// The start has answered.
    StartAnswered(Outcome, Others),
    /// Somebody wants it frozen.
    Pause,
    /// The freezing has answered.
    PauseAnswered(Outcome),
    /// Somebody wants it thawed.
    Resume,
    /// The thawing has answered.
    ResumeAnswered(Outcome),
    /// It is dead.
    Exited(ExitRecord, Others),
    /// The last of the other processes has ended, or was waited for long enough.
    OthersEnded,
    /// Somebody wants its traces removed.
    Delete,
    /// The removal has answered.
    DeleteAnswered(Outcome),
}

/// What is to be done about it, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Call the OCI runtime's start, exec or restore.
    CallStart,
    /// Call the OCI runtime's pause.
    CallPause,
    /// Call the OCI runtime's resume.
    CallResume,
    /// Drain the output, call the OCI runtime's delete, unmount.
    CallDelete,
    /// Tell that it was started.
    AnnounceStarted,
    /// Tell that it was frozen.
    AnnouncePaused,
    /// Tell that it was thawed.
    AnnounceResumed,
    /// Init is dead: kill what its pid namespace does not, and wait for it.
    EndOthers,
    /// Tell the waiting and the manager that it has ended.
    AnnounceExit(ExitRecord),
    /// Tell that it was deleted.
    AnnounceDeleted(Option<ExitRecord>),
}

/// At most three effects follow from one input.
pub type Effects = Vec<Effect>;

/// What was asked for and cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not in this state.
    #[error("cannot {attempt} a process that is {state}")]
    State {
        /// What was asked for.
        attempt: &'static str,
        /// The state it is in.
        state: &'static str,
    },
    /// The process has ended.
    #[error("process already finished")]
    Finished,
    /// An answer came that nothing had asked for: a defect of the caller.
    #[error("unexpected {input} of a process that is {state}")]
    Unexpected {
        /// What came.
        input: &'static str,
        /// The state it is in.
        state: &'static str,
    },
}

/// Calls that do not change the state but need one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Send a signal.
    Kill,
    /// Register a further process.
    Exec,
    /// Start a registered further process.
    StartExec,
    /// Change limits.
    Update,
    /// Write images.
    Checkpoint,
}

impl State {
    /// The state in a word, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting(_) => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Dying(_) => "exiting",
            Self::Stopped(_) => "stopped",
            Self::Failed => "not startable",
            Self::Deleting(_) => "being deleted",
            Self::Deleted(_) => "deleted",
        }
    }

    /// What callers are told. An exit counts from when it is announced.
    #[must_use]
    pub const fn status(&self) -> Option<TaskStatus> {
        match self {
            Self::Created | Self::Starting(_) | Self::Failed => Some(TaskStatus::Created),
            Self::Running | Self::Resuming | Self::Dying(_) => Some(TaskStatus::Running),
            Self::Pausing => Some(TaskStatus::Pausing),
            Self::Paused => Some(TaskStatus::Paused),
            Self::Stopped(exit) | Self::Deleting(Some(exit)) | Self::Deleted(Some(exit)) => {
                Some(TaskStatus::Stopped(*exit))
            }
            Self::Deleting(None) => Some(TaskStatus::Created),
            Self::Deleted(None) => None,
        }
    }

    /// The announced exit, if there is one.
    #[must_use]
    pub const fn exit(&self) -> Option<ExitRecord> {
        match self {
            Self::Stopped(exit) => Some(*exit),
            Self::Deleting(exit) | Self::Deleted(exit) => *exit,
            Self::Created
            | Self::Starting(_)
            | Self::Running
            | Self::Pausing
            | Self::Paused
            | Self::Resuming
            | Self::Dying(_)
            | Self::Failed => None,
        }
    }

    /// Whether init's exit must wait for this exec: it may still announce one of its own.
    #[must_use]
    pub const fn holds_init_exit(&self) -> bool {
        match self {
            Self::Starting(_)
            | Self::Running
            | Self::Pausing
            | Self::Paused
            | Self::Resuming
            | Self::Dying(_) => true,
            Self::Created
            | Self::Stopped(_)
            | Self::Failed
            | Self::Deleting(_)
            | Self::Deleted(_) => false,
        }
    }

    /// Whether `permit` is given in this state.
    ///
    /// # Errors
    /// [`Denied`] says why not.
    pub const fn permits(&self, role: Role, permit: Permit) -> Result<(), Denied> {
        let attempt = match permit {
            Permit::Kill => "signal",
            Permit::Exec | Permit::StartExec => "exec in",
            Permit::Update => "update",
            Permit::Checkpoint => "checkpoint",
        };
        let denied = Err(Denied::State {
            attempt,
            state: self.name(),
        });
        match (self, permit, role) {
            // An exec has no process before it was started; init waits for its start since Create.
            (Self::Created | Self::Failed, Permit::Kill, Role::Exec) => denied,
            (Self::Dying(_) | Self::Stopped(_) | Self::Failed, Permit::Kill, _)
            | (Self::Deleting(_) | Self::Deleted(_), Permit::Kill, _) => Err(Denied::Finished),
            (
                Self::Created
                | Self::Starting(_)
                | Self::Running
                | Self::Pausing
                | Self::Paused
                | Self::Resuming,
                Permit::Kill,
                _,
            )
            | (
                Self::Created | Self::Starting(_) | Self::Running,
                Permit::Exec | Permit::StartExec | Permit::Update,
                _,
            )
            // State calls it running, so an exec may be registered; no program can be started in it.
            | (Self::Dying(_), Permit::Exec, _)
            | (Self::Paused, Permit::Update | Permit::Checkpoint, _)
            | (Self::Running, Permit::Checkpoint, _) => Ok(()),
            (
                Self::Created
                | Self::Starting(_)
                | Self::Pausing
                | Self::Paused
                | Self::Resuming
                | Self::Dying(_)
                | Self::Stopped(_)
                | Self::Failed
                | Self::Deleting(_)
                | Self::Deleted(_),
                Permit::Exec | Permit::StartExec | Permit::Update | Permit::Checkpoint,
                _,
            ) => denied,
        }
    }
}

/// What `input` makes of a process in `state`, and what follows from it.
///
/// # Errors
/// [`Denied`] says why it makes nothing of it; the state is unchanged then.
pub fn step(role: Role, state: State, input: Input) -> Result<(State, Effects), Denied> {
    match input {
        Input::Start => match state {
            State::Created => Ok((State::Starting(None), vec![Effect::CallStart])),
            _ => Err(Denied::State {
                attempt: "start",
                state: state.name(),
            }),
        },
        Input::Pause => match (role, state) {
            (Role::Init, State::Running) => Ok((State::Pausing, vec![Effect::CallPause])),
            (Role::Init | Role::Exec, _) => Err(Denied::State {
                attempt: "pause",
                state: state.name(),
            }),
        },
        Input::Resume => match (role, state) {
            (Role::Init, State::Paused) => Ok((State::Resuming, vec![Effect::CallResume])),
            (Role::Init | Role::Exec, _) => Err(Denied::State {
                attempt: "resume",
                state: state.name(),
            }),
        },
        Input::Delete => match state {
            State::Created | State::Failed => Ok((State::Deleting(None), vec![Effect::CallDelete])),
            State::Stopped(exit) => Ok((State::Deleting(Some(exit)), vec![Effect::CallDelete])),
            _ => Err(Denied::State {
                attempt: "delete",
                state: state.name(),
            }),
        },
        Input::StartAnswered(outcome, others) => start_answered(role, state, outcome, others),
        Input::PauseAnswered(outcome) => Ok(match (state, outcome) {
            (State::Pausing, Outcome::Done) => (State::Paused, vec![Effect::AnnouncePaused]),
            (State::Pausing, Outcome::Failed) => (State::Running, vec![]),
            // It died meanwhile: that is what counts.
            (State::Dying(_) | State::Stopped(_), _) => (state, vec![]),
            _ => {
                return Err(Denied::Unexpected {
                    input: "answer to a pause",
                    state: state.name(),
                });
            }
        }),
        Input::ResumeAnswered(outcome) => Ok(match (state, outcome) {
            (State::Resuming, Outcome::Done) => (State::Running, vec![Effect::AnnounceResumed]),
            (State::Resuming, Outcome::Failed) => (State::Paused, vec![]),
            (State::Dying(_) | State::Stopped(_), _) => (state, vec![]),
            _ => {
                return Err(Denied::Unexpected {
                    input: "answer to a resume",
                    state: state.name(),
                });
            }
        }),
        Input::Exited(exit, others) => match state {
            State::Starting(None) => Ok((State::Starting(Some(exit)), vec![])),
            State::Created | State::Running | State::Pausing | State::Paused | State::Resuming => {
                Ok(died(role, exit, others, vec![]))
            }
            // A created task is killed by its deletion.
            State::Deleting(None) => Ok((
                State::Deleting(Some(exit)),
                vec![Effect::AnnounceExit(exit)],
            )),
            _ => Err(Denied::Unexpected {
                input: "exit",
                state: state.name(),
            }),
        },
        Input::OthersEnded => Ok(match state {
            State::Dying(exit) => (State::Stopped(exit), vec![Effect::AnnounceExit(exit)]),
            _ => (state, vec![]),
        }),
        Input::DeleteAnswered(outcome) => Ok(match (state, outcome) {
            (State::Deleting(exit), Outcome::Done) => {
                (State::Deleted(exit), vec![Effect::AnnounceDeleted(exit)])
            }
            // It may be tried again.
            (State::Deleting(Some(exit)), Outcome::Failed) => (State::Stopped(exit), vec![]),
            (State::Deleting(None), Outcome::Failed) => (State::Created, vec![]),
            _ => {
                return Err(Denied::Unexpected {
                    input: "answer to a delete",
                    state: state.name(),
                });
            }
        }),
    }
}

/// What is due in init's state, whatever has just happened: the announcement of its exit, once the last of the other
/// processes has gone. To be asked after every input of any process, since each may be the last that init waits for.
#[must_use]
pub const fn settled(init: State, others: Others) -> Option<Input> {
    match (init, others) {
        (State::Dying(_), Others::Gone) => Some(Input::OthersEnded),
        (State::Dying(_), Others::Alive)
        | (
            State::Created
            | State::Starting(_)
            | State::Running
            | State::Pausing
            | State::Paused
            | State::Resuming
            | State::Stopped(_)
            | State::Failed
            | State::Deleting(_)
            | State::Deleted(_),
            _,
        ) => None,
    }
}

fn start_answered(
    role: Role,
    state: State,
    outcome: Outcome,
    others: Others,
) -> Result<(State, Effects), Denied> {
    match (state, outcome, role) {
        (State::Starting(None), Outcome::Done, _) => {
            Ok((State::Running, vec![Effect::AnnounceStarted]))
        }
        (State::Starting(Some(exit)), Outcome::Done, _) => {
            Ok(died(role, exit, others, vec![Effect::AnnounceStarted]))
        }
        // Init is there since Create and can be started again, or deleted.
        (State::Starting(None), Outcome::Failed, Role::Init) => Ok((State::Created, vec![])),
        (State::Starting(None), Outcome::Failed, Role::Exec) => Ok((State::Failed, vec![])),
        (State::Starting(Some(exit)), Outcome::Failed, _) => Ok(died(role, exit, others, vec![])),
        _ => Err(Denied::Unexpected {
            input: "answer to a start",
            state: state.name(),
        }),
    }
}

fn died(role: Role, exit: ExitRecord, others: Others, mut effects: Effects) -> (State, Effects) {
    if role == Role::Init {
        effects.push(Effect::EndOthers);
        if others == Others::Alive {
            return (State::Dying(exit), effects);
        }
    }
    effects.push(Effect::AnnounceExit(exit));
    (State::Stopped(exit), effects)
}
