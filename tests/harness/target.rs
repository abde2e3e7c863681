//! What can be tortured: a manager of containers, its calls, and its traces in the kernel. [`supervisor`] and
//! [`containerd`] are the two that there are; workloads, faults and invariants know nothing of either.
//!
//! Calls take `&self`, so that many run at once while another thread kills the manager; an answer is the manager's or a
//! [`Refusal`], after which what was asked for is in doubt.
//!
//! [`supervisor`]: crate::supervisor_target
//! [`containerd`]: crate::containerd_target

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// An answer, or why there is none.
pub type Answer<T> = Result<T, Refusal>;

/// An error that the manager answered, or the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a manager says that a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Created, and never started.
    Created,
    /// Its init runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its init has ended.
    Exited,
    /// The manager cannot say.
    Unknown,
}

/// A container as the manager lists it. Times are Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its id, as the manager drew it.
    pub id: String,
    /// The name that it was created under.
    pub name: String,
    /// What it is.
    pub state: State,
    /// Its init, where the manager tells.
    pub pid: Option<u32>,
    /// When its program was started, where the manager tells.
    pub started_at: Option<i64>,
    /// When it ended, where the manager tells.
    pub finished_at: Option<i64>,
    /// How it ended, where the manager tells.
    pub exit_code: Option<i32>,
    /// The manager's words about it.
    pub reason: String,
}

/// What a container is asked for.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name, unlike that of any other container of the run.
    pub name: String,
    /// The pod that it is in, by what [`Target::run_pod`] answered.
    pub pod: String,
    /// Its program, with the arguments.
    pub command: Vec<String>,
    /// How much memory it may use, in bytes.
    pub memory: Option<u64>,
    /// Whether it sees the machine's processes, so that what it leaves behind outlives its init.
    pub has_host_pids: bool,
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
}

/// A step in a container's life, as the manager announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was created.
    Created,
    /// Its program was started.
    Started,
    /// Its init has ended.
    Stopped,
    /// It was removed.
    Deleted,
}

/// The events of one connection, from its beginning.
pub trait Events: Send {
    /// All that came so far: the container's id, and what happened to it.
    fn so_far(&mut self) -> Vec<(String, Step)>;
}

/// How the log of a container is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// The CRI log format.
    Cri,
    /// The bytes as they are.
    Raw,
}

/// A manager of containers that can be killed.
pub trait Target: Send + Sync {
    /// What it is, for the report: `outlive`, `containerd 2.x + outlive`.
    fn label(&self) -> String;

    /// How long the world may take to come to rest after a fault.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    /// The manager's pid.
    fn pid(&self) -> u32;

    /// Kills the manager with SIGKILL and waits for its end; does nothing where it is dead already.
    fn kill9(&mut self);

    /// Starts the manager over what the last one left, and does not wait. `points` are crash points to arm: FAILPOINTS.
    fn spawn(&mut self, points: Option<&str>);

    /// Waits until it has died of a crash point, or says that it did not within the deadline.
    fn crashed(&mut self) -> Result<(), String>;

    /// Waits until the manager answers.
    fn until_answers(&mut self) -> Result<(), String>;

    /// Waits until all that it found has been looked at.
    fn until_recovered(&self) -> Result<(), String>;

    /// Whether it has crash points by name.
    fn has_points(&self) -> bool;

    /// Runs a pod of the host's network; its id.
    fn run_pod(&self, name: &str) -> Answer<String>;

    /// Stops a pod.
    fn stop_pod(&self, id: &str) -> Answer<()>;

    /// Removes a pod.
    fn remove_pod(&self, id: &str) -> Answer<()>;

    /// The ids and names of all pods.
    fn pods(&self) -> Answer<Vec<(String, String)>>;

    /// Creates a container; its id.
    fn create(&self, spec: &Spec) -> Answer<String>;

    /// Starts it.
    fn start(&self, id: &str) -> Answer<()>;

    /// Stops it: SIGTERM, and SIGKILL after as many seconds.
    fn stop(&self, id: &str, seconds: u32) -> Answer<()>;

    /// Removes it, in whatever state it is.
    fn remove(&self, id: &str) -> Answer<()>;

    /// Runs a command in it to its end.
    fn exec(&self, id: &str, command: &[&str]) -> Answer<Ended>;

    /// Asks for its statistics.
    fn stats(&self, id: &str) -> Answer<()>;

    /// Has its log, which was renamed, opened anew.
    fn reopen(&self, id: &str) -> Answer<()>;

    /// Freezes it.
    fn pause(&self, id: &str) -> Answer<()>;

    /// Thaws it.
    fn resume(&self, id: &str) -> Answer<()>;

    /// Every container.
    fn list(&self) -> Answer<Vec<Seen>>;

    /// Listens to events from now on.
    fn events(&self) -> Answer<Box<dyn Events>>;

    /// The log of the container of this name.
    fn log(&self, name: &str) -> PathBuf;

    /// How that log is written.
    fn log_format(&self) -> LogFormat;

    /// The pid of the shim of a container, where it has one.
    fn shim(&self, id: &str) -> Option<u32>;

    /// What the kernel has of this run: processes, mounts, cgroups, network namespaces, sockets, directories.
    fn traces(&self) -> BTreeSet<String>;

    /// The part of the cgroups' paths that is this run's alone.
    fn cgroup(&self) -> String;

    /// Whether events are of tasks: a container that was never started has none.
    fn tells_of_tasks_only(&self) -> bool {
        false
    }

    /// The end of the manager's log.
    fn log_tail(&self) -> String;

    /// Itself, for faults that only one of its kind can have.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// Where a refusal begins with this, nobody has answered: the connection was lost, or there was none.
pub const NO_ANSWER: &str = "no answer: ";

/// Whether it was nobody's answer.
pub fn is_silence(refusal: &Refusal) -> bool {
    refusal.0.starts_with(NO_ANSWER)
}
