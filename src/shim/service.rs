//! The task service: decode a request, validate it, send a command, encode the answer. No decisions.
//!
//! One set of methods serves `containerd.task.v2.Task` and `containerd.task.v3.Task`, which differ in their names alone.

use std::path::PathBuf;
use std::sync::Arc;

use containerd_shim_protos::api::{self, Empty};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp as ProtoTimestamp;
use containerd_shim_protos::shim::oci::{CheckpointOptions, ProcessDetails};
use containerd_shim_protos::types::task::ProcessInfo;
use log::info;
use tokio::sync::{mpsc, oneshot};

use super::convert;
use super::create::CreateRequest;
use super::error::ShimError;
use super::listener::Connections;
use super::methods::deadline;
use super::registry::Registry;
use super::task::{Command, Key, NewExec, Reply};
use crate::config::ShimOptions;
use crate::oci::command::KillScope;
use crate::oci::{self, CheckpointArgs};
use crate::types::event::TaskIo;
use crate::types::id::MAX_ID_LEN;
use crate::types::{ContainerId, ExecId, Pid, Signal, Stdio};

/// A task to be created, and where the answer goes; boxed, since a queue keeps room for many.
pub type NewTask = (Box<CreateRequest>, Reply<Option<Pid>>);

/// The service: what its methods need. It is shared by all connections.
pub struct Service {
    /// The tasks.
    pub registry: Registry,
    /// The connections.
    pub connections: Connections,
    /// Where tasks are made; bounded, and a full channel makes the caller wait.
    pub creator: mpsc::Sender<NewTask>,
    /// Tells the server to end.
    pub shutdown: Arc<tokio::sync::Notify>,
}

type Answer<T> = Result<T, ShimError>;

