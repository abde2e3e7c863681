//! Shims as the supervisor sees them: launched, connected to, called with a deadline.
//!
//! - [`launch`]: the program's actions `start`, `delete` and `-info`.
//! - `connect`: how a shim is found. `line`: one connection. `call`: the calls on it. `task`: what they share.
//! - `exec`: a further process run to its end.
//! - `shim_log`: what the shim itself logs. `foreign`: CRI logs of shims that do not write them.
//! - `events`: what shims tell by themselves.
//!
//! A connection that was closed is a shim that is gone: nothing on this side closes one. So an answer of
//! [`ShimError::Gone`] stays: a new connection is a new [`ShimClient`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp as ProtoTimestamp;
use log::warn;
use tokio::net::UnixStream;
use tonic::Code;

use crate::bundle::{Bundle, Read, endpoint};
use crate::config::supervisor::Runtime;
use crate::supervisor::crash;
use crate::types::event::TaskIo;
use crate::types::{ContainerId, ExecId, ExitRecord, Mount, Pid, Signal, TaskStatus, Timestamp};

mod call;
mod connect;
mod error;
pub mod events;
mod exec;
mod foreign;
pub mod launch;
mod line;
mod shim_log;
mod task;

pub use error::ShimError;

use call::{Limit, TaskService};
use connect::{bounded, dial, local, open_log, read_address, read_log};
use task::{Inner, Kind, end_log};

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
pub struct ShimClient(Arc<Inner>);

impl ShimClient {
    /// Runs `shim start` in the bundle (which has config.json), and connects to what it answers. The endpoint is in the
    /// bundle's `address` file when this returns.
    ///
    /// # Errors
    /// [`ShimError`]; then no shim runs.
    pub async fn launch(
        home: &Home,
        runtime: &Runtime,
        id: &ContainerId,
        bundle: &Bundle,
    ) -> Result<Self, ShimError> {
        // Before the shim is there: it may wait for a reader of its log.
        let log = open_log(bundle, "start").await?;
        let address = launch::start(home, runtime, id, bundle).await?;
        crash::point("start.answered");
        let connected = async {
            let (bundle_of, written) = (bundle.clone(), address.clone());
            local("start", "write the address", move || {
                match endpoint::read(&bundle_of) {
                    Read::Found(found) if found == written => Ok(()),
                    Read::Found(_) | Read::Absent | Read::Corrupt(..) => {
                        endpoint::write(&bundle_of, &written)
                    }
                }
            })
            .await?;
            dial("start", &address).await
        };
        match connected.await {
            Ok(stream) => Ok(Self::over(stream, id, bundle, read_log(id, log))),
            Err(error) => {
                if let Err(left) = launch::delete(home, runtime, id, bundle).await {
                    warn!(container = id.as_str(); "after a failed launch: {left}");
                }
                Err(error)
            }
        }
    }

    /// Connects to the shim whose address is in the bundle. No byte is sent yet.
    ///
    /// # Errors
    /// `Gone` where there is no address or nobody listens; `Timeout` where the shim does not accept.
    pub async fn connect(id: &ContainerId, bundle: &Bundle) -> Result<Self, ShimError> {
        let here = bundle.clone();
        let (address, is_foreign) = local("connect", "read the address", move || {
            Ok((read_address(&here)?, foreign::is_there(&here)))
        })
        .await?;
        let address = address.map_err(|source| ShimError::Gone {
            call: "connect",
            source,
        })?;
        let stream = dial("connect", &address).await?;
        let log = match open_log(bundle, "connect").await {
            Ok(log) => read_log(id, log),
            Err(error) => {
                // A shim whose log cannot be read can still be called.
                warn!(container = id.as_str(); "{error}");
                None
            }
        };
        let client = Self::over(stream, id, bundle, log);
        if is_foreign {
            client.0.kind.get_or_init(|| Kind::Foreign);
            if let Err(error) = client.0.write_log().await {
                warn!(container = id.as_str(); "its log is not written: {error}");
            }
        }
        Ok(client)
    }

