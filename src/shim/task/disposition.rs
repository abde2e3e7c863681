//! Which calls wait for a pending call, which are remembered, and which are served at once: a pure table.
//!
//! A task serves one state-changing call of a process at a time. A further call takes one of three ways:
//!
//! | call \ the process is busy with | Start | Pause, Resume | Update, Checkpoint | Delete | nothing |
//! |---|---|---|---|---|---|
//! | Start, Delete, Pause, Resume, Update, Checkpoint | wait | wait | wait | wait | serve |
//! | Kill | wait | serve | serve | wait | serve |
//! | Exec, and Start of an exec, by what *init* is busy with | serve | wait | serve | serve | serve |
//! | CloseIO, ResizePty before the stdio is open | remember | - | - | - | remember |
//! | CloseIO, ResizePty after that | serve | serve | serve | serve | serve |
//! | ReopenLogs before the stdio is open | wait | - | - | - | serve (refused) |
//! | Stats, Pids before the cgroup is known (a restore) | wait | - | - | - | serve |
//! | State, Wait, StartedAt, InitPid, Dump | serve | serve | serve | serve | serve |
//!
//! - Kill waits for a Start, so that the signal does not overtake it. It does not wait for a pause that hangs.
//! - CloseIO is remembered, not queued: `ctr task exec` calls it as soon as its own stdin ends, which may be before
//!   Start has answered (containerd `cmd/ctr/commands/tasks/exec.go`), and a client may wait for the answer before
//!   it opens the output.
//! - Observers never wait: containerd gives State two seconds (`core/runtime/v2/shim.go`). Pids of a task that is being
//!   restored does: containerd deletes a task that lists none when it loads it (`core/runtime/v2/shim_load.go`).

use super::Command;
use super::process::Pending;
use crate::shim::lifecycle::{Role, State};

/// A call, without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `State`.
    State,
    /// `Start`.
    Start,
    /// `Delete`.
    Delete,
    /// `Pids`.
    Pids,
    /// `Pause`.
    Pause,
    /// `Resume`.
    Resume,
    /// `Checkpoint`.
    Checkpoint,
    /// `Kill`.
    Kill,
    /// `Exec`, which only registers a process.
    Exec,
    /// `ResizePty`.
    Resize,
    /// `ReopenLogs` of one process.
    ReopenLogs,
    /// `ReopenLogs` of all processes.
    ReopenAllLogs,
    /// `CloseIO`.
    CloseIo,
    /// `Update`.
    Update,
    /// `Wait`.
    Wait,
    /// `Stats`.
    Stats,
    /// `StartedAt`.
    StartedAt,
    /// Init's pid, for `Connect`.
    InitPid,
    /// The state dump.
    Dump,
}

/// The kind of a pending call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Start, or the restore that it stands for.
    Start,
    /// Pause or Resume.
    Freeze,
    /// Delete.
    Delete,
    /// Update or Checkpoint, which leave the state alone.
    Other,
}

/// What the table looks at besides the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Which process the call is for.
    pub role: Role,
    /// The state of that process.
    pub state: State,
    /// What that process is busy with.
    pub busy: Option<Busy>,
    /// What init is busy with.
    pub init_busy: Option<Busy>,
    /// Whether that process has its stdio open: its pipes, and its terminal if it has one.
    pub has_stdio: bool,
    /// Whether init's cgroup is known.
    pub has_cgroup: bool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Serve it now.
    Serve,
    /// Answer it now, and apply it when the process has started.
    Remember,
    /// Let it wait until the pending call has answered.
    Wait,
}

