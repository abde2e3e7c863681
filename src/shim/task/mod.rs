//! One container: its init, its execs, and the actor that owns their state.
//!
//! ```text
//! service --Command--> +-------------------+ --spawns--> calls of the OCI runtime, drains, unmounts
//!                      |  Task (this actor) |                          |
//! reaper  --Fact-----> +-------------------+ <--------Fact------------'
//!                                '--> waiters, events
//! ```
//!
//! The actor never waits for anything but its two channels: what takes time runs beside it and comes back as a fact.
//! So State, Pids, Wait and Stats answer while an OCI runtime hangs, and no lock is needed. Calls that change the same
//! process wait for each other in a bounded queue of that process.
//!
//! - [`process`]: what is kept of one process.
//! - [`disposition`]: which calls wait for others, as a table.
//! - [`commands`]: what callers ask for.
//! - [`facts`]: what happens, and what follows from it.
//! - [`work`] and [`deletion`]: what runs beside the actor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::call::Caller;
use super::dump::TaskDump;
use super::error::ShimError;
use super::exit::Journal;
use super::lifecycle::{Role, State};
use super::listener::Connections;
use super::publisher::Publisher;
use super::stdio::{ChildStdio, StoppingLoggersOfAll};
use crate::cgroup::{Cgroup, Metrics, OomCounts};
use crate::config::ShimOptions;
use crate::oci::CheckpointArgs;
use crate::oci::command::KillScope;
use crate::types::event::TaskIo;
use crate::types::{ExecId, ExitRecord, Namespace, Pid, Signal, Stdio, TaskStatus, Timestamp};

pub mod commands;
pub mod deletion;
pub mod disposition;
pub mod facts;
pub mod kill;
pub mod process;
pub mod work;

use facts::Fact;
use process::Process;

/// How many calls may wait in a task's channel; more wait in their callers.
const COMMANDS_BOUND: usize = 64;

/// Where the answer to a call goes.
pub type Reply<T> = oneshot::Sender<Result<T, ShimError>>;

/// Which process of a task: an exec, or init.
pub type Key = Option<ExecId>;

/// What `State` tells.
#[derive(Debug)]
pub struct ProcessState {
    /// The task's bundle.
    pub bundle: String,
    /// The process id, where there is one.
    pub pid: Option<Pid>,
    /// The state.
    pub status: TaskStatus,
    /// The stdio it was made with.
    pub io: TaskIo,
}

/// What `Delete` tells.
#[derive(Debug)]
pub struct DeletedProcess {
    /// The process id it had, where there was one.
    pub pid: Option<Pid>,
    /// How it ended; `None` for an exec that never ran.
    pub exit: Option<ExitRecord>,
}

/// A further process to announce.
#[derive(Debug)]
pub struct NewExec {
    /// Its id.
    pub id: ExecId,
    /// The OCI `process` object as JSON.
    pub process: Vec<u8>,
    /// Its stdio, parsed.
    pub stdio: Stdio,
    /// Its stdio, as asked for.
    pub io: TaskIo,
}