    fn over(
        stream: UnixStream,
        id: &ContainerId,
        bundle: &Bundle,
        log: Option<shim_log::ShimLog>,
    ) -> Self {
        Self(Arc::new(Inner {
            id: id.clone(),
            bundle: bundle.clone(),
            service: TaskService::new(line::Line::new(stream)),
            kind: OnceLock::new(),
            pid: AtomicU32::new(0),
            log,
        }))
    }

    /// Creates the task. The shim mounts `rootfs` at the bundle's rootfs.
    ///
    /// # Errors
    /// [`ShimError`]; after a `Timeout` the task may be there.
    pub async fn create(
        &self,
        runtime: &Runtime,
        rootfs: &[Mount],
        io: &TaskIo,
    ) -> Result<Pid, ShimError> {
        let inner = &self.0;
        let io = match inner.kind().await? {
            Kind::Ours => io.clone(),
            Kind::Foreign => inner.prepare_log(io).await?,
        };
        let request = api::CreateTaskRequest {
            id: inner.id.to_string(),
            bundle: inner.bundle.dir().to_string_lossy().into_owned(),
            rootfs: rootfs.iter().map(proto_mount).collect(),
            terminal: io.terminal,
            stdin: io.stdin,
            stdout: io.stdout,
            stderr: io.stderr,
            options: Some(launch::options(runtime)).into(),
            ..api::CreateTaskRequest::default()
        };
        let limit = Limit::Within(call::CREATE_LIMIT);
        let created = inner
            .service
            .call::<api::CreateTaskResponse>("Create", &request, limit);
        match created.await {
            Ok(created) => inner.learn_pid("Create", created.pid),
            Err(error @ ShimError::Timeout { .. }) => Err(error),
            Err(error) => {
                inner.end_log().await;
                Err(error)
            }
        }
    }