impl Service {
    async fn ask<T>(&self, id: &str, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        // What is no identifier is nobody's.
        let id = ContainerId::new(id).map_err(|_| ShimError::NotFound {
            what: "task",
            id: id.chars().take(MAX_ID_LEN).collect(),
        })?;
        let commands = self.registry.commands(&id).await?;
        let gone = || ShimError::NotFound {
            what: "task",
            id: id.to_string(),
        };
        let (reply, answer) = oneshot::channel();
        // The actor ends when its task is deleted, with calls still on their way.
        commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// `Create`.
    pub async fn create(
        self: Arc<Self>,
        request: api::CreateTaskRequest,
    ) -> Answer<api::CreateTaskResponse> {
        let create = create_request(request)?;
        let (reply, answer) = oneshot::channel();
        let stopped = || ShimError::Worker {
            operation: "create",
        };
        self.registry.reserve(&create.id)?;
        let id = create.id.clone();
        if self.creator.send((Box::new(create), reply)).await.is_err() {
            self.registry.remove(&id);
            return Err(stopped());
        }
        let pid = answer.await.map_err(|_| stopped())??;
        Ok(api::CreateTaskResponse {
            pid: pid.map_or(0, Pid::get),
            ..Default::default()
        })
    }

    /// `State`.
    pub async fn state(self: Arc<Self>, request: api::StateRequest) -> Answer<api::StateResponse> {
        let key = exec_key(&request.exec_id)?;
        let state = self
            .ask(&request.id, |reply| Command::State(key, reply))
            .await?;
        let (status, exit) = convert::status(state.status);
        Ok(api::StateResponse {
            id: if request.exec_id.is_empty() {
                request.id
            } else {
                request.exec_id.clone()
            },
            bundle: state.bundle,
            pid: state.pid.map_or(0, Pid::get),
            status,
            stdin: state.io.stdin,
            stdout: state.io.stdout,
            stderr: state.io.stderr,
            terminal: state.io.terminal,
            exit_status: exit.map_or(0, |exit| exit.status.get().into()),
            exited_at: exit.map(|exit| convert::timestamp(exit.exited_at)).into(),
            exec_id: request.exec_id,
            ..Default::default()
        })
    }

    /// `Start`.
    pub async fn start(self: Arc<Self>, request: api::StartRequest) -> Answer<api::StartResponse> {
        let key = exec_key(&request.exec_id)?;
        let pid = self
            .ask(&request.id, |reply| Command::Start(key, reply))
            .await?;
        Ok(api::StartResponse {
            pid: pid.get(),
            ..Default::default()
        })
    }

    /// `Delete`.
    pub async fn delete(
        self: Arc<Self>,
        request: api::DeleteRequest,
    ) -> Answer<api::DeleteResponse> {
        let key = exec_key(&request.exec_id)?;
        let command = |reply| {
            self.connections.deletes();
            Command::Delete(key, deadline(), reply)
        };
        let deleted = self.ask(&request.id, command).await?;
        Ok(api::DeleteResponse {
            pid: deleted.pid.map_or(0, Pid::get),
            exit_status: deleted.exit.map_or(0, |exit| exit.status.get().into()),
            exited_at: deleted
                .exit
                .map(|exit| convert::timestamp(exit.exited_at))
                .into(),
            ..Default::default()
        })
    }

    /// `Pids`.
    pub async fn pids(self: Arc<Self>, request: api::PidsRequest) -> Answer<api::PidsResponse> {
        let pids = self.ask(&request.id, Command::Pids).await?;
        let processes = pids.into_iter().map(|(pid, exec)| ProcessInfo {
            pid: pid.get(),
            info: exec
                .map(|exec| {
                    convert::any(
                        "containerd.runc.v1",
                        &ProcessDetails {
                            exec_id: exec.to_string(),
                            ..Default::default()
                        },
                    )
                })
                .into(),
            ..Default::default()
        });
        Ok(api::PidsResponse {
            processes: processes.collect(),
            ..Default::default()
        })
    }

    /// `Pause`.
    pub async fn pause(self: Arc<Self>, request: api::PauseRequest) -> Answer<Empty> {
        self.ask(&request.id, Command::Pause).await.map(empty)
    }

    /// `Resume`.
    pub async fn resume(self: Arc<Self>, request: api::ResumeRequest) -> Answer<Empty> {
        self.ask(&request.id, Command::Resume).await.map(empty)
    }

    /// `Checkpoint`.
    pub async fn checkpoint(self: Arc<Self>, request: api::CheckpointTaskRequest) -> Answer<Empty> {
        let args = checkpoint_args(&request)?;
        self.ask(&request.id, |reply| {
            Command::Checkpoint(Box::new(args), reply)
        })
        .await
        .map(empty)
    }

    /// `Kill`.
    pub async fn kill(self: Arc<Self>, request: api::KillRequest) -> Answer<Empty> {
        let key = exec_key(&request.exec_id)?;
        let signal = Signal::new(request.signal)
            .ok_or_else(|| field("signal", format!("{} is none of 1 to 64", request.signal)))?;
        let scope = if request.all {
            KillScope::All
        } else {
            KillScope::Init
        };
        self.ask(&request.id, |reply| {
            Command::Kill(key, signal, scope, reply)
        })
        .await
        .map(empty)
    }

    /// `Exec`.
    pub async fn exec(self: Arc<Self>, request: api::ExecProcessRequest) -> Answer<Empty> {
        let exec = new_exec(&request)?;
        self.ask(&request.id, |reply| Command::Exec(Box::new(exec), reply))
            .await
            .map(empty)
    }

    /// `ResizePty`.
    pub async fn resize_pty(self: Arc<Self>, request: api::ResizePtyRequest) -> Answer<Empty> {
        let key = exec_key(&request.exec_id)?;
        let size = |name, value: u32| {
            u16::try_from(value).map_err(|_| field(name, format!("{value} is above {}", u16::MAX)))
        };
        let (width, height) = (
            size("width", request.width)?,
            size("height", request.height)?,
        );
        self.ask(&request.id, |reply| {
            Command::Resize(key, width, height, reply)
        })
        .await
        .map(empty)
    }

    /// `CloseIO`.
    pub async fn close_io(self: Arc<Self>, request: api::CloseIORequest) -> Answer<Empty> {
        let key = exec_key(&request.exec_id)?;
        if request.stdin {
            self.ask(&request.id, |reply| Command::CloseIo(key, reply))
                .await
                .map(empty)
        } else {
            self.ask(&request.id, |reply| Command::State(key, reply))
                .await
                .map(empty)
        }
    }

    /// `ReopenLogs` of the shim's own service. Its request has the fields and numbers of `StateRequest`.
    pub async fn reopen_logs(self: Arc<Self>, request: api::StateRequest) -> Answer<Empty> {
        let key = Some(exec_key(&request.exec_id)?);
        self.ask(&request.id, |reply| Command::ReopenLogs(key, reply))
            .await
            .map(empty)
    }

    /// `StartedAt` of the shim's own service: zero where the process was not started.
    pub async fn started_at(self: Arc<Self>, request: api::StateRequest) -> Answer<ProtoTimestamp> {
        let key = exec_key(&request.exec_id)?;
        let started_at = self
            .ask(&request.id, |reply| Command::StartedAt(key, reply))
            .await?;
        Ok(started_at.map(convert::timestamp).unwrap_or_default())
    }

    /// `Update`.
    pub async fn update(self: Arc<Self>, request: api::UpdateTaskRequest) -> Answer<Empty> {
        let resources = request.resources.into_option().unwrap_or_default();
        oci::resources::check(&resources.value)
            .map_err(|error| field("resources", format!("no LinuxResources: {error}")))?;
        self.ask(&request.id, |reply| Command::Update(resources.value, reply))
            .await
            .map(empty)
    }

    /// `Wait`.
    pub async fn wait(self: Arc<Self>, request: api::WaitRequest) -> Answer<api::WaitResponse> {
        let key = exec_key(&request.exec_id)?;
        let exit = self
            .ask(&request.id, |reply| Command::Wait(key, reply))
            .await?;
        Ok(api::WaitResponse {
            exit_status: exit.status.get().into(),
            exited_at: Some(convert::timestamp(exit.exited_at)).into(),
            ..Default::default()
        })
    }

    /// `Stats`.
    pub async fn stats(self: Arc<Self>, request: api::StatsRequest) -> Answer<api::StatsResponse> {
        let metrics = self.ask(&request.id, Command::Stats).await?;
        Ok(api::StatsResponse {
            stats: Some(convert::metrics(&metrics)).into(),
            ..Default::default()
        })
    }

    /// `Connect`. A task that is not there is none to refuse for: containerd calls this before it knows.
    pub async fn connect(
        self: Arc<Self>,
        request: api::ConnectRequest,
    ) -> Answer<api::ConnectResponse> {
        let pid = self.ask(&request.id, Command::InitPid).await.ok().flatten();
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: pid.map_or(0, Pid::get),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    /// `Shutdown`: containerd calls it after each Delete; while tasks are left the shim stays.
    pub async fn shutdown(self: Arc<Self>, _: api::ShutdownRequest) -> Answer<Empty> {
        if self.registry.close() {
            info!("shutdown");
            self.shutdown.notify_one();
        }
        Ok(Empty::default())
    }
}

fn empty<T>(_: T) -> Empty {
    Empty::default()
}

fn field(field: &'static str, reason: impl Into<String>) -> ShimError {
    ShimError::Field {
        field,
        reason: reason.into(),
    }
}

/// The process that a call is for. What is no identifier is nobody's.
fn exec_key(exec: &str) -> Answer<Key> {
    if exec.is_empty() {
        return Ok(None);
    }
    let not_found = |_| ShimError::NotFound {
        what: "process",
        id: exec.chars().take(MAX_ID_LEN).collect(),
    };
    ExecId::new(exec).map(Some).map_err(not_found)
}

/// Checks that `any` carries a JSON object, and gives it parsed.
fn json_object(
    name: &'static str,
    any: &Any,
) -> Answer<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(&any.value).map_err(|error| {
        field(
            name,
            format!("{:?} is no JSON object: {error}", any.type_url),
        )
    })
}

fn create_request(request: api::CreateTaskRequest) -> Answer<CreateRequest> {
    let id = ContainerId::new(&request.id).map_err(|source| ShimError::Id {
        what: "task",
        source,
    })?;
    let bundle = PathBuf::from(&request.bundle);
    if !bundle.is_absolute() || request.bundle.contains('\0') {
        return Err(field("bundle", format!("{bundle:?} is no absolute path")));
    }
    if !bundle.is_dir() {
        return Err(field("bundle", format!("{bundle:?} is no directory")));
    }
    let stdio = Stdio::parse(
        request.terminal,
        &request.stdin,
        &request.stdout,
        &request.stderr,
    )?;
    let options = ShimOptions::from_any(request.options.as_ref())?;
    if !request.parent_checkpoint.is_empty() {
        return Err(ShimError::Unsupported {
            what: "parent_checkpoint",
        });
    }
    let checkpoint = Some(request.checkpoint)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    if checkpoint.as_ref().is_some_and(|path| !path.is_dir()) {
        return Err(field("checkpoint", "is no directory"));
    }
    let io = TaskIo {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
    };
    let rootfs = request.rootfs.into_iter().map(convert::mount).collect();
    Ok(CreateRequest {
        id,
        bundle,
        rootfs,
        io,
        stdio,
        checkpoint,
        options,
    })
}

fn new_exec(request: &api::ExecProcessRequest) -> Answer<NewExec> {
    let id = ExecId::new(&request.exec_id).map_err(|source| ShimError::Id {
        what: "exec",
        source,
    })?;
    let stdio = Stdio::parse(
        request.terminal,
        &request.stdin,
        &request.stdout,
        &request.stderr,
    )?;
    let mut process = json_object("spec", request.spec.get_or_default())?;
    // The stdio is the request's; a spec that disagrees would leave the process without its terminal.
    let args = process.get("args").and_then(serde_json::Value::as_array);
    if args.is_none_or(Vec::is_empty) {
        return Err(field("spec", "has no args"));
    }
    process.insert("terminal".to_owned(), request.terminal.into());
    let process = serde_json::to_vec(&process).map_err(|error| field("spec", error.to_string()))?;
    let io = TaskIo {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    };
    Ok(NewExec {
        id,
        process,
        stdio,
        io,
    })
}

/// The options of a checkpoint: containerd's, or those of the clients of 1.x for runtimes that are not runc's, which
/// have the last two fields the other way round.
fn checkpoint_options(any: Option<&Any>) -> Answer<CheckpointOptions> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
        return Ok(CheckpointOptions::default());
    };
    let decoded = CheckpointOptions::parse_from_bytes(&any.value);
    let options = || decoded.map_err(|error| field("options", error.to_string()));
    match any.type_url.rsplit('/').next() {
        Some("containerd.runc.v1.CheckpointOptions") => options(),
        Some("containerd.linux.runc.CheckpointOptions") => {
            let mut options = options()?;
            std::mem::swap(&mut options.image_path, &mut options.work_path);
            Ok(options)
        }
        _ => Err(field(
            "options",
            format!("of unknown type {:?}", any.type_url),
        )),
    }
}

fn checkpoint_args(request: &api::CheckpointTaskRequest) -> Answer<CheckpointArgs> {
    let options = checkpoint_options(request.options.as_ref())?;
    let path = if request.path.is_empty() {
        options.image_path
    } else {
        request.path.clone()
    };
    for (name, path) in [("path", &path), ("options.work_path", &options.work_path)] {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(field(name, "is no absolute path"));
        }
    }
    Ok(CheckpointArgs {
        image_path: path.into(),
        work_path: options.work_path.into(),
        exit: options.exit,
        tcp_established: options.open_tcp,
        ext_unix_sk: options.external_unix_sockets,
        shell_job: options.terminal,
        file_locks: options.file_locks,
        empty_namespaces: options.empty_namespaces,
        cgroups_mode: options.cgroups_mode,
    })
}
