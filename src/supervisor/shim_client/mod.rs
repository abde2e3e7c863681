//! Shims as the supervisor sees them: launched, connected to, called with a deadline.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use crate::bundle::Bundle;
use crate::config::supervisor::Runtime;
use crate::types::event::TaskIo;
use crate::types::{ContainerId, ExecId, ExitRecord, Mount, Pid, Signal, TaskStatus, Timestamp};

/// What every shim is told at its launch.
#[derive(Debug, Clone)]
pub struct Home {
    /// The supervisor's own socket (`-address`): shims name their sockets by a hash of it.
    pub address: PathBuf,
    /// Where the supervisor takes the shims' events (`TTRPC_ADDRESS`).
    pub events: PathBuf,
    /// containerd's word for whose the containers are (`-namespace`).
    pub namespace: String,
}

/// Why a shim did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// There is no shim at the end of the line: no socket, nobody who listens, or the connection was closed.
    #[error("{call}: the shim is gone")]
    Gone {
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not answer in time: slow, stopped, or working; not dead.
    #[error("{call}: no answer from the shim within {} s", .after.as_secs())]
    Timeout {
        /// Which call.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// It answered with an error.
    #[error("{call}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The status code, which is gRPC's.
        code: Code,
        /// What it said.
        message: String,
    },
    /// It could not be launched.
    #[error("launch {shim:?}: {reason}")]
    Launch {
        /// Which program.
        shim: PathBuf,
        /// Why; with what it printed.
        reason: String,
    },
}

impl ShimError {
    /// The gRPC code that the supervisor's own caller is given.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Gone { .. } => Code::Unavailable,
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::Refused { code, .. } => *code,
            Self::Launch { .. } => Code::Internal,
        }
    }
}

/// What a shim reports of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskReport {
    /// Its state; `Stopped` carries the exit.
    pub status: TaskStatus,
    /// Its init; `None` where it has none yet.
    pub pid: Option<Pid>,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// The container's init.
    Init,
    /// Every process of the container.
    All,
}

/// A connection to one container's shim. Clones share it.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "a skeleton")]
pub struct ShimClient(Arc<()>);

fn missing<T>(call: &'static str) -> Result<T, ShimError> {
    Err(ShimError::Refused {
        call,
        code: Code::Unimplemented,
        message: String::new(),
    })
}

#[expect(clippy::unused_async, reason = "a skeleton")]
impl ShimClient {
    /// Runs `shim start` in the bundle (which has config.json), and connects to what it answers. The endpoint is in the
    /// bundle's `address` file when this returns.
    ///
    /// # Errors
    /// [`ShimError`]; then no shim runs.
    pub async fn launch(
        _home: &Home,
        _runtime: &Runtime,
        _id: &ContainerId,
        _bundle: &Bundle,
    ) -> Result<Self, ShimError> {
        missing("start")
    }

    /// Connects to the shim whose address is in the bundle. No byte is sent yet.
    ///
    /// # Errors
    /// `Gone` where there is no address or nobody listens.
    pub async fn connect(_id: &ContainerId, _bundle: &Bundle) -> Result<Self, ShimError> {
        missing("connect")
    }

    /// Creates the task. The shim mounts `rootfs` at the bundle's rootfs.
    ///
    /// # Errors
    /// [`ShimError`]; after a `Timeout` the task may be there.
    pub async fn create(
        &self,
        _runtime: &Runtime,
        _rootfs: &[Mount],
        _io: &TaskIo,
    ) -> Result<Pid, ShimError> {
        missing("Create")
    }

    /// Starts the task's program.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn start(&self) -> Result<Pid, ShimError> {
        missing("Start")
    }

    /// When the task's program was started, as the shim tells; `None` where it was not, or the shim cannot say.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn started_at(&self) -> Result<Option<Timestamp>, ShimError> {
        missing("StartedAt")
    }

    /// What the task is. `within` is the limit for the answer.
    ///
    /// # Errors
    /// [`ShimError`]; `Refused` with NotFound where the shim has no such task.
    pub async fn state(&self, _within: Duration) -> Result<TaskReport, ShimError> {
        missing("State")
    }

    /// Waits for the task's end, without limit.
    ///
    /// # Errors
    /// [`ShimError`], never `Timeout`.
    pub async fn wait(&self) -> Result<ExitRecord, ShimError> {
        missing("Wait")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`ShimError`]; `Refused` with NotFound where the process has ended.
    pub async fn kill(&self, _signal: Signal, _scope: KillScope) -> Result<(), ShimError> {
        missing("Kill")
    }

    /// Deletes the task, and unmounts its rootfs.
    ///
    /// # Errors
    /// [`ShimError`]; `Refused` with NotFound where there is none any more.
    pub async fn delete(&self) -> Result<(), ShimError> {
        missing("Delete")
    }

    /// Sets the task's limits: `resources` is the OCI spec's `linux.resources` as JSON.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn update(&self, _resources: Vec<u8>) -> Result<(), ShimError> {
        missing("Update")
    }

    /// Opens the task's log file again: our shim's `outlive.shim.v1.Shim/ReopenLogs`, or for another shim the
    /// supervisor's own writer.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn reopen_logs(&self) -> Result<(), ShimError> {
        missing("ReopenLogs")
    }

    /// Runs a further process to its end, and gives what it printed: `process` is the OCI spec's process as JSON.
    ///
    /// Each stream is cut at `most` bytes. After `timeout` (`None`: no limit) the process is killed.
    ///
    /// # Errors
    /// [`ShimError`]; `Timeout` where the process was killed for taking too long.
    pub async fn exec_sync(
        &self,
        _exec: &ExecId,
        _process: Vec<u8>,
        _timeout: Option<Duration>,
        _most: usize,
    ) -> Result<ExecOutput, ShimError> {
        missing("Exec")
    }

    /// Ends the shim, which must have no task any more.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn shutdown(&self) -> Result<(), ShimError> {
        missing("Shutdown")
    }
}

/// What a further process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: ExitRecord,
}

/// Runs `shim delete` for a container whose shim is gone: what it left is killed, unmounted and removed.
///
/// # Errors
/// `Launch` where the program fails; `Timeout`.
pub async fn delete_action(
    _home: &Home,
    _runtime: &Runtime,
    _id: &ContainerId,
    _bundle: &Bundle,
) -> Result<(), ShimError> {
    missing("delete")
}