/// Looks a call up in the table above.
#[must_use]
pub const fn disposition(call: Call, situation: Situation) -> Disposition {
    use Disposition::{Remember, Serve, Wait};
    let Situation {
        role,
        state,
        busy,
        init_busy,
        has_stdio,
        has_cgroup,
    } = situation;
    match call {
        Call::Start => match (role, busy, init_busy) {
            (Role::Exec, None, Some(Busy::Freeze)) | (_, Some(_), _) => Wait,
            (Role::Init | Role::Exec, None, _) => Serve,
        },
        Call::Delete | Call::Pause | Call::Resume | Call::Checkpoint | Call::Update => match busy {
            Some(_) => Wait,
            None => Serve,
        },
        Call::Kill => match busy {
            Some(Busy::Start | Busy::Delete) => Wait,
            Some(Busy::Freeze | Busy::Other) | None => Serve,
        },
        Call::Exec => match init_busy {
            Some(Busy::Freeze) => Wait,
            Some(Busy::Start | Busy::Delete | Busy::Other) | None => Serve,
        },
        Call::Resize | Call::CloseIo => match (has_stdio, state) {
            (false, State::Created | State::Starting(_)) => Remember,
            // Open, or closed for good.
            _ => Serve,
        },
        Call::ReopenLogs | Call::ReopenAllLogs => match (has_stdio, busy) {
            (false, Some(Busy::Start)) => Wait,
            _ => Serve,
        },
        Call::Stats | Call::Pids => match (has_cgroup, init_busy) {
            (false, Some(Busy::Start)) => Wait,
            _ => Serve,
        },
        Call::State | Call::Wait | Call::StartedAt | Call::InitPid | Call::Dump => Serve,
    }
}

impl Command {
    /// Which call this is.
    #[must_use]
    pub const fn call(&self) -> Call {
        match self {
            Self::State(..) => Call::State,
            Self::Start(..) => Call::Start,
            Self::Delete(..) => Call::Delete,
            Self::Pids(_) => Call::Pids,
            Self::Pause(_) => Call::Pause,
            Self::Resume(_) => Call::Resume,
            Self::Checkpoint(..) => Call::Checkpoint,
            Self::Kill(..) => Call::Kill,
            Self::Exec(..) => Call::Exec,
            Self::Resize(..) => Call::Resize,
            Self::ReopenLogs(Some(_), _) => Call::ReopenLogs,
            Self::ReopenLogs(None, _) => Call::ReopenAllLogs,
            Self::CloseIo(..) => Call::CloseIo,
            Self::Update(..) => Call::Update,
            Self::Wait(..) => Call::Wait,
            Self::Stats(_) => Call::Stats,
            Self::StartedAt(..) => Call::StartedAt,
            Self::InitPid(_) => Call::InitPid,
            Self::Dump(_) => Call::Dump,
        }
    }
}