    /// Starts the task's program.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn start(&self) -> Result<Pid, ShimError> {
        let request = api::StartRequest {
            id: self.0.id.to_string(),
            ..api::StartRequest::default()
        };
        let limit = Limit::Within(call::START_LIMIT);
        let started: api::StartResponse = self.0.service.call("Start", &request, limit).await?;
        self.0.learn_pid("Start", started.pid)
    }

    /// When the task's program was started, as the shim tells; `None` where it was not, or the shim cannot say.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn started_at(&self) -> Result<Option<Timestamp>, ShimError> {
        let request = self.0.named();
        let at: Option<ProtoTimestamp> = self.0.service.call_own("StartedAt", &request).await?;
        Ok(at.as_ref().and_then(call::timestamp))
    }

    /// What the task is. `within` is the limit for the answer.
    ///
    /// # Errors
    /// [`ShimError`]; `Refused` with NotFound where the shim has no such task.
    pub async fn state(&self, within: Duration) -> Result<TaskReport, ShimError> {
        self.0.state(Limit::Within(within)).await
    }

    /// Waits for the task's end, without limit.
    ///
    /// # Errors
    /// [`ShimError`], never `Timeout`.
    pub async fn wait(&self) -> Result<ExitRecord, ShimError> {
        let pid = match Pid::new(self.0.pid.load(Ordering::Relaxed)) {
            Some(pid) => pid,
            None => {
                let report = self.0.state(Limit::None).await?;
                self.0
                    .learn_pid("Wait", report.pid.map_or(0, |pid| pid.get()))?
            }
        };
        let request = api::WaitRequest {
            id: self.0.id.to_string(),
            ..api::WaitRequest::default()
        };
        let exit: api::WaitResponse = self.0.service.call("Wait", &request, Limit::None).await?;
        Ok(call::exit_record(pid, exit.exit_status, &exit.exited_at))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`ShimError`]; `Refused` with NotFound where the process has ended.
    pub async fn kill(&self, signal: Signal, scope: KillScope) -> Result<(), ShimError> {
        let request = api::KillRequest {
            id: self.0.id.to_string(),
            signal: signal.get().into(),
            all: scope == KillScope::All,
            ..api::KillRequest::default()
        };
        self.0.order("Kill", &request, call::KILL_LIMIT).await
    }

    /// Deletes the task, and unmounts its rootfs. Its log is complete when this has answered.
    ///
    /// # Errors
    /// [`ShimError`]; `Refused` with NotFound where there is none any more.
    pub async fn delete(&self) -> Result<(), ShimError> {
        let request = api::DeleteRequest {
            id: self.0.id.to_string(),
            ..api::DeleteRequest::default()
        };
        let limit = Limit::Within(call::DELETE_LIMIT);
        let deleted = self
            .0
            .service
            .call::<api::DeleteResponse>("Delete", &request, limit);
        let deleted = deleted.await.map(drop);
        let is_gone = match &deleted {
            Ok(()) | Err(ShimError::Gone { .. }) => true,
            Err(error) => error.is_not_found(),
        };
        if is_gone {
            self.0.end_log().await;
        }
        deleted
    }

    /// Sets the task's limits: `resources` is the OCI spec's `linux.resources` as JSON.
    ///
    /// # Errors
    /// [`ShimError`].
    pub async fn update(&self, resources: Vec<u8>) -> Result<(), ShimError> {
        let request = api::UpdateTaskRequest {
            id: self.0.id.to_string(),
            resources: Some(call::json_any("LinuxResources", resources)).into(),
            ..api::UpdateTaskRequest::default()
        };
        self.0.order("Update", &request, call::UPDATE_LIMIT).await
    }

    /// Opens the task's log file again: our shim's `outlive.shim.v1.Shim/ReopenLogs`, or for another shim the
    /// supervisor's own writer.
    ///
    /// # Errors
    /// [`ShimError`]; then there is no new file, and the old one is written on.
    pub async fn reopen_logs(&self) -> Result<(), ShimError> {
        match self.0.kind().await? {
            Kind::Ours => {
                let request = self.0.named();
                let done = self.0.service.call_own("ReopenLogs", &request).await?;
                done.map(|_: api::Empty| ()).ok_or(ShimError::Refused {
                    call: "ReopenLogs",
                    code: Code::Unimplemented,
                    message: "the shim writes no logs".to_owned(),
                })
            }
            Kind::Foreign => {
                let reopened = foreign::reopen(&self.0.bundle);
                bounded("ReopenLogs", "reopen the log", reopened).await
            }
        }
    }

    /// Runs a further process to its end, and gives what it printed: `process` is the OCI spec's process as JSON.
    ///
    /// Each stream is cut at `most` bytes. After `timeout` (`None`: no limit) the process is killed; so it is when the
    /// future is dropped.
    ///
    /// # Errors
    /// [`ShimError`]; `Timeout` where the process was killed for taking too long.
    pub async fn exec_sync(
        &self,
        exec: &ExecId,
        process: Vec<u8>,
        timeout: Option<Duration>,
        most: usize,
    ) -> Result<ExecOutput, ShimError> {
        let asked = exec::Asked {
            exec: exec.clone(),
            process,
            timeout,
            most,
        };
        exec::run(Arc::clone(&self.0), asked).await
    }

    /// Ends the shim, which must have no task any more; with one it stays.
    ///
    /// # Errors
    /// [`ShimError`]; none where it is gone already.
    pub async fn shutdown(&self) -> Result<(), ShimError> {
        let request = api::ShutdownRequest {
            id: self.0.id.to_string(),
            ..api::ShutdownRequest::default()
        };
        match self.0.order("Shutdown", &request, call::ASK_LIMIT).await {
            // It may be gone before its answer is.
            Ok(()) | Err(ShimError::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the shim has gone.
    pub async fn gone(&self) {
        self.0.service.line().closed().await;
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
/// `Launch` where the program fails, or takes too long.
pub async fn delete_action(
    home: &Home,
    runtime: &Runtime,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<(), ShimError> {
    launch::delete(home, runtime, id, bundle).await?;
    let here = bundle.clone();
    if local("delete", "look for fifos", move || {
        Ok(foreign::is_there(&here))
    })
    .await?
    {
        end_log(id, bundle).await;
    }
    Ok(())
}

fn proto_mount(mount: &Mount) -> api::Mount {
    api::Mount {
        type_: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
        ..api::Mount::default()
    }
}