/// A call for one task.
#[derive(Debug)]
pub enum Command {
    /// Tell the state of a process.
    State(Key, Reply<ProcessState>),
    /// Start a process.
    Start(Key, Reply<Pid>),
    /// Remove an ended process. The caller may have a deadline.
    Delete(Key, Option<Instant>, Reply<DeletedProcess>),
    /// List the container's processes, each with its exec id where the shim started it.
    Pids(Reply<Vec<(Pid, Key)>>),
    /// Freeze.
    Pause(Reply<()>),
    /// Thaw.
    Resume(Reply<()>),
    /// Write images.
    Checkpoint(Box<CheckpointArgs>, Reply<()>),
    /// Send a signal.
    Kill(Key, Signal, KillScope, Reply<()>),
    /// Announce a further process.
    Exec(Box<NewExec>, Reply<()>),
    /// Set a terminal's size: columns, rows.
    Resize(Key, u16, u16, Reply<()>),
    /// Go on in new log files: one process's, or with `None` those of all.
    ReopenLogs(Option<Key>, Reply<()>),
    /// Close stdin.
    CloseIo(Key, Reply<()>),
    /// Set limits: `LinuxResources` as JSON.
    Update(Vec<u8>, Reply<()>),
    /// Tell the end of a process, when it has come.
    Wait(Key, Reply<ExitRecord>),
    /// Read the cgroup.
    Stats(Reply<Metrics>),
    /// Tell when a process was started; `None` while it is not.
    StartedAt(Key, Reply<Option<Timestamp>>),
    /// Tell init's pid.
    InitPid(Reply<Option<Pid>>),
    /// Tell what the state dump shows.
    Dump(Reply<TaskDump>),
}

/// What everything that works for one task needs.
pub struct Shared {
    /// Calls the OCI runtime.
    pub caller: Caller,
    /// The containerd namespace.
    pub namespace: Namespace,
    /// The options it was created with.
    pub options: ShimOptions,
    /// Where events go.
    pub publisher: Publisher,
    /// The logging binaries that were told to end.
    pub loggers: StoppingLoggersOfAll,
    /// Who is connected to this shim.
    pub connections: Connections,
    /// Told of every fact, so that memory can be given back when there are none.
    pub activity: Rc<Notify>,
    /// Where exits are written.
    pub journal: Journal,
    /// Back to the actor. Unbounded, since every message answers one thing that is under way.
    pub facts: mpsc::UnboundedSender<Fact>,
}

/// A checkpoint that the task is to be restored from, until it is.
pub struct PendingRestore {
    /// The directory of the images.
    pub image_path: PathBuf,
    /// What the restored init inherits.
    pub stdio: ChildStdio,
}

/// The actor of one container.
pub struct Task {
    /// What its workers share.
    pub shared: Rc<Shared>,
    /// The init process.
    pub init: Process,
    /// The further processes; boxed, since the map keeps room for several when it is empty again.
    pub execs: BTreeMap<ExecId, Box<Process>>,
    /// Where init's cgroup was found at Create.
    pub cgroup: Option<Rc<Cgroup>>,
    /// How often the container has run out of memory, as announced.
    pub oom_kills: u64,
    /// How many kills the cgroup had counted at the last look.
    pub counted_oom_kills: OomCounts,
    /// Whether the kernel ends every process with init.
    pub own_pid_namespace: bool,
    /// Whether the processes that it does not end are being killed.
    pub killing_others: bool,
    /// The images to start from, while it has not started.
    pub restore: Option<PendingRestore>,
}

impl Task {
    /// Runs until the task is deleted.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut facts: mpsc::UnboundedReceiver<Fact>,
    ) {
        let mut callers = true;
        while !matches!(self.init.state, State::Deleted(_)) {
            tokio::select! {
                biased;
                Some(fact) = facts.recv() => {
                    self.on_fact(fact);
                    self.shared.activity.notify_one();
                }
                command = commands.recv(), if callers => match command {
                    Some(command) => self.on_command(command),
                    None => callers = false,
                },
            }
            self.settle();
        }
    }

    /// A channel for the commands of one task.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
        mpsc::channel(COMMANDS_BOUND)
    }

    fn process(&mut self, key: &Key) -> Result<&mut Process, ShimError> {
        match key {
            None => Ok(&mut self.init),
            Some(exec) => match self.execs.get_mut(exec) {
                Some(process) => Ok(process),
                None => Err(ShimError::NotFound {
                    what: "process",
                    id: exec.to_string(),
                }),
            },
        }
    }
}

/// The role of the process that `key` names.
#[must_use]
pub const fn role(key: &Key) -> Role {
    match key {
        None => Role::Init,
        Some(_) => Role::Exec,
    }
}