impl Pending {
    /// The kind of this pending call.
    #[must_use]
    pub const fn busy(&self) -> Busy {
        match self {
            Self::Start(_) => Busy::Start,
            Self::Freeze(_) => Busy::Freeze,
            Self::Delete(..) => Busy::Delete,
            Self::Other => Busy::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ExitRecord, ExitStatus, Pid, Timestamp};

    const CALLS: [Call; 19] = [
        Call::State,
        Call::Start,
        Call::Delete,
        Call::Pids,
        Call::Pause,
        Call::Resume,
        Call::Checkpoint,
        Call::Kill,
        Call::Exec,
        Call::Resize,
        Call::ReopenLogs,
        Call::ReopenAllLogs,
        Call::CloseIo,
        Call::Update,
        Call::Wait,
        Call::Stats,
        Call::StartedAt,
        Call::InitPid,
        Call::Dump,
    ];
    const BUSY: [Option<Busy>; 5] = [
        None,
        Some(Busy::Start),
        Some(Busy::Freeze),
        Some(Busy::Delete),
        Some(Busy::Other),
    ];

    fn states() -> [State; 14] {
        let exit = ExitRecord {
            pid: Pid::new(42).unwrap(),
            status: ExitStatus::from_code(7),
            exited_at: Timestamp::from_unix_nanos(1),
        };
        [
            State::Created,
            State::Starting(None),
            State::Starting(Some(exit)),
            State::Running,
            State::Pausing,
            State::Paused,
            State::Resuming,
            State::Dying(exit),
            State::Stopped(exit),
            State::Failed,
            State::Deleting(None),
            State::Deleting(Some(exit)),
            State::Deleted(None),
            State::Deleted(Some(exit)),
        ]
    }

    /// The whole product of calls, states, pending calls and open resources.
    fn product() -> Vec<(Call, Situation, Disposition)> {
        let mut product = Vec::new();
        for call in CALLS {
            for role in [Role::Init, Role::Exec] {
                for state in states() {
                    for busy in BUSY {
                        for init_busy in BUSY {
                            for (has_stdio, has_cgroup) in
                                [(false, false), (false, true), (true, false), (true, true)]
                            {
                                let situation = Situation {
                                    role,
                                    state,
                                    busy,
                                    init_busy,
                                    has_stdio,
                                    has_cgroup,
                                };
                                product.push((call, situation, disposition(call, situation)));
                            }
                        }
                    }
                }
            }
        }
        product
    }

    #[test]
    fn a_call_waits_only_for_a_call_that_is_pending() {
        for (call, situation, found) in product() {
            if found == Disposition::Wait {
                assert!(
                    situation.busy.is_some() || situation.init_busy.is_some(),
                    "{call:?} {situation:?}"
                );
            }
        }
    }

    #[test]
    fn observers_are_served_in_every_situation() {
        for (call, situation, found) in product() {
            let observes = matches!(
                call,
                Call::State | Call::Wait | Call::StartedAt | Call::InitPid | Call::Dump
            );
            if observes {
                assert_eq!(found, Disposition::Serve, "{call:?} {situation:?}");
            }
        }
    }

    #[test]
    fn two_calls_that_change_a_process_are_never_served_at_once() {
        for (call, situation, found) in product() {
            let changes = matches!(
                call,
                Call::Start
                    | Call::Delete
                    | Call::Pause
                    | Call::Resume
                    | Call::Checkpoint
                    | Call::Update
            );
            if changes && situation.busy.is_some() {
                assert_eq!(found, Disposition::Wait, "{call:?} {situation:?}");
            }
        }
    }

    #[test]
    fn what_is_asked_of_stdio_that_is_not_open_yet_is_never_answered_and_forgotten() {
        for (call, situation, found) in product() {
            let not_open_yet = !situation.has_stdio
                && matches!(situation.state, State::Created | State::Starting(_));
            match call {
                Call::CloseIo | Call::Resize if not_open_yet => {
                    assert_eq!(found, Disposition::Remember, "{call:?} {situation:?}");
                }
                Call::CloseIo | Call::Resize => {
                    assert_eq!(found, Disposition::Serve, "{call:?} {situation:?}");
                }
                Call::ReopenLogs | Call::ReopenAllLogs => {
                    let opening = !situation.has_stdio && situation.busy == Some(Busy::Start);
                    assert_eq!(
                        found == Disposition::Wait,
                        opening,
                        "{call:?} {situation:?}"
                    );
                }
                _ => assert_ne!(found, Disposition::Remember, "{call:?} {situation:?}"),
            }
        }
    }

    #[test]
    fn a_signal_waits_for_a_start_or_a_delete_and_for_nothing_that_may_hang() {
        for (call, situation, found) in product() {
            if call == Call::Kill {
                let waits = matches!(situation.busy, Some(Busy::Start | Busy::Delete));
                assert_eq!(found == Disposition::Wait, waits, "{situation:?}");
            }
        }
    }

    #[test]
    fn an_exec_waits_for_the_pause_or_resume_of_init() {
        for (call, situation, found) in product() {
            let freezing = situation.init_busy == Some(Busy::Freeze);
            let starts_exec =
                call == Call::Start && situation.role == Role::Exec && situation.busy.is_none();
            if call == Call::Exec || starts_exec {
                assert_eq!(
                    found == Disposition::Wait,
                    freezing,
                    "{call:?} {situation:?}"
                );
            }
        }
    }
}
